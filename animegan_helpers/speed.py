"""The same training step, faster on a GPU: half precision, images kept on the device. Page 10."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Dataset

from .dataset import Faces


@dataclass(frozen=True)
class Speed:
    """How a step is computed. Only `dtype` changes its numbers."""

    dtype: torch.dtype | None = None  # bfloat16, or float16 with a GradScaler; None: float32
    fetch_every: int = 1  # losses and scores are copied from the device after so many steps


PLAIN = Speed()


def best_speed(device: torch.device | str) -> Speed:
    """A device -> what is fastest there: half precision on CUDA, plain float32 elsewhere.

    GPUs older than 2020 (a T4) only emulate bfloat16, so they get float16.
    """
    if torch.device(device).type != "cuda":
        return PLAIN
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Speed(torch.bfloat16, fetch_every=50)
    return Speed(torch.float16, fetch_every=50)


class HalfPrecision:
    """Calls a network under autocast and returns float32. It can be called and frozen, no more.

    Images whose gradient is wanted (R1) go through the network in float32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        self.network = network
        self.dtype = dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        needs_gradient_of_input = x.is_leaf and x.requires_grad
        if needs_gradient_of_input:
            return self.network(x)
        with torch.autocast(x.device.type, self.dtype):
            return self.network(x).float()

    def requires_grad_(self, requires_grad: bool = True) -> None:
        """Freeze or unfreeze the network."""
        self.network.requires_grad_(requires_grad)


class DeviceFaces(Dataset):
    """A `Faces` set kept whole on the device: rows -> (N, size, size, 3) uint8, cut there."""

    def __init__(self, faces: Faces, device: torch.device | str):
        self.pixels = torch.tensor(faces.array, device=device)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: int | slice | list | torch.Tensor) -> torch.Tensor:
        """A row number -> (size, size, 3) uint8; a slice or list -> (N, size, size, 3) uint8."""
        if isinstance(rows, slice):
            return self.pixels[rows].clone()
        return self.pixels[torch.as_tensor(rows).to(self.pixels.device)]


def to_device(faces: Dataset, device: torch.device | str) -> Dataset:
    """-> the set on the device if that is a GPU with twice the memory free; else as it is."""
    device = torch.device(device)
    if device.type != "cuda" or not isinstance(faces, Faces):
        return faces
    free, _ = torch.cuda.mem_get_info(device)
    if faces.array.nbytes > free / 2:
        return faces
    return DeviceFaces(faces, device)
