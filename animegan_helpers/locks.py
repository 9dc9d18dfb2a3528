"""A path becomes a lock that one process holds, and that ends with the process. Used by runs."""

import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOCKED_BYTE = 2**20  # far behind the text of the file: on Windows a locked byte can't be read
_held_here = set()  # real paths that this process has locked


class Locked(OSError):
    """Another process holds the lock; the message names it."""


@contextmanager
def lock(path: str | Path, use: str, wait: bool = False) -> Iterator[None]:
    """Within it, no other process of this machine holds the lock of this path.

    The lock is a file in the machine's temporary folder. `use` says for messages what the path is
    used for. With `wait`, another process's end is waited for; else it raises Locked, which names
    the process. Where nothing can be locked there is one warning, and no protection.
    """
    real = os.path.normcase(os.path.realpath(path))
    if real in _held_here:
        raise Locked(f"this process is {use} {path} already")
    descriptor = None
    try:
        descriptor = _open(real)
        _acquire(descriptor, path, use, wait)
    except Locked:
        os.close(descriptor)
        raise
    except OSError as error:
        warnings.warn(
            f"{path} can't be locked ({error}): let no other process write to it", stacklevel=3
        )
    _held_here.add(real)
    try:
        yield
    finally:
        _held_here.discard(real)
        if descriptor is not None:
            os.close(descriptor)  # releases the lock


def _open(real: str) -> int:
    """-> the descriptor of the lock's file, which is made if need be."""
    folder = Path(tempfile.gettempdir()) / "animegan-locks"
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)  # other people's processes may lock the same run
    file = folder / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.lock"
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(file, flags)  # Linux refuses O_CREAT for another user's file
    except FileNotFoundError:
        descriptor = os.open(file, flags | os.O_CREAT, 0o666)
    with suppress(OSError):  # it belongs to another user, and is open to all already
        os.chmod(file, 0o666)
    return descriptor


def _acquire(descriptor: int, path: str | Path, use: str, wait: bool) -> None:
    if not _try(descriptor):
        owner = f"process {_owner(descriptor)}"
        if not wait:
            raise Locked(f"{owner} is {use} {path}: wait until it has finished, or stop it first")
        print(f"waiting for {owner}, which is {use} {path}", flush=True)
        while not _try(descriptor):
            time.sleep(0.2)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, str(os.getpid()).encode())


def _try(descriptor: int) -> bool:
    """-> whether the lock could be taken."""
    try:
        if fcntl:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKED_BYTE)
        else:
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _owner(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 20).decode() or "(unknown)"
