"""A folder of images becomes one array, (N, 64, 64, 3) uint8, and a report. Built on page 02."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from . import download, sources
from .dataset import Faces, Report
from .device import cpu_count, data_folder
from .drawn import has_labels
from .files import expand, names_in, new_folder
from .findings import duplicate_folders, unusual
from .image_files import is_broken_link, select_in_folder
from .images import Inspection, decompression_bombs_raise, inspect_image
from .locks import lock
from .storage import read_manifest

CHUNK = 512  # images in memory at a time
MAX_UNREADABLE = 0.01  # as a share of the images
FILES = {"faces.npy", "names.txt", "report.json", "unreadable.txt"}  # of a prepared set


def prepare(folder: str | Path, out: str | Path | None = None, size: int = 64) -> Faces:
    """A folder of images -> faces.npy (N, size, size, 3) uint8, names.txt, report.json in `out`.

    Each image is decoded once. Exact duplicates and unreadable files are left out, and named in
    the report. A folder that was prepared before and has not changed is not prepared again.
    Raises ValueError if more than 1% can't be read; unreadable.txt in `out` lists the files.
    Raises FileExistsError if `out` holds files that are not those of a prepared set.
    """
    folder = expand(folder)
    if out:
        out = expand(out)
        _refuse_foreign_files(out)
    else:
        out = _cache_folder(folder, size)
    selection = select_in_folder(folder)
    paths = [folder / name for name in selection.names]
    names = [_on_one_line(name) for name in selection.names]
    labeled = has_labels(folder)
    report = Report(folder.absolute().name, _fingerprint(paths, names, size), size, labeled=labeled)
    before = read_manifest(folder).get("passed_over", {})  # when its archive was unpacked
    report.passed_over = dict(Counter(before) + Counter(selection.passed_over))

    def is_done(other: Path) -> bool:
        with suppress(ValueError):  # not prepared yet, or damaged since
            return Faces(other).report.fingerprint == report.fingerprint
        return False

    with lock(out, "preparing", wait=True):  # a second process finds what the first one made
        if not is_done(out):
            with new_folder(out, is_done, replace=True) as hidden:
                _prepare(paths, names, report, hidden, out)
        return Faces(out)


def _prepare(paths: list[Path], names: list[str], report: Report, hidden: Path, out: Path) -> None:
    """Write the set into a hidden folder, which will get the name of `out`."""
    with decompression_bombs_raise():
        kept = _decode(paths, names, report, hidden / "faces.npy")
    _check_unreadable(report, hidden, out)
    readable = [name for name in names if name not in report.unreadable]
    report.repeated = duplicate_folders(readable, report.duplicates)
    report.unusual = unusual(np.load(hidden / "faces.npy", mmap_mode="r"), kept)
    (hidden / "names.txt").write_text("\n".join(kept), encoding="utf-8")
    content = json.dumps(asdict(report), indent=1)
    (hidden / "report.json").write_text(content, encoding="utf-8")


def _cache_folder(folder: Path, size: int) -> Path:
    """-> where a folder is prepared to, unlike that of another folder of the same name."""
    real = folder.resolve()
    name = f"{real.name[:40]}_{size}"
    if real.parent != data_folder().resolve() or len(real.name) > 40:
        name += f"_{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}"
    return data_folder() / "prepared" / name


def _refuse_foreign_files(out: Path) -> None:
    """Raises FileExistsError if a folder holds what `prepare` has not written."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose a folder to prepare into")
    foreign = names_in(out) - (FILES if _holds_a_set(out) else {"unreadable.txt"})
    if foreign:
        raise FileExistsError(
            f"{out} holds {min(foreign)}, which does not belong to a prepared set: choose another"
            " folder"
        )


def load_faces(source: str | Path | None = None, size: int = 64) -> Faces:
    """Any source, as `sources.resolve` reads it, or a prepared set -> `Faces` of this size.

    Images are downloaded and prepared if need be. Raises ValueError if a set was prepared at
    another size, and what `download.get` and `prepare` raise.
    """
    origin = sources.resolve(source)
    if origin.kind != "prepared":
        return prepare(download.get(origin), size=size)
    faces = Faces(origin.path)
    if faces.report.size != size:
        raise ValueError(
            f"{origin.path} was prepared at {faces.report.size} pixels, not {size}:"
            f" choose {faces.report.size}, or prepare the original images at {size}"
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


def _holds_a_set(out: Path) -> bool:
    """-> whether a folder holds a prepared set, of which one file may be damaged."""
    try:
        report = (out / "report.json").read_text(encoding="utf-8", errors="replace")
        names = (out / "names.txt").read_text(encoding="utf-8", errors="replace")
        if '"fingerprint"' in report:
            return (out / "faces.npy").exists()
        return len(np.load(out / "faces.npy", mmap_mode="r")) == len(names.split("\n"))
    except Exception:  # NumPy raises many types for what is no array
        return False


# ---- pixels ----


def _decode(paths: list[Path], names: list[str], report: Report, target: Path) -> list[str]:
    """Write the pixels of the unique readable images to `target`, and fill in the report.

    -> the names of the rows.
    """
    first_names = {}  # digest -> name
    sizes = Counter()
    with (
        open(target, "w+b") as file,
        ThreadPoolExecutor(cpu_count()) as pool,
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


def _check_unreadable(report: Report, hidden: Path, out: Path) -> None:
    """List unreadable files in unreadable.txt. Raises ValueError if there are too many."""
    lines = [f"{name}: {reason}" for name, reason in report.unreadable.items()]
    if not lines:
        return
    text = "\n".join(lines) + "\n"
    if len(lines) <= MAX_UNREADABLE * report.found:
        (hidden / "unreadable.txt").write_text(text, encoding="utf-8")
        return
    out.mkdir(exist_ok=True)
    (out / "unreadable.txt").write_text(text, encoding="utf-8")
    raise ValueError(
        f"{len(lines):,} of {report.found:,} images in {report.source} can't be read (the first:"
        f" {lines[0]}): the download is damaged, get it again, or delete these files:"
        f" {out / 'unreadable.txt'} lists them all"
    )
