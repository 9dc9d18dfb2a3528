"""The whole state of a run becomes a file that survives a crash, and back. Used from page 05 on."""

import io
import os
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import torch

from .device import is_out_of_memory
from .files import step_files


class CheckpointError(RuntimeError):
    """A file that can't be used; its message names the file and the cure."""


class UnreadableError(CheckpointError):
    """A file that can't be read at the moment, and may be whole."""


KEPT = 3  # the newest checkpoints, which `prune` never deletes


def atomic_write(path: str | Path, content: bytes) -> Path:
    """Bytes -> the file `path`: whole or not at all, even if the process dies meanwhile.

    They go into a hidden file beside `path`, are flushed to the disk, and only then renamed.
    Raises CheckpointError that names the file if it can't be written; an older one stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be written ({error.strerror or error}): free some space, or choose a"
            " folder that can be written; what was saved before is still whole"
        ) from error
    return path


def save(state: dict, path: str | Path) -> Path:
    """Numbers, strings and tensors -> the file `path`, by `atomic_write`."""
    file = io.BytesIO()
    torch.save(state, file)
    return atomic_write(path, file.getvalue())


def load(path: str | Path) -> dict:
    """Read what `save` wrote, tensors on the CPU. Never runs code from the file.

    Every byte is compared with its checksum: `torch.load` alone does not do that.
    Raises CheckpointError for a file that is missing, damaged, or not plain data; UnreadableError
    if the disk or the memory fails.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as error:  # torch raises many kinds for one cause
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise UnreadableError(
                f"{path} can't be read ({reason}): it may be whole, so keep it, and try again when"
                " its disk is connected or memory is free"
            ) from error
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({reason}): use an earlier one, or train again"
        ) from error


def at_step(run: str | Path, step: int) -> Path:
    """-> the path of the checkpoint of one step: `run/checkpoints/step_00001200.pt`."""
    return Path(run) / "checkpoints" / f"step_{step:08d}.pt"


def saved(run: str | Path) -> list[Path]:
    """-> the checkpoints of a run, the newest last."""
    return step_files(Path(run) / "checkpoints", ".pt")


def step_of(path: Path) -> int:
    """The path of a checkpoint -> its step."""
    return int(path.stem.removeprefix("step_"))


def newest(run: str | Path) -> dict:
    """-> the newest good checkpoint of a run.

    A damaged one is named in a warning, and the one before it is loaded.
    Raises CheckpointError if no checkpoint can be used, UnreadableError if one can't be read.
    """
    paths = saved(run)
    if not paths:
        reason = "nothing was saved in it yet" if Path(run).is_dir() else "there is no such folder"
        raise CheckpointError(f"{run} has no checkpoint: {reason}")
    for path in reversed(paths):
        try:
            return load(path)
        except UnreadableError:
            raise
        except CheckpointError as error:
            warnings.warn(f"{error}. Loading the checkpoint before it.", stacklevel=2)
    raise CheckpointError(
        f"all checkpoints of {run} are damaged: restore an earlier copy of it, or train again"
    )


def delete_after(run: str | Path, step: int) -> None:
    """Delete the checkpoints after a step: `newest` found them damaged and went on from there."""
    for path in saved(run):
        if path > at_step(run, step):
            path.unlink()


def prune(run: str | Path) -> None:
    """Delete all checkpoints but the last `KEPT` and the first ones from 1,024, 2,048 ... on.

    What can't be deleted now, such as a file that another process reads, waits for the next call.
    """
    milestone = 1024
    for path in saved(run)[:-KEPT]:
        step = step_of(path)
        if step < milestone:
            part = path.with_name(f".{path.name}.part")  # what has its final name is whole
            with suppress(OSError):
                os.replace(path, part)
                os.truncate(part, 0)  # Google Drive keeps what is deleted in its trash
                part.unlink()
        else:
            milestone = 1 << step.bit_length()
    for part in (Path(run) / "checkpoints").glob(".*.part"):  # of a process killed while saving
        with suppress(OSError):
            part.unlink()
