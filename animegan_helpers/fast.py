"""The same step, faster on a GPU: half precision, compiled, recorded and replayed, its pictures at hand. Page 10."""

import importlib.util
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset


@dataclass(frozen=True)
class Speed:
    """What is done to a step. Each changes its time and, but for `dtype`, nothing else."""

    dtype: torch.dtype | None = None  # bfloat16, or float16 with a GradScaler; None is float32
    compiled: bool = False  # both networks by `torch.compile`
    recorded: bool = False  # the whole step as a CUDA graph
    fetch: int = 1  # the history's numbers are fetched from the device after so many steps


PLAIN = Speed()


def best(device, processes: int = 1) -> Speed:
    """A device -> what pays there. On a CPU nothing does: small networks come out slower compiled than plain.

    A GPU older than 2020 (a T4) only emulates bfloat16: it gets float16. Neither a GradScaler nor several processes
    are recorded.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return PLAIN
    exact = torch.cuda.is_bf16_supported(including_emulation=False)
    compiled = importlib.util.find_spec("triton") is not None  # Windows has none
    return Speed(torch.bfloat16 if exact else torch.float16, compiled, exact and processes == 1, fetch=50)


class Fast:
    """A network, called in half precision or compiled; it answers in float32. It can only be called and frozen.

    Pictures whose slope is asked for (R1) go through the network as it is: that wants float32, and a second derivative
    does not compile.
    """

    def __init__(self, net, speed: Speed):
        self.net, self.dtype = net, speed.dtype
        self.call = torch.compile(net) if speed.compiled else net

    def __call__(self, x):
        if x.is_leaf and x.requires_grad:
            return self.net(x)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            return self.call(x).float()

    def requires_grad_(self, on: bool = True):
        self.net.requires_grad_(on)


class Recorded:
    """A function of tensors that calls nothing but the GPU -> the same, recorded at the fourth call, then replayed.

    The first three calls are real ones: they warm up, as a recording needs it. What the function reads besides its
    inputs must stay where it is.
    """

    def __init__(self, function, warm_up: int = 3):
        self.function, self.warm_up, self.graph = function, warm_up, None

    def __call__(self, *inputs):
        if self.warm_up:
            self.warm_up -= 1
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                answer = self.function(*inputs)
            here.wait_stream(aside)
            return answer
        if not self.graph:
            self.inputs, self.graph = [x.clone() for x in inputs], torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.answer = self.function(*self.inputs)
        for kept, new in zip(self.inputs, inputs):
            kept.copy_(new)
        self.graph.replay()
        return self.answer.clone()


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
