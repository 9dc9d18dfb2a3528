"""A folder of images becomes one array, (N, 64, 64, 3) uint8, and a report. Built on page 02."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from . import download, sources
from .dataset import Faces, Report, folder_of
from .device import data_folder
from .images import (
    Inspection,
    decompression_bombs_raise,
    find_images,
    inspect_image,
    is_broken_link,
)

CHUNK = 512  # images in memory at a time
MAX_UNREADABLE = 0.01  # as a share of the images


def prepare(folder: str | Path, out: str | Path | None = None, size: int = 64) -> Faces:
    """A folder of images -> faces.npy (N, size, size, 3) uint8, names.txt, report.json in `out`.

    Each image is decoded once. Exact duplicates and unreadable files are left out, and named in
    the report. A folder that was prepared before and has not changed is not prepared again.
    Raises ValueError if more than 1% can't be read; unreadable.txt in `out` lists the files.
    """
    folder = Path(folder)
    if not out:
        out = data_folder() / "prepared" / f"{folder.resolve().name}_{size}"
    out = Path(out)
    paths = find_images(folder)
    names = [_on_one_line(path.relative_to(folder).as_posix()) for path in paths]
    report = Report(folder.name, _fingerprint(paths, names, size), size)
    with suppress(ValueError):  # not prepared yet, or damaged since
        faces = Faces(out)
        if faces.report.fingerprint == report.fingerprint:
            return faces
    _remove_old_files(out)
    with decompression_bombs_raise():
        kept = _decode(paths, names, report, out / "faces.npy")
    _check_unreadable(report, folder, out)
    readable = [name for name in names if name not in report.unreadable]
    report.repeated = _duplicate_folders(readable, report.duplicates)
    report.unusual = _unusual(np.load(out / "faces.npy", mmap_mode="r"), kept)
    (out / "names.txt").write_text("\n".join(kept), encoding="utf-8")
    content = json.dumps(asdict(report), indent=1)
    (out / "report.json").write_text(content, encoding="utf-8")  # last: it makes the set complete
    return Faces(out)


def load_faces(source: str | Path | None = None, size: int = 64) -> Faces:
    """Any source, as `sources.resolve` reads it, or a prepared set -> `Faces` of this size.

    Images are downloaded and prepared if need be. Raises ValueError if a set was prepared at
    another size, and what `download.get` and `prepare` raise.
    """
    origin = sources.resolve(source)
    if origin.kind != "prepared":
        return prepare(download.get(source), size=size)
    faces = Faces(origin.path)
    if faces.report.size != size:
        raise ValueError(
            f"{origin.path} was prepared at {faces.report.size} pixels, not {size}:"
            " prepare it again"
        )
    return faces


def _on_one_line(name: str) -> str:
    """-> the name, with what can't be written as a line of UTF-8 escaped."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return name.replace("\n", "\\n").replace("\r", "\\r")


def _fingerprint(paths: list[Path], names: list[str], size: int) -> str:
    """-> a digest that changes with any file's name, size or time, the image size, or `Report`."""
    lines = []
    for path, name in zip(paths, names):
        status = path.stat(follow_symlinks=not is_broken_link(path))
        lines.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    lines.append(str(size))
    lines.extend(Report.__annotations__)  # what a version with other fields prepared is redone
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _remove_old_files(out: Path) -> None:
    """Make the folder and remove what makes a set complete, and an old list of damaged files."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("report.json", "faces.npy", "unreadable.txt"):
        (out / name).unlink(missing_ok=True)


# ---- pixels ----


def _decode(paths: list[Path], names: list[str], report: Report, target: Path) -> list[str]:
    """Write the pixels of the unique readable images to `target`, and fill in the report.

    -> the names of the rows.
    """
    first_names = {}  # digest -> name
    sizes = Counter()
    with (
        open(target, "w+b") as file,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(paths), desc="preparing", unit="image") as progress,
    ):
        _write_header(file, 0, report.size)
        for name, image in zip(names, _inspect_all(pool, paths, report.size)):
            progress.update()
            _record(name, image, report, sizes)
            if image.error:
                continue
            if image.digest in first_names:
                report.duplicates[name] = first_names[image.digest]
                continue
            first_names[image.digest] = name
            file.write(image.pixels)
        file.seek(0)
        _write_header(file, len(first_names), report.size)
    report.unique = len(first_names)
    report.sizes = dict(sizes.most_common())
    return list(first_names.values())


def _inspect_all(pool: ThreadPoolExecutor, paths: list[Path], size: int) -> Iterator[Inspection]:
    """Inspect images in parallel, a chunk at a time, so that little memory is needed."""
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        yield from pool.map(inspect_image, chunk, [size] * len(chunk))


def _record(name: str, image: Inspection, report: Report, sizes: Counter) -> None:
    """Count an image, and report what is special about it."""
    report.found += 1
    if image.error:
        report.unreadable[name] = image.error
        return
    shape = f"{image.width}x{image.height}"
    sizes[shape] += 1
    if image.mode != "RGB":
        report.not_rgb[name] = image.mode
    if 2 * min(image.width, image.height) < report.size:
        report.tiny[name] = shape


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    # NumPy leaves room for the count to grow, so the header can be rewritten when it is known.
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


# ---- what the report says about them ----


def _check_unreadable(report: Report, folder: Path, out: Path) -> None:
    """List unreadable files in unreadable.txt. Raises ValueError if there are too many."""
    lines = [f"{name}: {reason}" for name, reason in report.unreadable.items()]
    if not lines:
        return
    path = out / "unreadable.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if len(lines) > MAX_UNREADABLE * report.found:
        raise ValueError(
            f"{len(lines):,} of {report.found:,} images in {folder} can't be read (the first:"
            f" {lines[0]}): the download is damaged, get it again, or delete these files:"
            f" {path} lists them all"
        )


def _duplicate_folders(names: list[str], duplicates: dict[str, str]) -> dict[str, str]:
    """-> each folder whose images are all in another folder, too -> that folder.

    Of two folders with the same images, the deeper one is the copy, or else the later name.
    """
    images_in = defaultdict(set)
    folders_with = defaultdict(set)
    for name in names:
        image = duplicates.get(name, name)
        images_in[folder_of(name)].add(image)
        folders_with[image].add(folder_of(name))

    def rank(folder: str) -> tuple[int, int, str]:
        """The folder with the most images comes first, then the one with the fewest levels."""
        return (-len(images_in[folder]), folder.count("/"), folder)

    repeated = {}
    for folder, images in images_in.items():
        candidates = folders_with[next(iter(images))]
        holders = [other for other in candidates if images <= images_in[other]]
        original = min(holders, key=rank)
        if original != folder:
            repeated[folder] = original
    return repeated


def _unusual(array: np.ndarray, names: list[str], count: int = 16) -> list[str]:
    """-> the names of the images that differ most from the rest, the most unusual one first.

    The colors of an image, averaged in 4x4 blocks, are compared with the mean of all images by
    the Mahalanobis distance. Fewer than 100 images have no unusual ones.
    """
    if len(array) < 100 or array.shape[1] < 4:
        return []
    blocks = _block_colors(array)
    blocks -= blocks.mean(0)
    covariance = blocks.T @ blocks / len(blocks)
    covariance += np.eye(48)  # one gray level more, so that it can be inverted
    distances = (blocks @ np.linalg.inv(covariance) * blocks).sum(1)  # squared
    most_distant = np.argsort(-distances, kind="stable")[:count]
    return [names[i] for i in most_distant if distances[i] > 1]


def _block_colors(array: np.ndarray) -> np.ndarray:
    """(N, size, size, 3) uint8 -> (N, 48), the mean colors of the 4x4 blocks of each image."""
    side = array.shape[1] // 4
    sums = []
    for start in range(0, len(array), CHUNK):
        chunk = array[start : start + CHUNK, : 4 * side, : 4 * side]
        rows = chunk.reshape(-1, 4, side, 12 * side).sum(2, dtype=np.uint32)  # fast: long rows
        sums.append(rows.reshape(-1, 16, side, 3).sum(2).reshape(-1, 48))
    return np.concatenate(sums) / side**2
