"""The whole state of a run becomes a file that survives, and back. Used from page 05 on."""

import io
import os
import warnings
import zipfile
from pathlib import Path

import torch


class CheckpointError(RuntimeError):
    """A file that can't be used; its message names the file and the cure."""


def write_whole(path, content: bytes) -> Path:
    """Bytes -> the file `path`: whole or not at all, even if the process dies meanwhile.

    They go into a hidden file beside `path`, down to the disk, and only then get their name.
    Raises CheckpointError that names the file when they can't be written; what was there before stays.
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
        cure = "free some space, or choose a folder that can be written; what was saved before is still whole"
        raise CheckpointError(f"{path} can't be written ({error.strerror or error}): {cure}") from error
    return path


def save(state: dict, path) -> Path:
    """Numbers, strings and tensors -> the file `path`, by `write_whole`."""
    file = io.BytesIO()
    torch.save(state, file)
    return write_whole(path, file.getvalue())


def load(path) -> dict:
    """Read what `save` wrote. Never runs code from the file, and checks every byte: `torch.load` alone does not.

    Raises CheckpointError for a file that is missing, damaged, or not plain data.
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
        raise CheckpointError(f"{path} does not exist: is this the folder of a run?") from None
    except Exception as error:  # torch raises many kinds for one cause: this file is not what was saved
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        cure = "delete it and use an earlier one, or train again"
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({reason}): {cure}") from error


def at_step(run, step: int) -> Path:
    """-> the place of the checkpoint of one step: `run/checkpoints/step_00001200.pt`."""
    return Path(run) / "checkpoints" / f"step_{step:08d}.pt"


def newest(run) -> dict:
    """-> the newest good checkpoint of a run. A damaged one is named in a warning, and the one before is taken."""
    for path in reversed(saved(run)):
        try:
            return load(path)
        except CheckpointError as error:
            warnings.warn(f"{error}. Falling back to the checkpoint before it.", stacklevel=2)
    raise CheckpointError(f"{run} has no usable checkpoint: it is not a run's folder, or nothing was saved in it yet")


def prune(run, keep: int = 3) -> None:
    """Delete all checkpoints of a run but the last `keep` and the milestones: steps 1,024, 2,048, 4,096 ..."""
    for path in saved(run)[:-keep]:
        if _step(path) < 1024 or _step(path).bit_count() > 1:
            path.unlink()
    for part in (Path(run) / "checkpoints").glob(".*.part"):  # of a process that was killed while it saved
        part.unlink()


def saved(run) -> list[Path]:
    """-> the checkpoints of a run, the newest last."""
    return sorted((Path(run) / "checkpoints").glob("step_*.pt"))


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))
