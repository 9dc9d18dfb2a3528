"""distributed: two processes (gloo) end where one does; such runs are stopped, lost and resumed."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from animegan_helpers import checkpoints, distributed
from animegan_helpers.distributed import Distributed, join
from animegan_helpers.history import read_history

SMALL = ("--size", "16", "--width", "4", "--z-dim", "8", "--batch", "8")
ENDLESS = ("--steps", "1000000")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")

# What a process of these tests runs. In two processes, batch norm's statistics are those of half
# a batch. To compare, one process must use halves, too ("HALVES"), or no batch norm ("NO_NORM").
DRIVER = """
import sys

import torch
from torch import nn

zeros_ = nn.init.zeros_


class HalfBatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        if not self.training:
            return x
        return torch.cat([super(HalfBatchNorm, self).forward(half) for half in x.chunk(2)])


class NoNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = None

    def forward(self, x):
        return x


def zeros_unless_none(tensor):
    if tensor is not None:
        zeros_(tensor)


mode = sys.argv.pop(1)
if mode == "HALVES":
    nn.BatchNorm2d = HalfBatchNorm
from animegan_helpers import layers
if mode == "NO_NORM":
    nn.BatchNorm2d = NoNorm
    nn.init.zeros_ = zeros_unless_none
from animegan_helpers.__main__ import main
from animegan_helpers.run_writer import Run

Run.save_due = lambda run, trainer: trainer.steps_done % 16 == 0
sys.exit(main())
"""


@pytest.fixture
def folder(faces):
    return str(faces.folder)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launch(command, world_size):
    """-> `world_size` running processes of one command, with the variables of torchrun."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = []
    for rank in range(world_size):
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        if world_size > 1:
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
            env |= address | ranks
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
    return processes


def start(mode, *arguments, run, folder, world_size=1, recipe="default"):
    """-> the processes of one training, running."""
    command = [sys.executable, "-c", DRIVER, mode, "train", "--data", folder, "--run", str(run)]
    return launch([*command, *SMALL, "--recipe", recipe, *arguments], world_size)


def wait_for(processes, seconds=120):
    """-> for each process its exit code, stdout and stderr."""
    results = []
    try:
        for process in processes:
            stdout, stderr = process.communicate(timeout=seconds)
            results.append((process.returncode, stdout, stderr))
    finally:
        for process in processes:
            process.kill()
    return results


def train(mode, *arguments, **options):
    """Start a training and wait for its end, which must be a good one."""
    for code, _, stderr in wait_for(start(mode, *arguments, **options)):
        assert code == 0, stderr


def wait_for_step(run, step):
    deadline = time.monotonic() + 90
    while not checkpoints.at_step(run, step).exists():
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.05)


def largest_difference(one, other):
    """-> the largest difference between two runs' weights. Batch-norm statistics don't count."""
    worst = 0.0
    for name in ("G.pth", "D.pth"):
        weights = checkpoints.load(one / name)
        others = checkpoints.load(other / name)
        assert weights.keys() == others.keys()
        for key in weights:
            if "running" not in key and "num_batches" not in key:
                difference = (weights[key] - others[key]).abs().max().item()
                worst = max(worst, difference)
    return worst


# ---- two processes end where one does ----


@pytest.mark.parametrize(
    "single, pair, recipe",
    [("NO_NORM", "NO_NORM", "default-gpu"), ("HALVES", "UNCHANGED", "bce")],  # the first one flips
)
def test_two_processes_end_with_the_weights_of_one(single, pair, recipe, folder, tmp_path):
    options = {"folder": folder, "recipe": recipe}
    one = tmp_path / "one"
    two = tmp_path / "two"
    another_seed = tmp_path / "another seed"
    train(single, "--steps", "6", run=one, **options)
    train(pair, "--steps", "6", run=two, world_size=2, **options)
    assert largest_difference(one, two) < 1e-5
    train(single, "--steps", "6", "--seed", "1", run=another_seed, **options)
    assert largest_difference(one, another_seed) > 1e-3, "other runs do differ"


def test_a_run_of_two_processes_that_is_resumed_ends_like_the_uncut_one(folder, tmp_path):
    cut = tmp_path / "cut"
    uncut = tmp_path / "uncut"
    options = {"folder": folder, "world_size": 2}
    train("UNCHANGED", "--steps", "6", run=uncut, **options)
    train("UNCHANGED", "--steps", "3", run=cut, **options)
    train("UNCHANGED", "--steps", "6", "--resume", run=cut, **options)
    assert largest_difference(cut, uncut) == 0
    assert (cut / "history.jsonl").read_bytes() == (uncut / "history.jsonl").read_bytes()


def test_torchrun_starts_it_as_the_page_says(folder, tmp_path):
    command = [sys.executable, *TORCHRUN, "-m", "--", "animegan_helpers", "train", "--data", folder]
    command += [*SMALL, "--steps", "3", "--run", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "2 processes" in result.stdout
    assert result.stdout.count("64 faces are in") == 1, "one process prints"
    assert read_history(tmp_path / "run")["step"].tolist() == [1, 2, 3]


# ---- a process that is stopped, or gone ----


def test_a_stop_signal_to_one_process_ends_both_after_the_same_step(folder, tmp_path):
    run = tmp_path / "run"
    processes = start("UNCHANGED", *ENDLESS, run=run, folder=folder, world_size=2)
    wait_for_step(run, 16)
    processes[1].send_signal(signal.SIGTERM)
    codes = [code for code, _, _ in wait_for(processes)]
    assert codes == [0, -signal.SIGTERM], "saved first, then the signal ends its process"
    assert (run / "G.pth").exists()
    assert checkpoints.newest(run)["steps_done"] == read_history(run)["step"][-1]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_other_with_a_clear_message_and_a_good_checkpoint(
    lost, folder, tmp_path
):
    run = tmp_path / "run"
    processes = start("UNCHANGED", *ENDLESS, run=run, folder=folder, world_size=2)
    wait_for_step(run, 16)
    processes[lost].kill()
    code, _, stderr = wait_for(processes)[1 - lost]
    assert code == 2
    assert "another process of this run is gone" in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    step = checkpoints.newest(run)["steps_done"]
    assert step >= 16
    train("UNCHANGED", "--steps", str(step + 2), "--resume", run=run, folder=folder)
    assert checkpoints.newest(run)["steps_done"] == step + 2


JOIN_AND_LEAVE = """
import os, sys, weakref
import torch
from animegan_helpers.distributed import PeerLost, join

ending = sys.argv[1]
groups = []

def train():
    with join(torch.device("cpu")) as (distributed, _):
        groups.append(weakref.ref(torch.distributed.group.WORLD))
        weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.Adam([weight])
        weight.grad = torch.ones(3)
        distributed.average_gradients(optimizer)
        if distributed.rank == 1 and ending == "lost":
            os.kill(os.getpid(), 9)
        while ending == "lost":
            distributed.any(False)

try:
    train()
except PeerLost as error:
    assert error.__traceback__
    assert groups[0]() is None, "gloo's threads outlive the processes' group"
assert groups[0]() is None, "gloo's threads outlive the processes' group"
print("its threads have ended")
"""


@pytest.mark.parametrize("ending, code", [("lost", -9), ("in order", 0)])
def test_the_threads_of_a_group_end_with_it_even_while_its_error_is_held(ending, code):
    """A gloo thread that outlives Python may abort the process: once in 15 times it did."""
    processes = launch([sys.executable, "-c", JOIN_AND_LEAVE, ending], world_size=2)
    results = wait_for(processes)
    code_of_first, stdout, stderr = results[0]
    assert "its threads have ended" in stdout, stderr
    assert (code_of_first, results[1][0]) == (0, code)


def test_a_batch_that_cannot_be_divided_is_named(folder, tmp_path):
    options = {"run": tmp_path / "run", "folder": folder, "world_size": 2}
    results = wait_for(start("UNCHANGED", "--steps", "2", "--batch", "7", **options))
    message = "7 can't be divided among 2 processes"
    assert any(code == 2 and message in stderr for code, _, stderr in results)
    assert not (tmp_path / "run").exists()


# ---- the object itself ----


def test_shards_are_the_whole_batch_in_order():
    batch = torch.arange(12)
    shards = [Distributed(rank, 3).shard(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shards), batch)
    assert [len(shard) for shard in shards] == [4, 4, 4]


def test_one_process_alone_keeps_the_batch_asks_nobody_and_averages_nothing():
    alone = Distributed()
    assert alone.is_main
    assert alone.shard(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    alone.average_gradients(torch.optim.SGD([weight], 0.1))
    assert weight.grad.tolist() == [3.0, 4.0]
    assert alone.any(True) is True
    assert alone.any(False) is False
    with join(torch.device("cpu")) as (distributed, device):
        assert (distributed.rank, distributed.world_size) == (0, 1)
        assert device == torch.device("cpu")


WITHOUT_DISTRIBUTED = """
import sys
import torch.distributed as dist

dist.is_available = lambda: False
for name in WHAT_IS_MISSING:
    if name in vars(dist):
        delattr(dist, name)
sys.modules["torch.distributed.nn"] = None
import torch
from animegan_helpers import distributed, recipes
from animegan_helpers.trainer import Trainer

trainer = Trainer(recipes.get("bce", width=2, z_dim=4, batch=4, size=16))
print(trainer.step(torch.zeros(4, 16, 16, 3, dtype=torch.uint8)).isfinite().all().item())
with distributed.join(torch.device("cpu")) as (processes, device):
    print(processes.world_size)
"""


@pytest.mark.parametrize(
    "missing", [[], ["all_reduce", "init_process_group"], ["nn", "ReduceOp", "all_reduce"]]
)
def test_one_process_trains_without_torch_distributed(missing):
    """As in builds of torch for Windows and for AMD's GPUs."""
    code = WITHOUT_DISTRIBUTED.replace("WHAT_IS_MISSING", repr(missing))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "1"], result.stderr


def test_several_processes_without_torch_distributed_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed.dist, "is_available", lambda: False)
    with pytest.raises(ValueError, match="this build of torch has no torch.distributed"):
        with distributed.join(torch.device("cpu")):
            pass
