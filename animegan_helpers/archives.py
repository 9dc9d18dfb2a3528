"""A zip becomes a folder of images with a manifest: complete, or not at all. Shown on page 01."""

import hashlib
import json
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from .images import IMAGE_SUFFIXES

# An archive that claims more than this is not a set of faces.
MAX_IMAGES = 1_000_000
MAX_BYTES = 20 * 2**30
MAX_RATIO = 100  # unpacked size / archive size

UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


def unpack(archive: Path, out: Path) -> Path:
    """The images (and labels.csv) of a zip -> the folder `out`, with manifest.json.

    Nothing is written outside `out`. Links and other files are left out. A zip that was
    unpacked before is not unpacked again. Raises ValueError that names the zip if it is damaged,
    too large or holds no images.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile:
        message = f"{archive} is not a zip, or is cut short: download it again"
        raise ValueError(message) from None
    with opened:
        digest = _sha256(archive)
        if _digest_of_unpacked(out) == digest:
            return out
        entries = [entry for entry in opened.infolist() if _is_wanted_file(entry)]
        size = sum(entry.file_size for entry in entries)  # no entry unpacks to more than it claims
        if size > MAX_RATIO * archive.stat().st_size:
            raise ValueError(
                f"{archive} would unpack to {size:,} bytes, over {MAX_RATIO} times its size:"
                " it looks like a zip bomb"
            )
        images = _read_entries(archive, opened, entries)
        origin = {"source": archive.name, "zip": digest}
        return store_images(images, len(entries), size, out, origin)


def store_images(
    images: Iterable[tuple[str, bytes]], count: int, size: int, out: Path, origin: dict
) -> Path:
    """Names and contents -> files in the folder `out`, with manifest.json.

    `count` files of `size` bytes in all are expected; `origin` begins the manifest. The files go
    to a hidden folder beside `out`, which gets its name when it is complete. Raises ValueError
    for no images, too many or a name twice, and FileExistsError if `out` is not empty.
    """
    source = origin["source"]
    _check_limits(source, count, size)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(
            f"{out} holds something other than {source}: move it away, or choose another folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    check_free_space(out.parent, size)
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # left over from a killed process
    try:
        partial.mkdir()
        progress = tqdm(images, f"unpacking {source}", count, unit="file")
        totals = _write_files(progress, partial, source)
        manifest = json.dumps(origin | totals, indent=1)
        (partial / "manifest.json").write_text(manifest, encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def check_free_space(folder: Path, needed: int) -> None:
    """Raise OSError if the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder} has {free / 2**30:.1f} GB free, and about {needed / 2**30:.1f} GB are"
            " needed: free some space, or start in a folder on another disk"
        )


def is_wanted(name: str) -> bool:
    """-> whether an archive's file is unpacked: an image or labels.csv, inside the folder."""
    path = PureWindowsPath(name)  # it knows both slashes, and drives
    if path.anchor or ".." in path.parts or "__MACOSX" in path.parts:
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES or path.name == "labels.csv"


def _is_wanted_file(entry: zipfile.ZipInfo) -> bool:
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    return is_wanted(entry.filename) and not entry.is_dir() and not is_link


def _digest_of_unpacked(out: Path) -> str | None:
    """-> the SHA-256 of the zip that was unpacked to this folder, if there was one."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        return None
    return json.loads(manifest.read_text(encoding="utf-8")).get("zip")


def _read_entries(archive: Path, opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo]):
    """Yield the name and the content of each entry. Raises ValueError if one is damaged."""
    for entry in entries:
        try:
            content = opened.read(entry)
        except UNPACKING_ERRORS as error:
            raise ValueError(
                f"{archive} can't be unpacked ({entry.filename}: {error}): download it again"
            ) from error
        yield entry.filename.replace("\\", "/"), content


def _check_limits(source: str, count: int, size: int) -> None:
    if not count:
        raise ValueError(f"{source} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    if count > MAX_IMAGES or size > MAX_BYTES:
        raise ValueError(
            f"{source} would unpack to {count:,} files, {size / 2**30:.1f} GB:"
            " too much for a set of faces"
        )


def _write_files(images: Iterable[tuple[str, bytes]], folder: Path, source: str) -> dict:
    """Write each file into the folder; -> the SHA-256, count and bytes of all."""
    digest = hashlib.sha256()
    count = 0
    size = 0
    for name, content in images:
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                file.write(content)
        except (FileExistsError, NotADirectoryError):
            message = f"{source} holds {name} twice: it is damaged, or not a set of images"
            raise ValueError(message) from None
        digest.update(content)
        count += 1
        size += len(content)
    return {"sha256": digest.hexdigest(), "count": count, "bytes": size}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
