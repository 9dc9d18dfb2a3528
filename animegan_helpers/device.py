"""The machine becomes a device, sizes that suit it, and seeds. Built in the first cells of each page."""

import hashlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch


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


def matrix_rate(device="cpu") -> float:
    """-> how fast this machine multiplies matrices of 1024x1024, in GFLOP/s: the best of five short tries."""
    a, best = torch.rand(1024, 1024, device=device), 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(8):
            last = a @ a
        last[0, 0].item()  # a GPU has finished only when it is asked for a number
        best = max(best, 8 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9)
    return best


def where() -> str:
    """-> "kaggle", "colab" or "here". Kaggle first: its images are built from Colab's and carry Colab's marks."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    return "colab" if os.environ.get("COLAB_RELEASE_TAG") else "here"


def data_folder() -> Path:
    """-> the project's `data/`, also when a notebook runs in `notebooks/`; elsewhere `data/` in the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "animegan_helpers").is_dir():
            return folder / "data"
    return here / "data"


def generator(*seed: int) -> torch.Generator:
    """Whole numbers, (seed, step) say -> a CPU generator of their own, unlike that of any other numbers."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
