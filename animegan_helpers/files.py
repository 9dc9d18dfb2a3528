"""A new file or folder appears whole or not at all, also if two processes make it at once."""

import glob
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DAY = 24 * 3600  # seconds
SYSTEM_FILES = {".DS_Store", "desktop.ini", "Thumbs.db"}  # file managers leave them anywhere


def expand(path: str | Path) -> Path:
    """-> a path, with ~ as the user's folder. A name such as ~backup stays as it is."""
    return Path(os.path.expanduser(path))


def sha256(file: BinaryIO) -> bytes:
    """-> the SHA-256 of a file's bytes, from its start."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.digest()


def names_in(folder: Path) -> set[str]:
    """-> the names of what a folder holds, without the files that file managers leave there."""
    return {path.name for path in folder.iterdir()} - SYSTEM_FILES


def step_files(folder: Path, ending: str) -> list[Path]:
    """-> the files of a folder that are named step_00001200 and so on, the latest last.

    Copies that a user has made, such as "step_00001200 (1).pt", are not among them.
    """
    paths = folder.glob(f"step_*{ending}")
    return sorted(path for path in paths if re.fullmatch(r"step_\d+", path.stem))


@contextmanager
def new_folder(out: Path, is_done: Callable[[Path], bool], replace: bool = False) -> Iterator[Path]:
    """Yield a hidden folder beside `out`, to be filled; at the end it is renamed to `out`.

    After an error it is deleted. Where another process was faster, so that `is_done(out)`, its
    folder stays. With `replace`, another folder of that name is deleted. Raises FileExistsError if
    `out` is not empty, and PermissionError if it can't be replaced.
    """
    out = Path(os.path.realpath(out))  # of a link, the folder that it leads to
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name[:40]}.part-"
    _remove_leftovers(out.parent, prefix)
    hidden = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    try:
        hidden.chmod(0o755)  # mkdtemp's folders are closed to everyone but their owner
        yield hidden
        if not is_done(out):
            old = hidden.with_name(hidden.name + "-old")
            if replace and out.exists():
                _move_away(out, old)
            try:
                _rename(hidden, out, is_done)
            except OSError:
                if old.exists() and not out.exists():
                    old.rename(out)
                raise
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _move_away(out: Path, old: Path) -> None:
    try:
        out.rename(old)
    except PermissionError as error:  # Windows renames no folder of which a file is open
        raise PermissionError(
            f"{out} can't be replaced ({error.strerror}): if a notebook has loaded its faces,"
            " restart its kernel"
        ) from error


def _rename(hidden: Path, out: Path, is_done: Callable[[Path], bool]) -> None:
    try:
        if out.is_dir():
            if not names_in(out):
                for path in out.iterdir():
                    path.unlink()
            out.rmdir()  # it is empty; Windows can't rename onto an existing folder
        hidden.rename(out)
    except OSError as error:
        if is_done(out):
            return
        if out.exists():
            raise FileExistsError(
                f"{out} is not empty: move it away, or choose another folder"
            ) from error
        raise


def _remove_leftovers(parent: Path, prefix: str) -> None:
    """Delete what processes have left behind that were killed a day ago or earlier."""
    for path in parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(FileNotFoundError):  # another process may delete it, too
            if time.time() - path.stat().st_mtime > DAY:
                shutil.rmtree(path, ignore_errors=True)
