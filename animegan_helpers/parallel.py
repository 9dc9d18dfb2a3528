"""Several processes play one game: each its share of every batch, gradients averaged, one writes. Page 10.

`torchrun --standalone --nproc_per_node=2 -m -- animegan_helpers train ...` starts them.
"""

import os
from contextlib import contextmanager

import torch
import torch.distributed as dist

# Its functions have the group of the time of this import as a default. An optimiser imports it: inside of `join`, that
# would keep the group and its threads beyond the end of it.
import torch.distributed.nn  # noqa: F401


class PeerLost(ConnectionError):
    """Another process of the run is gone; the message says how to go on."""


class Team:
    """The processes of one run: how many, and which of them this is. The first writes. Alone, it does nothing."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    def share(self, batch):
        """A whole batch -> this process's part of it. Raises ValueError if it can't be divided."""
        if len(batch) % self.size:
            raise ValueError(f"batches of {len(batch)} can't be divided among {self.size} processes: take a multiple")
        part = len(batch) // self.size
        return batch[self.rank * part : (self.rank + 1) * part]

    def average(self, opt) -> None:
        """The gradients of an optimiser's weights become their mean over all processes, in place.

        A plain sum, not DistributedDataParallel: that forbids R1's second derivative.
        """
        if self.size == 1:
            return
        grads = [p.grad for group in opt.param_groups for p in group["params"] if p.grad is not None]
        whole = torch.cat([grad.reshape(-1) for grad in grads])
        _sum(whole)
        for grad, part in zip(grads, (whole / self.size).split([grad.numel() for grad in grads])):
            grad.copy_(part.view(grad.shape))

    def any(self, flag: bool) -> bool:
        """-> whether any process says yes: so all of them stop after the same step."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))
        _sum(votes)
        return votes.item() > 0

    @contextmanager
    def one_first(self):
        """Within it the first process works before the others do: they find what it has made."""
        if self.rank:
            self.any(False)
        yield
        if not self.rank:
            self.any(False)


def _sum(tensor) -> None:
    """A tensor becomes its sum over all processes, in place. Raises PeerLost where one of them is gone."""
    try:
        dist.all_reduce(tensor)
        return
    except RuntimeError as error:
        said = str(error).splitlines()[0]
    # Raised out here it does not carry all_reduce's frames, which hold the group: so `join` ends it and its threads.
    # One of these that outlives Python aborts the process when it frees its last tensor.
    cure = "what was saved last is whole, go on from it with --resume"
    raise PeerLost(f"another process of this run is gone ({said}): {cure}")


@contextmanager
def join(device):
    """Within it: the team that torchrun started, and this process's device. Without torchrun, a team of one."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
