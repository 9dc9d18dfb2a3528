"""A name, a folder, a zip or a seed becomes a folder of pictures and its manifest. Shown on page 01."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from . import drawn
from .device import data_folder

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_PICTURES, MOST_BYTES, MOST_RATIO = 1_000_000, 20 * 2**30, 100  # a zip that claims more is not a set of faces
MOUNTS = Path("/kaggle/input")  # where Kaggle shows the sets that were added to a notebook


@dataclass(frozen=True)
class PublicSet:
    """A set that others have uploaded, and where. The pins say which state of it these pages were written for."""

    pictures: int  # as its page says
    kaggle: str = ""
    version: int = 0  # the pin; found in other people's notebooks, not tried by us
    hub: str = ""
    commit: str = ""  # the pin

    def page(self) -> str:
        """-> the address of the set's page, to download it by hand."""
        kaggle, hub = "https://www.kaggle.com/datasets/", "https://huggingface.co/datasets/"
        return kaggle + self.kaggle if self.kaggle else hub + self.hub


HUB = {"hub": "DrishtiSharma/Anime-Face-Dataset", "commit": "852f24a"}
SETS = {
    "animefacedataset": PublicSet(63_632, "splcher/animefacedataset", 3, **HUB),
    "anime-faces": PublicSet(21_551, "soumikrakshit/anime-faces", 1),
    "animecharacterfaces": PublicSet(9_754, "aadilmalik94/animecharacterfaces", 1),
    "anime-face-dataset": PublicSet(63_565, **HUB),
}
WITHDRAWN = "Mckinsey666/Anime-Face-Dataset"


class NotFetched(OSError):
    """A named set could be had from none of its places; the message says what was tried, and what to do."""


def get(source: str | Path | None = None, out: str | Path | None = None) -> Path:
    """The name of a source -> the folder of its pictures.

    "drawn" draws 4,096 faces, or finds those drawn before; a folder is taken as it is; a zip is unpacked; a name of
    `SETS` is fetched. None takes what the environment variable ANIMEGAN_DATA names, or else what `choose` has kept,
    or else "drawn". Raises OSError or ValueError that name the source and the cure.
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
    for name, known in SETS.items():
        if str(source) in (name, known.kaggle):
            return fetch(name, Path(out or data_folder() / name))
    if WITHDRAWN.lower() in str(source).lower():
        raise ValueError(
            f"{WITHDRAWN} was withdrawn by its author in 2022, for copyright. Copies of it that others uploaded are"
            " still there: 'animefacedataset' (Kaggle) and 'anime-face-dataset' (Hugging Face). Page 01 tells more"
        )
    raise FileNotFoundError(
        f"{source}: no such folder or zip. Name one that exists, or a public set ({', '.join(SETS)}),"
        " or 'drawn' for drawn faces"
    )


def choose(source: str | Path | None) -> Path:
    """Get a source and keep it as the one that all pages use; None goes back to the drawn faces. -> its folder."""
    folder = get(source or "drawn")
    kept = _made(data_folder()) / "chosen.txt"
    kept.unlink(missing_ok=True)
    if source:
        kept.write_text(str(folder.resolve()), encoding="utf-8")
    return folder


def fetch(name: str, out: Path) -> Path:
    """The name of a public set -> the folder of its pictures: from where it lies already, or else from the network.

    Order: mounted on Kaggle, in `out`, as a zip beside `out`; Kaggle by kagglehub, Kaggle by its own command, Hugging
    Face. What breaks off is taken up again. Raises NotFetched that says why each place failed, and what to do.
    """
    known, out = SETS[name], Path(out)
    if there := _mounted(known) or _there(out):
        return there
    if (archive := out.with_name(f"{out.name}.zip")).is_file():
        return unpack(archive, out)
    _check_room(_made(out.parent), 3 * 10_000 * known.pictures)  # the download, the tool's own copy, and ours
    ways = []
    if known.kaggle:
        ways += [(f"Kaggle, by kagglehub, version {known.version}", _from_kagglehub_pinned)]
        ways += [("Kaggle, by kagglehub, newest version", _from_kagglehub)]
        ways += [("Kaggle, by its own command", _from_kaggle_command)]
    if known.hub:
        ways += [(f"Hugging Face, {known.hub}, commit {known.commit}", _from_hub)]
    tried = [f"mounted under {MOUNTS}, in {out}, or as {archive}: not there"]
    for place, way in ways:
        print(f"{name}: trying {place}", flush=True)
        try:
            return way(known, out, place)
        except Exception as error:  # each tool has errors of its own: whatever it is, the next place may do
            tried.append(f"{place}: {' '.join(f'{type(error).__name__}: {error}'.split())[:240]}")
    by_hand = known if known.kaggle else SETS["animefacedataset"]  # there it is a zip
    raise NotFetched(
        "\n  ".join([f"{name} could not be fetched. What was tried, and why it failed:", *tried])
        + f"""
What you can do:
  1. try again, perhaps on another network: what has come so far is kept, and taken up again
  2. download it in a browser from {by_hand.page()}
     and name the zip, or put it there: {archive}
  3. go on with drawn faces, which need no network: name 'drawn'"""
    )


def unpack(archive: Path, out: Path) -> Path:
    """The pictures (and labels.csv) of a zip -> the folder `out`, with manifest.json: whole or not at all.

    Nothing is written outside `out`, links and other files are left out; a zip unpacked before is not unpacked again.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile:
        raise ValueError(f"{archive} is not a zip, or is cut short: download it again") from None
    with opened:
        digest = _sha256(archive)
        manifest = out / "manifest.json"
        if manifest.exists() and json.loads(manifest.read_text(encoding="utf-8")).get("zip") == digest:
            return out
        entries = [entry for entry in opened.infolist() if _wanted(entry.filename) and _plain(entry)]
        size = sum(entry.file_size for entry in entries)  # reading an entry gives no more than it claims
        if size > MOST_RATIO * archive.stat().st_size:
            raise ValueError(
                f"{archive} would unpack to {size:,} bytes, over {MOST_RATIO} times its size: is it a bomb?"
            )

        def read(entry):
            try:
                return opened.read(entry)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                told = f"{archive} can't be unpacked ({entry.filename}: {error}): download it again"
                raise ValueError(told) from error

        pictures = ((entry.filename.replace("\\", "/"), read(entry)) for entry in entries)
        return _keep(pictures, len(entries), size, out, {"source": archive.name, "zip": digest})


def _keep(pictures: Iterable[tuple[str, bytes]], count: int, size: int, out: Path, origin: dict) -> Path:
    """Names and contents -> files in `out` and a manifest, by way of a partial folder that gets its name when whole."""
    source = origin["source"]
    if not count:
        raise ValueError(f"{source} holds no pictures ({', '.join(ENDINGS)})")
    if count > MOST_PICTURES or size > MOST_BYTES:
        raise ValueError(
            f"{source} would unpack to {count:,} files, {size / 2**30:.1f} GB: too much for a set of faces"
        )
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} holds something else than {source}: move it away, or choose another folder")
    _check_room(_made(out.parent), size)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
    digest, written = hashlib.sha256(), 0
    try:
        for name, content in tqdm(pictures, f"unpacking {source}", count, unit="file"):
            target = part / name
            try:
                _made(target.parent)
                with open(target, "xb") as file:
                    file.write(content)
            except (FileExistsError, NotADirectoryError):
                raise ValueError(f"{source} holds {name} twice: it is damaged, or no set of pictures") from None
            digest.update(content)
            written += len(content)
        manifest = origin | {"sha256": digest.hexdigest(), "count": count, "bytes": written}
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _mounted(known: PublicSet) -> Path | None:
    """-> where Kaggle has mounted the set: under its name, or since 2026 under datasets/<owner>/<name>."""
    owner, _, slug = known.kaggle.partition("/")
    for pattern in (slug, f"*/{slug}", f"*/*/{slug}") if slug else ():
        for folder in sorted(MOUNTS.glob(pattern)):
            above = folder.relative_to(MOUNTS).parts[:-1]
            if (above[:1] != ("datasets",) or owner in above) and _there(folder):
                return folder
    return None


def _there(folder: Path) -> Path | None:
    """-> the folder, if there are pictures in it."""
    return next((folder for path in folder.rglob("*") if path.suffix.lower() in ENDINGS), None)


def _from_kagglehub_pinned(known: PublicSet, out: Path, place: str) -> Path:
    return _from_kagglehub(known, out, place, f"/versions/{known.version}")


def _from_kagglehub(known: PublicSet, out: Path, place: str, version: str = "") -> Path:
    import kagglehub

    folder = Path(_patiently(lambda: kagglehub.dataset_download(known.kaggle + version)))
    if folder.is_relative_to(MOUNTS):  # on Kaggle it mounts instead of downloading
        return folder
    plain = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    names = [name for name in (path.relative_to(folder).as_posix() for path in plain) if _wanted(name)]
    size = sum((folder / name).stat().st_size for name in names)
    pictures = ((name, (folder / name).read_bytes()) for name in names)
    return _keep(pictures, len(names), size, out, {"source": place})


def _from_kaggle_command(known: PublicSet, out: Path, place: str) -> Path:
    """Only the command is used: importing `kaggle` asks for a login, and may end the program."""
    command = shutil.which("kaggle", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if not command:
        raise FileNotFoundError("there is no such command: pip install kaggle")
    folder = _made(out.with_name(f".{out.name}.kaggle"))  # stays when the transfer breaks off, to be taken up again
    archive = folder / f"{known.kaggle.partition('/')[2]}.zip"
    words = [command, "datasets", "download", known.kaggle, "-p", str(folder)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode or not archive.exists():
        if not any(folder.iterdir()):
            folder.rmdir()
        raise OSError(done.stdout.strip() or f"it ended with code {done.returncode}; its own words stand above")
    try:
        return unpack(archive, out)
    finally:
        shutil.rmtree(folder)


def _from_hub(known: PublicSet, out: Path, place: str) -> Path:
    """One or more parquet files, each row with a picture as it was uploaded -> files."""
    import huggingface_hub
    import pyarrow.parquet

    api = huggingface_hub.HfApi()
    commit = api.dataset_info(known.hub).sha
    if not commit.startswith(known.commit):  # it has changed: look for the pinned one, whose whole name is needed
        commits = [one.commit_id for one in api.list_repo_commits(known.hub, repo_type="dataset")]
        pinned = [one for one in commits if one.startswith(known.commit)]
        if not pinned:
            print(f"{known.hub} has no commit {known.commit} any more: taking the newest", flush=True)
        commit = (pinned or [commit])[0]
    folder = _patiently(
        lambda: huggingface_hub.snapshot_download(
            known.hub, repo_type="dataset", revision=commit, allow_patterns="*.parquet"
        )
    )
    files = [pyarrow.parquet.ParquetFile(path) for path in sorted(Path(folder).rglob("*.parquet"))]

    def pictures():
        row = 0
        for file in files:
            column = next(field.name for field in file.schema_arrow if "bytes" in str(field.type))
            for batch in file.iter_batches(256, columns=[column]):
                for picture in batch.column(0).to_pylist():
                    ending = Path(picture.get("path") or "").suffix.lower()
                    yield f"{row:06d}{ending if ending in ENDINGS else '.png'}", picture["bytes"] or b""
                    row += 1

    count = sum(file.metadata.num_rows for file in files)
    size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return _keep(pictures(), count, size, out, {"source": f"Hugging Face, {known.hub}, commit {commit[:7]}"})


def _patiently(call):
    """-> what `call` gives. When a transfer broke off or the server is busy, it is called again: three times in all."""
    import requests

    for wait in (2, 10, None):
        try:
            return call()
        except Exception as error:
            busy = getattr(getattr(error, "response", None), "status_code", 0) in (429, 500, 502, 503, 504)
            broken = isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.Timeout))
            if wait is None or not (busy or broken):
                raise
            print(f"{' '.join(str(error).split())[:120]}: trying again in {wait} s", flush=True)
            time.sleep(wait)


def _wanted(name: str) -> bool:
    path = PureWindowsPath(name)  # it knows both slashes, and drives
    inside = not path.anchor and ".." not in path.parts and "__MACOSX" not in path.parts
    return inside and (path.suffix.lower() in ENDINGS or path.name == "labels.csv")


def _plain(entry: zipfile.ZipInfo) -> bool:
    return not entry.is_dir() and not stat.S_ISLNK(entry.external_attr >> 16)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder} has {free / 2**30:.1f} GB free, and about {needed / 2**30:.1f} GB are needed:"
            " free some space, or start in a folder on another disk"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
