"""The machine becomes a device, sizes that suit it, and seeds. Used from page 00 on."""

import hashlib
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

KAGGLE_OUTPUT, COLAB = Path("/kaggle/working"), Path("/content")  # where a session there may write


@dataclass(frozen=True)
class Machine:
    """What this machine is, and the sizes that suit it: `width` channels, `batch` pictures."""

    device: torch.device
    name: str
    width: int
    batch: int

    def __str__(self):
        return f"{self.name}: networks of width {self.width}, batches of {self.batch} pictures ({where()})"


def pick() -> Machine:
    """Look at the machine: CUDA first, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return Machine(torch.device("cuda"), torch.cuda.get_device_name(), width=64, batch=128)
    if torch.backends.mps.is_available():  # fp32 only: half precision on MPS is not worth its surprises here
        return Machine(torch.device("mps"), f"Apple GPU ({platform.processor()})", width=32, batch=64)
    return Machine(torch.device("cpu"), f"CPU with {torch.get_num_threads()} threads", width=16, batch=32)


def matrix_rate(device="cpu", dtype=torch.float32, size: int = 1024) -> float:
    """-> how fast this machine multiplies square matrices, in GFLOP/s: the best of five short tries."""
    a, best, times = torch.rand(size, size, device=device).to(dtype), 0.0, max(1, 8 * 1024**3 // size**3)
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            last = a @ a
        last[0, 0].item()  # a GPU has finished only when it is asked for a number
        best = max(best, times * 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def where() -> str:
    """-> "kaggle", "colab" or "here". Kaggle first: its images are built from Colab's and carry Colab's marks."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    return "colab" if os.environ.get("COLAB_RELEASE_TAG") else "here"


def data_folder() -> Path:
    """-> the project's `data/`, also when a notebook runs in `notebooks/`; elsewhere `data/` in the current folder.

    On Kaggle always under /kaggle/working, which can be written to and is kept as the notebook's output; on Colab,
    outside of a clone, under /content.
    """
    here = Path.cwd()
    if where() == "kaggle":  # before the project is looked for: attached as a dataset it can only be read
        return KAGGLE_OUTPUT / "data"
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "animegan_helpers").is_dir():
            return folder / "data"
    return (COLAB if where() == "colab" else here) / "data"


def keep_runs() -> str:
    """On Colab, make `data/runs` a link into Drive, so that runs outlive the session. -> where they are kept, in words.

    Runs made before Drive was mounted move there, but for those whose name is taken there.
    """
    drive, runs = COLAB / "drive/MyDrive", data_folder() / "runs"
    if where() == "kaggle":
        return f"Runs are kept in {runs}, in this notebook's output. To keep that: Save Version, or Persistence on."
    kept = drive / "animegan/runs"
    if runs.is_symlink():  # of an earlier time, maybe to a Drive that is gone
        runs.unlink()
    if not drive.is_dir():
        return (
            f"Runs are kept in {runs} and end with this session. To keep them, mount Drive (from google.colab import"
            f" drive; drive.mount('{drive.parent}')), then run this cell again."
        )
    kept.mkdir(parents=True, exist_ok=True)
    runs.mkdir(parents=True, exist_ok=True)
    for run in sorted(runs.iterdir()):
        if not (kept / run.name).exists():
            shutil.move(run, kept / run.name)
    if left := sorted(run.name for run in runs.iterdir()):
        return f"Not on Drive: {', '.join(left)}. {kept} has runs of that name; rename yours, then run this cell again."
    runs.rmdir()
    runs.symlink_to(kept, target_is_directory=True)
    return f"Runs are kept on Drive, in {kept}."


def generator(*seed: int) -> torch.Generator:
    """Whole numbers, (seed, step) say -> a CPU generator of their own, unlike that of any other numbers."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
