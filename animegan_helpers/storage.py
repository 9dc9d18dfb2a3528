"""Images and their names become the files of a new folder, with a manifest. See appendix A."""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from .files import names_in, new_folder
from .image_files import IMAGE_SUFFIXES

# What claims more than this is not a set of faces.
MAX_IMAGES = 1_000_000
MAX_BYTES = 20 * 2**30
RENAMED = "renamed"  # the folder of images whose own names can't be used
# The system refuses a name: it is too long, not allowed, or taken (by a folder, or by a name that
# differs in case only).
BAD_NAME = (
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
)


def store_images(
    images: Iterable[tuple[str, Iterable[bytes]]], count: int, size: int, out: Path, origin: dict
) -> Path:
    """Names and contents (in chunks) -> files in the folder `out`, with manifest.json.

    `count` files of `size` bytes in all are expected; `origin` begins the manifest. `out` appears
    when it is complete. Raises ValueError for no images or too many, and FileExistsError if `out`
    is not empty.
    """
    source = origin["source"]
    _check_limits(source, count, size)

    def is_done(folder: Path) -> bool:
        return read_manifest(folder).items() >= origin.items()

    if out.exists() and names_in(out) and not is_done(out):
        raise FileExistsError(
            f"{out} holds something other than {source}: move it away, or choose another folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    check_free_space(out.parent, size)
    with new_folder(out, is_done) as hidden:
        progress = tqdm(images, f"unpacking {source}", count, unit="file")
        totals = _write_files(progress, hidden, source)
        manifest = json.dumps(origin | totals, indent=1)
        (hidden / "manifest.json").write_text(manifest, encoding="utf-8")
    return out


def check_free_space(folder: Path, needed: int) -> None:
    """Raise OSError if the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder} has {free / 2**30:.1f} GB free, and about {needed / 2**30:.1f} GB are"
            " needed: free some space, or start in a folder on another disk"
        )


def read_manifest(folder: Path) -> dict:
    """-> the manifest of a folder that was unpacked here, or {}."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def generated_name(name: str, number: int) -> str:
    """The name of an image, and its number -> a name that every system allows."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        suffix = ""
    return f"{RENAMED}/{number:06d}{suffix}"


def _check_limits(source: str, count: int, size: int) -> None:
    if not count:
        raise ValueError(f"{source} holds no images")
    if count > MAX_IMAGES or size > MAX_BYTES:
        raise ValueError(
            f"{source} would unpack to {count:,} files, {size / 2**30:.1f} GB:"
            " too much for a set of faces. Name a folder with a part of its images"
        )


def _write_files(images: Iterable[tuple[str, Iterable[bytes]]], folder: Path, source: str) -> dict:
    """Write each file into the folder; -> the SHA-256, count and bytes of all."""
    digest = hashlib.sha256()
    count = 0
    size = 0
    renamed = 0
    for name, chunks in images:
        with _create(folder, name, count) as file:
            renamed += Path(file.name).parent == folder / RENAMED
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        count += 1
    if renamed:
        warnings.warn(
            f"{renamed} names in {source} can't be used here (too long, taken, or of an unknown"
            f" encoding): their images are in the folder {RENAMED!r}",
            stacklevel=4,
        )
    return {"sha256": digest.hexdigest(), "count": count, "bytes": size}


def _create(folder: Path, name: str, number: int) -> BinaryIO:
    """-> a new file of this name, or of a generated one where the system refuses the name."""
    path = folder / name
    is_bad = os.name == "nt" and re.search(r'[<>:"|?*]', name)  # a colon makes a hidden stream
    if not is_bad:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "xb")
        except OSError as error:
            if error.errno not in BAD_NAME:
                raise
    path = folder / generated_name(name, number)
    path.parent.mkdir(exist_ok=True)
    while path.exists():
        number += 1
        path = folder / generated_name(name, number)
    return open(path, "xb")
