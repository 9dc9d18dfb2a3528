"""The files of a folder or an archive become the names of its images: one rule for both. Page 01.

A file with the ending of an image counts as one, so that a damaged image is reported later. Any
other file counts if its content is an image that Pillow reads. Passed over are hidden files (among
them the companions that macOS writes), files that are not images, and what a run has written.
"""

import functools
import os
import re
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image

from .files import expand

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".avif",
    ".tif",
    ".tiff",
)
FORMATS = (  # as Pillow names them: those that it decodes itself
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
    "AVIF",
    "TIFF",
    "JPEG2000",
    "PPM",
)
COMPANION_FOLDERS = ("__MACOSX", "@eaDir")  # of macOS, in zips; of network drives, for thumbnails
OUTPUT_FOLDERS = (  # the files that mark a folder that this package has written
    {"recipe.json", "history.jsonl"},  # a run
    {"generator.safetensors", "faces.html"},  # `share`
)
OWN_FILES = ("labels.csv", "manifest.json")  # of synthetic faces; of an unpacked archive

HIDDEN = "hidden"
OUTPUT = "written by a run"
CLOSED = "folders that can't be opened"


@dataclass(frozen=True)
class Selection:
    """The names of images, relative and with slashes, sorted; and a count of all other files.

    `passed_over` counts by reason. A folder that is passed over as a whole counts once.
    """

    names: list[str]
    passed_over: dict[str, int]


def find_images(folder: str | Path) -> list[Path]:
    """-> the images in a folder and the folders below it, sorted. Links to folders are followed.

    A broken link that is named like an image is among them, so that it is reported later.
    Raises FileNotFoundError if there are no images.
    """
    folder = expand(folder)
    return [folder / name for name in select_in_folder(folder).names]


def select_in_folder(folder: Path) -> Selection:
    """A folder -> its images, and what was passed over. Raises FileNotFoundError for no images."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    selection = _select(_classify_folder(folder))
    if not selection.names:
        raise FileNotFoundError(no_images(folder, selection))
    return selection


def holds_images(folder: Path) -> bool:
    """-> whether there is an image in a folder or below it."""
    return any(not reason for _, reason in _classify_folder(folder))


def select_in_archive(names: Iterable[str], open_file: Callable[[str], BinaryIO]) -> Selection:
    """The names of an archive's files, and a function that opens one -> those of images."""
    return _select(_classify_names(list(names), open_file))


def no_images(source: object, selection: Selection) -> str:
    """-> the message for a folder or an archive without images."""
    message = f"{source} holds no images: is it the right one?"
    if selection.passed_over:
        message += f" Passed over: {in_words(selection.passed_over)}"
    if {".heic", ".heif"} & selection.passed_over.keys():
        message += ". HEIC images, as phones make them, must be converted to JPEG first"
    return message


def in_words(passed_over: dict[str, int]) -> str:
    """Counts by reason -> "hidden (40), .csv (1)"."""
    return ", ".join(f"{reason} ({count:,})" for reason, count in passed_over.items())


def is_own_file(name: str) -> bool:
    """-> whether a file describes the images beside it. It is neither an image nor passed over."""
    return PurePosixPath(name).name in OWN_FILES


def is_broken_link(path: Path) -> bool:
    """-> whether the path is a link to a file that does not exist."""
    return os.path.islink(path) and not os.path.exists(path)


@functools.cache
def formats() -> tuple[str, ...]:
    """-> those of `FORMATS` that this version of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


# ---- each file gets a reason why it is passed over; "" stands for an image ----


def _select(classified: Iterable[tuple[str, str]]) -> Selection:
    names = []
    passed_over = Counter()
    for name, reason in classified:
        if reason:
            passed_over[reason] += 1
        else:
            names.append(name)
    return Selection(sorted(names), dict(passed_over.most_common()))


def _classify_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the reason of each file below a folder.

    Each folder is visited once, and links to folders last: a link that makes a loop does no harm.
    """
    visited = set()
    folders = deque([""])
    links = deque()
    while folders or links:
        prefix = folders.popleft() if folders else links.popleft()
        real = os.path.realpath(folder / prefix)
        if real in visited:
            continue
        visited.add(real)
        try:
            entries = list(os.scandir(folder / prefix))
        except OSError:
            yield prefix, CLOSED
            continue
        if _is_output({entry.name for entry in entries}):
            yield prefix, OUTPUT
            continue
        for entry in entries:
            name = prefix + entry.name
            if _is_hidden(entry.name):
                yield name, HIDDEN
            elif os.path.isdir(folder / name):  # no error for a link to itself
                kind = links if entry.is_symlink() else folders
                kind.append(name + "/")
            elif not is_own_file(name):
                yield name, _reason_in_folder(folder / name)


def _reason_in_folder(path: Path) -> str:
    if os.path.isfile(path):
        return _reason_for_content(path.name, lambda name: open(path, "rb"))
    if is_broken_link(path) and path.suffix.lower() in IMAGE_SUFFIXES:
        return ""
    return "not files"


def _classify_names(
    names: list[str], open_file: Callable[[str], BinaryIO]
) -> Iterator[tuple[str, str]]:
    """Yield the name and the reason of each file of an archive."""
    names_in = {}
    for name in names:
        path = PurePosixPath(name)
        names_in.setdefault(path.parent, set()).add(path.name)
    outputs = {folder for folder, inside in names_in.items() if _is_output(inside)}
    for name in names:
        path = PurePosixPath(name)
        if any(_is_hidden(part) for part in path.parts):
            yield name, HIDDEN
        elif outputs.intersection(path.parents):
            yield name, OUTPUT
        elif not is_own_file(name):
            yield name, _reason_for_content(name, open_file)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in COMPANION_FOLDERS


def _is_output(names: set[str]) -> bool:
    return any(marks <= names for marks in OUTPUT_FOLDERS)


def _reason_for_content(name: str, open_file: Callable[[str], BinaryIO]) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ""
    try:
        with warnings.catch_warnings(), open_file(name) as file:
            warnings.simplefilter("ignore")
            Image.open(file, formats=formats()).close()
    except Image.DecompressionBombError:
        return ""  # an image, if a huge one
    except Exception:  # Pillow raises many types: in every case the file is no image for us
        is_plain = re.fullmatch(r"\.[a-z][a-z0-9]{0,5}", suffix)
        return suffix if is_plain else "other files"
    return ""
