"""The machine becomes a device, network sizes that suit it, and folders. Used from page 00 on."""

from __future__ import annotations

import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to load: only the functions that need it load it
    import torch

MAX_PROCESSES = 61  # Windows can't wait for more at once
KAGGLE_OUTPUT = Path("/kaggle/working")  # the folder that a Kaggle session may write to
KAGGLE_INPUT = Path("/kaggle/input")  # what is attached to it: data sets, outputs of notebooks
COLAB = Path("/content")  # the same on Colab


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is an error of Python, of a GPU or of torch's CPU allocator for lack of memory."""
    text = str(error)
    is_of_torch = "out of memory" in text or "DefaultCPUAllocator" in text
    return is_of_torch or isinstance(error, MemoryError)


@dataclass(frozen=True)
class Machine:
    """What this machine is, and the sizes that suit it: `width` channels, `batch` images."""

    device: torch.device
    name: str
    width: int
    batch: int

    def __str__(self):
        sizes = f"networks of width {self.width}, batches of {self.batch} images"
        return f"{self.name}: {sizes} ({where()})"


def pick() -> Machine:
    """Look at the machine: CUDA first, then Apple's MPS, then the CPU.

    A GPU is tried: one that can't compute (too old for this torch, say) causes one warning, and the
    CPU is picked.
    """
    import torch

    reason = ""
    try:
        if torch.cuda.is_available():
            index = int(os.environ.get("LOCAL_RANK", 0))  # of torchrun: one GPU for each process
            gpu = torch.device("cuda", index)
            if index:
                torch.cuda.set_device(gpu)
            _try_convolution(gpu)
            return Machine(gpu, torch.cuda.get_device_name(), width=64, batch=128)
        if torch.backends.mps.is_available():
            _try_convolution("mps")
            name = f"Apple GPU ({platform.processor()})"
            return Machine(torch.device("mps"), name, width=32, batch=64)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise  # on the CPU it would train with another recipe than the other processes
        reason = str(error).strip().partition("\n")[0][:160]
        warnings.warn(f"the GPU can't be used, so the CPU is used: {reason}", stacklevel=2)
    count = torch.get_num_threads()
    name = f"CPU with {count} thread{'s' if count > 1 else ''}"
    if reason:
        name += f" (the GPU can't be used: {reason})"
    return Machine(torch.device("cpu"), name, width=16, batch=32)


def _try_convolution(device: str | torch.device) -> None:
    """A small convolution, forward and backward. Raises RuntimeError if the GPU can't do it."""
    import torch

    images = torch.ones(1, 1, 4, 4, device=device)
    weight = torch.ones(1, 1, 3, 3, device=device, requires_grad=True)
    torch.nn.functional.conv2d(images, weight).sum().backward()
    weight.grad.sum().item()  # waits until the GPU has finished


def is_cuda(device: torch.device | str) -> bool:
    """-> whether a device is an NVIDIA GPU, or one of AMD's, which torch calls "cuda", too."""
    return str(device).partition(":")[0] == "cuda"


def move(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """-> the tensor on the device. Only a copy to CUDA does not wait for what runs there.

    On MPS, such a copy can read memory that is freed already (pytorch issue 189690).
    """
    return tensor.to(device, non_blocking=is_cuda(device))


def cpu_count() -> int:
    """-> how many CPUs this process may use: on a shared machine, fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def matrix_rate(
    device: str | torch.device = "cpu", dtype: torch.dtype | None = None, size: int = 1024
) -> float:
    """-> how fast this machine multiplies square matrices, in GFLOP/s: the best of five tries.

    The default `dtype` is float32.
    """
    import torch

    matrix = torch.rand(size, size, device=device).to(dtype or torch.float32)
    with _tf32() if is_cuda(device) else nullcontext():
        return _matrix_rate(matrix)


@contextmanager
def _tf32() -> Iterator[None]:
    """Within it float32 products on CUDA are as exact, and as fast, as float32 convolutions are."""
    import torch

    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def _matrix_rate(matrix) -> float:
    size = len(matrix)
    operations = 2 * size**3  # of one product
    repeats = max(1, 8 * 1024**3 // size**3)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            product = matrix @ matrix
        product[0, 0].item()  # waits until a GPU has finished
        seconds = time.perf_counter() - start
        best = max(best, repeats * operations / seconds / 1e9)
    return best


def where() -> str:
    """-> "kaggle", "colab" or "here"."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):  # first: Kaggle's images also set Colab's variable
        return "kaggle"
    if os.environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    return "here"


def data_folder() -> Path:
    """-> the folder that ANIMEGAN_DATA_FOLDER names, or the project's `data/`, also for a notebook.

    Outside of the project: `data/` in the current folder, on Colab under /content. On Kaggle it is
    always under /kaggle/working, which is writable and kept as the notebook's output.
    """
    if os.environ.get("ANIMEGAN_DATA_FOLDER"):
        return Path(os.path.expanduser(os.environ["ANIMEGAN_DATA_FOLDER"]))
    if where() == "kaggle":  # a project attached as a dataset is read-only, so don't look for it
        return KAGGLE_OUTPUT / "data"
    current = Path.cwd()
    for folder in (current, *current.parents):
        if (folder / "notebooks").is_dir() and (folder / "animegan_helpers").is_dir():
            return folder / "data"
    if where() == "colab":
        return COLAB / "data"
    return current / "data"


def run_folders() -> list[Path]:
    """-> the folders that may hold runs: data/runs, and on Kaggle those of attached outputs."""
    folders = [data_folder() / "runs"]
    if where() == "kaggle":
        for depth in range(1, 5):
            folders += sorted(KAGGLE_INPUT.glob("*/" * depth + "data/runs"))
    return folders


def keep_runs() -> str:
    """On Colab, make `data/runs` a link to Google Drive, so that runs outlive the session.

    Runs made before Drive was mounted are moved there, unless their name is taken there.
    -> a sentence that says where runs are kept.
    """
    runs = data_folder() / "runs"
    if where() == "kaggle":
        return (
            f"Runs are kept in {runs}, in this notebook's output."
            " To keep that: Save Version, or Persistence on."
        )
    if where() == "here":
        return f"Runs are kept in {runs}."
    drive = COLAB / "drive/MyDrive"
    if runs.is_symlink():  # from an earlier call, perhaps to a Drive that is gone
        runs.unlink()
    if not drive.is_dir():
        return (
            f"Runs are kept in {runs} and end with this session. To keep them, mount Drive"
            f" (from google.colab import drive; drive.mount('{drive.parent}')),"
            " then run this cell again."
        )
    kept = drive / "animegan/runs"
    left = _move_runs(runs, kept)
    if left:
        return (
            f"Not on Drive: {', '.join(left)}. {kept} has runs with these names:"
            " rename yours, then run this cell again."
        )
    runs.rmdir()
    runs.symlink_to(kept, target_is_directory=True)
    return f"Runs are kept on Drive, in {kept}."


def _move_runs(source, target) -> list[str]:
    """Move the runs of one folder into another; -> the names that are taken there."""
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    for run in sorted(source.iterdir()):
        if run.is_file():  # the choice of data: this session's is the newer one
            os.replace(shutil.copy(run, target / f".{run.name}.part"), target / run.name)
            run.unlink()
        elif not (target / run.name).exists():
            shutil.move(run, target / run.name)
    return sorted(run.name for run in source.iterdir())
