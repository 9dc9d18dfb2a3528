"""The same training step, faster on a GPU: half precision, images kept on the device. Page 10."""

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, Subset, get_worker_info

from .dataset import Faces
from .device import is_cuda, move

CHECKED_STEPS = 10
LEAST_COSINE = 0.7  # of the weight changes of both trainers of a self-check
LEAST_SPEEDUP = 1.0  # of half precision; an H100 waits for Python, and its casts only cost time


@dataclass(frozen=True)
class Speed:
    """How a step is computed. Only `dtype` changes its numbers."""

    dtype: torch.dtype | None = None  # bfloat16, or float16 with a GradScaler; None: float32
    fetch_every: int = 1  # losses and scores are copied from the device after this many steps


PLAIN = Speed()


def best_speed(device: torch.device | str) -> Speed:
    """A device -> what is fastest there: half precision on most of CUDA's GPUs, else float32.

    From compute capability 8.0 on (2020) a GPU has bfloat16. A T4 or V100 (7.x) only emulates it
    and gets float16. Older ones get float32.
    """
    if torch.device(device).type == "cpu":
        return PLAIN
    dtype = None
    if is_cuda(device):
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            dtype = torch.bfloat16
        elif capability >= (7, 0):
            dtype = torch.float16
    return Speed(dtype, fetch_every=50)


def memory_format(device: torch.device | str) -> torch.memory_format:
    """-> channels_last, the faster one, except on MPS: batch norm is wrong there (issue 175189)."""
    if torch.device(device).type == "mps":
        return torch.contiguous_format
    return torch.channels_last


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


@dataclass(frozen=True)
class SelfCheck:
    """What `self_check` has measured: how far the fast steps are from the plain ones.

    Only the first step's directions are compared: later ones also depend on how fast the losses
    drive two nearly equal trainings apart, which differs from recipe to recipe.
    """

    gap: float  # the largest difference of a loss or score, over all steps
    cosine_g: float  # between both G's weight changes in the first step
    cosine_d: float  # the same for D
    speedup: float  # seconds of the plain steps over those of the fast ones, without the first
    problem: str  # why the fast steps must not be used; "" if they may

    def __str__(self):
        return (
            f"self-check, {CHECKED_STEPS} steps in half precision and in float32: losses and scores"
            f" differ by at most {self.gap:.4f}; cosine of the first weight change:"
            f" G {self.cosine_g:.3f}, D {self.cosine_d:.3f}; {self.speedup:.2f} times as fast"
        )


def self_check(plain: Any, fast: Any, images: torch.Tensor) -> SelfCheck:
    """Two new trainers of one recipe and seed, (N, H, W, 3) uint8 -> do they do the same, how fast?

    Both are trained for ten steps on these images. Raises FloatingPointError if the plain steps
    already are not finite.
    """
    changes, numbers, seconds = [], [], []
    for trainer in (plain, fast):
        before = _flat_weights(trainer)
        first = trainer.step(images)
        changes.append([new - old for new, old in zip(_flat_weights(trainer), before)])
        first = first.cpu()  # waits for the device, as below
        start = time.perf_counter()
        later = torch.stack([trainer.step(images) for _ in range(CHECKED_STEPS - 1)]).cpu()
        seconds.append(time.perf_counter() - start)
        numbers.append(torch.cat([first[None], later]))
        is_finite = all(
            values.isfinite().all() for values in (numbers[-1], *_flat_weights(trainer))
        )
        if trainer is plain and not is_finite:
            raise FloatingPointError(
                f"a number of the first {CHECKED_STEPS} steps is not finite: try a lower learning"
                " rate"
            )
    problem = ""
    cosines = [F.cosine_similarity(a, b, dim=0).item() for a, b in zip(*changes)]
    if not is_finite:
        problem = "a number of the steps in half precision is not finite"
    elif min(cosines) < LEAST_COSINE:
        problem = f"the weights change in another direction (a cosine is below {LEAST_COSINE})"
    gap = (numbers[1] - numbers[0]).abs().max().item()
    return SelfCheck(gap, *cosines, seconds[0] / seconds[1], problem)


def _flat_weights(trainer) -> list[torch.Tensor]:
    """-> all weights of G in one row, and those of D."""
    return [
        torch.cat([weight.detach().flatten() for weight in network.parameters()])
        for network in (trainer.G, trainer.D)
    ]


class DeviceFaces(Dataset):
    """A `Faces` set kept whole on the device: rows -> (N, size, size, 3) uint8, cut there."""

    def __init__(self, faces: Faces, device: torch.device | str):
        self.report = faces.report
        self.pixels = torch.tensor(faces.array, device=device)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: int | slice | list | torch.Tensor) -> torch.Tensor:
        """A row number -> (size, size, 3) uint8; a slice or list -> (N, size, size, 3) uint8.

        Raises RuntimeError in a worker of a DataLoader: a forked process can't use the GPU.
        """
        if get_worker_info():
            raise RuntimeError("the set is on the GPU, where no worker can read it: use workers=0")
        if isinstance(rows, slice):
            return self.pixels[rows].clone()
        return self.pixels[move(torch.as_tensor(rows), self.pixels.device)]


def to_device(faces: Dataset, device: torch.device | str) -> Dataset:
    """-> the set on the device if that is a CUDA GPU with twice the memory free; else as it is.

    A part of a set, a `Subset`, takes the whole set with it.
    """
    if isinstance(faces, Subset):
        return Subset(to_device(faces.dataset, device), faces.indices)
    if not is_cuda(device) or not isinstance(faces, Faces):
        return faces
    free, _ = torch.cuda.mem_get_info(device)
    if faces.array.nbytes > free / 2:
        return faces
    return DeviceFaces(faces, device)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load an optimizer's moments, but keep its rate, and this machine's way to compute a step.

    The way is chosen first: Adam's step count lies on a GPU for a fused step, else on the CPU.
    """
    state = copy.copy(state)
    own = {name: optimizer.param_groups[0][name] for name in ("fused", "lr")}
    state["param_groups"] = [group | own for group in state["param_groups"]]
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:  # a fused step takes it to lie in the same order
                moments[name] = torch.empty_like(parameter).copy_(value)
