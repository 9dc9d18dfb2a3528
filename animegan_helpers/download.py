"""The name of a source becomes a folder of images, downloaded if need be. Shown on page 01."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import archives, drawn, sources, storage
from .device import KAGGLE_INPUT, data_folder
from .files import expand, sha256
from .image_files import IMAGE_SUFFIXES, find_images, holds_images
from .locks import lock
from .sources import PUBLIC_SETS, PublicSet, Source
from .transfer import with_retries

OWN_FOLDERS = ("drawn", "runs", "prepared", "shared")  # in data/, made by the pages
MOUNTS = KAGGLE_INPUT  # where Kaggle shows the sets that were added to a notebook


class DownloadError(OSError):
    """A public set could not be fetched; the message says what was tried and what to do."""


def get(source: str | Path | Source | None = None, out: str | Path | None = None) -> Path:
    """The name of a source, as `sources.resolve` reads it -> the folder of its images.

    "drawn" draws 4,096 faces, or finds those drawn before. A folder is returned as it is, a zip
    is unpacked, a public set is fetched; `out` is the folder to put images in. Raises OSError or
    ValueError that names the source and the cure; ValueError, too, for a prepared set, which
    holds an array in place of images.
    """
    origin = sources.resolve(source)
    out = expand(out) if out else None
    if origin.kind == "drawn":
        folder = out or origin.path
        if not (folder / "labels.csv").exists():
            drawn.write(folder, 4096)
        return folder
    if origin.kind == "archive":
        return _unpacked(origin.path, out)
    if origin.kind == "public":
        return fetch(origin.name, out or origin.path)
    if origin.kind == "prepared" and not holds_images(origin.path):
        cure = "open it with load_faces, or name the folder or zip of its images"
        raise ValueError(f"{origin.path} holds a prepared array, not images: {cure}")
    return origin.path


def _unpacked(archive: Path, out: Path | None) -> Path:
    """-> the folder of a zip's images: data/NAME, or data/NAME-DIGEST beside another zip's."""
    if out:
        return archives.unpack(archive, out)
    folder = data_folder() / archive.stem
    if archive.stem not in OWN_FOLDERS and not folder.is_file():
        try:
            return archives.unpack(archive, folder)
        except FileExistsError:
            pass  # another zip of this name was unpacked there
    with open(archive, "rb") as file:
        digest = sha256(file).hex()
    return archives.unpack(archive, folder.with_name(f"{archive.stem}-{digest[:8]}"))


def choose(source: str | Path | None) -> Path:
    """Get a source and keep it for all pages; None returns to synthetic faces. -> its folder."""
    origin = sources.resolve("drawn" if source is None else source)
    folder = origin.path if origin.kind == "prepared" else get(origin)
    is_name = origin.kind in ("drawn", "public")  # it means the same on every machine
    sources.keep_choice(origin.name if is_name else folder.resolve())
    return folder


def fetch(name: str, out: Path) -> Path:
    """The name of a public set -> the folder of its images, found on this machine or downloaded.

    Order: mounted on Kaggle, in `out`, as a zip beside `out`; then Kaggle by kagglehub, Kaggle by
    its own command, Hugging Face. An interrupted transfer is resumed. Raises DownloadError that
    says why each place failed, and what to do.
    """
    public = PUBLIC_SETS[name]
    archive = out.with_name(f"{out.name}.zip")
    mounted = _mounted(public)
    if mounted:
        return mounted
    with lock(out, "downloading", wait=True):  # a second process finds what the first one got
        if out.is_dir() and holds_images(out):
            return out
        if archive.is_file():
            return archives.unpack(archive, out)
        return _download(name, out, archive)


def _download(name: str, out: Path, archive: Path) -> Path:
    """The name of a public set -> the folder `out`, from the first place that works."""
    public = PUBLIC_SETS[name]
    out.parent.mkdir(parents=True, exist_ok=True)
    three_copies = 3 * 10_000 * public.images  # the download, the tool's own copy, and ours
    storage.check_free_space(out.parent, three_copies)
    failures = [f"mounted under {MOUNTS}, in {out}, or as {archive}: not there"]
    for place, download in _places(public):
        print(f"{name}: trying {place}", flush=True)
        try:
            return download(public, out, place)
        except Exception as error:  # each tool has its own errors: the next place may work
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            failures.append(f"{place}: {reason[:240]}")
    raise DownloadError(_what_to_do(name, archive, "\n  ".join(failures)))


def _what_to_do(name: str, archive: Path, tried: str) -> str:
    """-> the message for a set that could not be fetched, after what was `tried`."""
    public = PUBLIC_SETS[name]
    advice = f"it in a browser from {public.page()}\n     and name the zip, or save it as {archive}"
    if not public.kaggle:  # Kaggle offers zips
        public = PUBLIC_SETS["animefacedataset"]
        advice = f"a similar set in a browser from {public.page()}\n     and name the zip"
    return f"""{name} could not be fetched. What was tried, and why it failed:
  {tried}
What you can do:
  1. try again, perhaps on another network: what was downloaded is kept, and the transfer resumes
  2. download {advice}
  3. continue with synthetic faces, which need no network: name 'drawn'"""


# ---- on this machine ----


def _mounted(public: PublicSet) -> Path | None:
    """-> where Kaggle has mounted the set: under <name>, or since 2026 datasets/<owner>/<name>."""
    if not public.kaggle:
        return None
    owner, _, slug = public.kaggle.partition("/")
    for pattern in (slug, f"*/{slug}", f"*/*/{slug}"):
        for folder in sorted(MOUNTS.glob(pattern)):
            parents = folder.relative_to(MOUNTS).parts[:-1]
            if parents[:1] == ("datasets",) and owner not in parents:
                continue
            if holds_images(folder):
                return folder
    return None


# ---- from the network: each takes the set, the folder to make, and the place in words ----


def _places(public: PublicSet) -> list[tuple[str, Callable[[PublicSet, Path, str], Path]]]:
    """-> the places to download a set from, in words, each with the function that does it."""
    places = []
    if public.kaggle:
        pinned = f"Kaggle, by kagglehub, version {public.version}"
        places.append((pinned, _from_kagglehub_pinned))
        places.append(("Kaggle, by kagglehub, newest version", _from_kagglehub))
        places.append(("Kaggle, by its own command", _from_kaggle_command))
    if public.hub:
        places.append((f"Hugging Face, {public.hub}, commit {public.commit}", _from_hub))
    return places


def _from_kagglehub_pinned(public: PublicSet, out: Path, place: str) -> Path:
    return _from_kagglehub(public, out, place, f"/versions/{public.version}")


def _from_kagglehub(public: PublicSet, out: Path, place: str, version: str = "") -> Path:
    import kagglehub

    folder = Path(with_retries(lambda: kagglehub.dataset_download(public.kaggle + version)))
    if folder.is_relative_to(MOUNTS):  # on Kaggle it mounts instead of downloading
        return folder
    paths = [path for path in find_images(folder) if _is_inside(path, folder)]
    size = sum(path.stat().st_size for path in paths)
    images = ((path.relative_to(folder).as_posix(), [path.read_bytes()]) for path in paths)
    return storage.store_images(images, len(paths), size, out, {"source": place})


def _is_inside(path: Path, folder: Path) -> bool:
    """-> whether a file lies in a folder, and is not reached by a link that leads out of it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def _from_kaggle_command(public: PublicSet, out: Path, place: str) -> Path:
    """Only the command is used: importing `kaggle` asks for a login, and may end the program."""
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = shutil.which("kaggle", path=search_path)
    if not command:
        raise FileNotFoundError("there is no such command: pip install kaggle")
    folder = out.with_name(f".{out.name}.kaggle")  # kept if the transfer breaks off, to resume it
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{public.kaggle.partition('/')[2]}.zip"
    arguments = [command, "datasets", "download", public.kaggle, "-p", str(folder)]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if done.returncode or not archive.exists():
        if not any(folder.iterdir()):
            folder.rmdir()
        default = f"it ended with code {done.returncode}; its own message is printed above"
        raise OSError(done.stdout.decode("utf-8", "replace").strip() or default)
    try:
        unpacked = archives.unpack(archive, out)
    except ValueError:  # damaged: resuming it can't help
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
    return unpacked


def _from_hub(public: PublicSet, out: Path, place: str) -> Path:
    """Parquet files, each row with an image as it was uploaded -> image files."""
    import huggingface_hub
    import pyarrow.parquet

    commit = with_retries(lambda: _commit_on_hub(huggingface_hub.HfApi(), public))

    def snapshot() -> str:
        return huggingface_hub.snapshot_download(
            public.hub, repo_type="dataset", revision=commit, allow_patterns="*.parquet"
        )

    paths = sorted(Path(with_retries(snapshot)).rglob("*.parquet"))
    files = [pyarrow.parquet.ParquetFile(path) for path in paths]
    count = sum(file.metadata.num_rows for file in files)
    size = sum(path.stat().st_size for path in paths)
    origin = {"source": f"Hugging Face, {public.hub}, commit {commit[:7]}"}
    return storage.store_images(_rows(files), count, size, out, origin)


def _commit_on_hub(api, public: PublicSet) -> str:
    """-> the full name of the pinned commit, or of the newest one if the pinned one is gone."""
    newest = api.dataset_info(public.hub).sha
    if newest.startswith(public.commit):
        return newest
    for commit in api.list_repo_commits(public.hub, repo_type="dataset"):
        if commit.commit_id.startswith(public.commit):
            return commit.commit_id
    print(f"{public.hub} no longer has commit {public.commit}: taking the newest", flush=True)
    return newest


def _rows(files: list) -> Iterator[tuple[str, list[bytes]]]:
    """Parquet files -> the name and the content of the image in each row."""
    row = 0
    for file in files:
        column = next(field.name for field in file.schema_arrow if "bytes" in str(field.type))
        for batch in file.iter_batches(256, columns=[column]):
            for image in batch.column(0).to_pylist():
                suffix = Path(image.get("path") or "").suffix.lower()
                if suffix not in IMAGE_SUFFIXES:
                    suffix = ".png"
                yield f"{row:06d}{suffix}", [image["bytes"] or b""]
                row += 1
