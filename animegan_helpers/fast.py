"""The same step, faster on a GPU: in half precision, its pictures at hand. Page 10."""

from dataclasses import dataclass

import torch
from torch.utils.data import Dataset


@dataclass(frozen=True)
class Speed:
    """What is done to a step. Each changes its time and, but for `dtype`, nothing else."""

    dtype: torch.dtype | None = None  # bfloat16, or float16 with a GradScaler; None is float32
    fetch: int = 1  # the history's numbers are fetched from the device after so many steps


PLAIN = Speed()


def best(device) -> Speed:
    """A device -> what pays there; on a CPU nothing does.

    A GPU older than 2020 (a T4) only emulates bfloat16: it gets float16.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return PLAIN
    exact = torch.cuda.is_bf16_supported(including_emulation=False)
    return Speed(torch.bfloat16 if exact else torch.float16, fetch=50)


class Fast:
    """A network, called in half precision; it answers in float32. It can only be called and frozen.

    Pictures whose slope is asked for (R1) go through the network as it is: that wants float32.
    """

    def __init__(self, net, speed: Speed):
        self.net, self.dtype = net, speed.dtype

    def __call__(self, x):
        if x.is_leaf and x.requires_grad:
            return self.net(x)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            return self.net(x).float()

    def requires_grad_(self, on: bool = True):
        self.net.requires_grad_(on)


class Resident(Dataset):
    """A `Prepared` set, whole on the device as (N, size, size, 3) uint8, cut there."""

    def __init__(self, faces, device):
        self.pixels = torch.tensor(faces.array, device=device)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, rows):
        """A row number -> (size, size, 3) uint8; a slice, list or array of them -> (N, size, size, 3) uint8."""
        if isinstance(rows, slice):
            return self.pixels[rows].clone()
        return self.pixels[torch.as_tensor(rows).to(self.pixels.device)]


def resident(faces, device):
    """-> the set on the device if that is a GPU and the set takes under half of its free memory; else as it is."""
    device, array = torch.device(device), getattr(faces, "array", None)
    if device.type != "cuda" or array is None or array.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return faces
    return Resident(faces, device)
