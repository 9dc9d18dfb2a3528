"""Several processes train one model: each on its part of every batch; one writes. Page 10.

`torchrun --standalone --nproc_per_node=2 -m -- animegan_helpers train ...` starts them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from .device import is_cuda
from .recipes import Recipe

if dist.is_available():  # some builds of torch, for Windows or AMD's GPUs, lack it
    # `torch.distributed.nn` keeps the process group of the moment of its first import as a default
    # argument. An optimizer imports it: inside `join`, that would keep the group and its threads.
    import torch.distributed.nn  # noqa: F401


class PeerLost(ConnectionError):
    """Another process of the run is gone; the message says how to go on."""


class Distributed:
    """The processes of one run: how many, and which one this is. Alone, it does nothing."""

    def __init__(self, rank: int = 0, world_size: int = 1):
        self.rank = rank
        self.world_size = world_size

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def shard(self, batch: torch.Tensor) -> torch.Tensor:
        """A whole batch -> this process's part. Raises ValueError if it can't be divided evenly."""
        if len(batch) % self.world_size:
            raise ValueError(
                f"batches of {len(batch)} can't be divided among {self.world_size} processes:"
                " take a multiple"
            )
        part = len(batch) // self.world_size
        return batch[self.rank * part : (self.rank + 1) * part]

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """The gradients of an optimizer's weights become their mean over all processes, in place.

        One flat all-reduce, not DistributedDataParallel: that forbids R1's second derivative.
        """
        if self.world_size == 1:
            return
        gradients = [
            weight.grad
            for group in optimizer.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        _all_reduce(flat)
        parts = (flat / self.world_size).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view(gradient.shape))

    def any(self, flag: bool) -> bool:
        """-> whether any process says yes, so that all of them stop after the same step."""
        if self.world_size == 1:
            return flag
        votes = torch.tensor(int(flag))
        _all_reduce(votes)
        return votes.item() > 0

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Within it the main process works before the others do: they find what it has made."""
        if not self.is_main:
            self.any(False)
        yield
        if self.is_main:
            self.any(False)


def sync_batch_norm(recipe: Recipe, *networks: nn.Module) -> list[nn.Module]:
    """-> the networks with batch norm over the batches of all GPUs.

    Raises ValueError for R1 with batch norm in D: that batch norm has no second derivative
    (pytorch issue 61222).
    """
    if recipe.r1 and recipe.d_norm == "batch":
        raise ValueError(
            f"recipe {recipe.name} has R1 and batch norm in D, which several GPUs can't train:"
            " use one GPU, or a recipe without batch norm in D, such as default"
        )
    return [nn.SyncBatchNorm.convert_sync_batchnorm(network) for network in networks]


def _all_reduce(tensor) -> None:
    """A tensor becomes its sum over all processes. Raises PeerLost where one of them is gone."""
    try:
        dist.all_reduce(tensor)
        return
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    # Raised outside the handler, the error does not carry all_reduce's frames, which hold the
    # process group. A gloo thread that outlives Python aborts the process.
    raise PeerLost(
        f"another process of this run is gone ({reason}): what was saved last is whole,"
        " go on from it with --resume"
    )


@contextmanager
def join(device: torch.device) -> Iterator[tuple[Distributed, torch.device]]:
    """Within it: the processes that torchrun started, and this one's device. Else one process.

    Raises ValueError for several processes if this build of torch is without torch.distributed.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Distributed(), device
        return
    if not dist.is_available():
        raise ValueError(
            "this build of torch has no torch.distributed: train in one process, without torchrun"
        )
    backend = "gloo"
    if is_cuda(device):
        backend = "cpu:gloo,cuda:nccl"
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        device = torch.device("cpu")  # gloo can't add up what lies on an Apple GPU
    # the main process may download and prepare for long before the others hear from it
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        yield Distributed(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
