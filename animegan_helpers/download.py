"""A folder, a zip or a seed becomes a folder of pictures and its manifest. Built in page 01."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from . import drawn
from .device import data_folder

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_PICTURES, MOST_BYTES = 1_000_000, 20 * 2**30  # a zip that claims more is not a set of faces


def get(source: str | Path | None = None, out: str | Path | None = None) -> Path:
    """The name of a source -> the folder of its pictures.

    "drawn" draws 4,096 faces, or finds those drawn before; a folder is taken as it is; a zip is unpacked.
    None takes what the environment variable ANIMEGAN_DATA names, or else what `choose` has kept, or else "drawn".
    Raises FileNotFoundError or ValueError that name the source and the cure.
    """
    kept = data_folder() / "chosen.txt"
    source = source or os.environ.get("ANIMEGAN_DATA") or (kept.read_text("utf-8") if kept.exists() else "drawn")
    path = Path(source).expanduser()
    if str(source) == "drawn":
        folder = Path(out or data_folder() / "drawn")
        return folder if (folder / "labels.csv").exists() else drawn.write(folder, 4096)
    if path.is_dir():
        return path
    if path.is_file():
        return unpack(path, Path(out or data_folder() / path.stem))
    raise FileNotFoundError(f"{source}: no such folder or zip. Name one that exists, or 'drawn' for drawn faces")


def choose(source: str | Path | None) -> Path:
    """Get a source and keep it as the one that all pages use; None goes back to the drawn faces. -> its folder."""
    folder = get(source or "drawn")
    kept = _made(data_folder()) / "chosen.txt"
    kept.unlink(missing_ok=True)
    if source:
        kept.write_text(str(folder.resolve()), encoding="utf-8")
    return folder


def unpack(archive: Path, out: Path) -> Path:
    """The pictures (and labels.csv) of a zip -> the folder `out`, with manifest.json: whole or not at all.

    Nothing is written outside `out`, links and other files are left out; a zip unpacked before is not unpacked again.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile:
        raise ValueError(f"{archive} is not a zip, or is cut short: download it again") from None
    digest = _sha256(archive)
    if (out / "manifest.json").exists() and json.loads((out / "manifest.json").read_text())["sha256"] == digest:
        return out
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} holds something else than {archive.name}: move it away, or choose another folder")
    with opened, tempfile.TemporaryDirectory(dir=_made(out.parent), prefix=f".{out.name}-") as part:
        entries = [entry for entry in opened.infolist() if _wanted(entry)]
        size = sum(entry.file_size for entry in entries)
        if not entries:
            raise ValueError(f"{archive} holds no pictures ({', '.join(ENDINGS)})")
        if len(entries) > MOST_PICTURES or size > min(MOST_BYTES, shutil.disk_usage(part).free):
            raise ValueError(f"{archive} would unpack to {len(entries):,} files, {size / 2**30:.1f} GB: too much here")
        try:
            for entry in tqdm(entries, desc=f"unpacking {archive.name}", unit="file"):
                opened.extract(entry, part)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{archive} can't be unpacked ({entry.filename}: {error}): download it again") from error
        manifest = {"source": archive.name, "sha256": digest, "count": len(entries), "bytes": size}
        Path(part, "manifest.json").write_text(json.dumps(manifest, indent=1))
        if out.exists():
            out.rmdir()
        os.chmod(part, 0o755)
        os.rename(part, out)
        os.mkdir(part)  # so that the temporary folder's own clean-up finds what it expects
    return out


def _wanted(entry: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    inside = not name.is_absolute() and ".." not in name.parts and "__MACOSX" not in name.parts
    plain = not entry.is_dir() and not stat.S_ISLNK(entry.external_attr >> 16)
    return inside and plain and (name.suffix.lower() in ENDINGS or name.name == "labels.csv")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
