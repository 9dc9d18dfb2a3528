"""parallel: two processes, with gloo, end where one does; stops, losses and resuming of such runs."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from animegan_helpers import checkpoints, parallel, plotting

# What a process of the tests runs. Batch norm sees its own share of a batch only; so one process is to do the same
# (HALVES), or there is to be none (NONE), for both ways to end alike.
DRIVER = """
import sys
from torch import nn

class Halves(nn.BatchNorm2d):
    def forward(self, x):
        import torch
        return torch.cat([super(Halves, self).forward(half) for half in x.chunk(2)]) if self.training else x

class NoNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(nn.init.ones_(__import__("torch").empty(channels))), None

    def forward(self, x):
        return x

kind = sys.argv.pop(1)
if kind == "HALVES":
    nn.BatchNorm2d = Halves
from animegan_helpers import layers
if kind == "NONE":
    nn.BatchNorm2d = NoNorm
    nn.init.zeros_, zeros = lambda tensor: tensor if tensor is None else zeros(tensor), nn.init.zeros_
from animegan_helpers.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def folder(faces):
    return str(faces.folder)


def start(kind, *arguments, run, folder, processes=1, recipe="default", threads="1"):
    """-> the processes of one training, not yet ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    small = ["--data", folder, "--size", "16", "--width", "4", "--z-dim", "8", "--batch", "8", "--recipe", recipe]
    command = [sys.executable, "-c", DRIVER, kind, "train", *small, "--run", str(run), *arguments]
    started = []
    for rank in range(processes):
        env = os.environ | {"OMP_NUM_THREADS": threads}
        if processes > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=env, **pipes))
    return started


def ended(processes, seconds=120):
    """-> for each its exit code and what it said on stderr."""
    try:
        return [(process.communicate(timeout=seconds)[1], process.returncode)[::-1] for process in processes]
    finally:
        for process in processes:
            process.kill()


def done(*arguments, **how):
    for code, said in ended(start(*arguments, **how)):
        assert code == 0, said


def wait_for_step(run, step):
    late = time.monotonic() + 90
    while not checkpoints.at_step(run, step).exists():
        assert time.monotonic() < late, "no checkpoint in time"
        time.sleep(0.05)


def gap(one, other, names=("G.pth", "D.pth")):
    """The largest difference of two runs' weights; batch norm's statistics are not weights."""
    worst = 0.0
    for name in names:
        mine, theirs = (checkpoints.load(run / name) for run in (one, other))
        assert mine.keys() == theirs.keys()
        for key in mine:
            if "running" not in key and "num_batches" not in key:
                worst = max(worst, (mine[key] - theirs[key]).abs().max().item())
    return worst


# ---- two end where one does ----


@pytest.mark.parametrize("kind", ["NONE", "HALVES"])
@pytest.mark.parametrize("recipe", ["default-gpu", "bce"])  # the first mirrors faces
def test_two_processes_end_with_the_weights_of_one(kind, recipe, folder, tmp_path):
    one, two, apart = tmp_path / "one", tmp_path / "two", tmp_path / "apart"
    done(kind, "--steps", "6", run=one, folder=folder, recipe=recipe)
    done("NONE" if kind == "NONE" else "AS IT IS", "--steps", "6", run=two, folder=folder, recipe=recipe, processes=2)
    assert gap(one, two) < 1e-5
    done(kind, "--steps", "6", "--seed", "1", run=apart, folder=folder, recipe=recipe)
    assert gap(one, apart) > 1e-3, "other runs do differ"


def test_a_run_of_two_that_is_resumed_ends_like_the_uncut_one(folder, tmp_path):
    cut, uncut = tmp_path / "cut", tmp_path / "uncut"
    done("", "--steps", "6", run=uncut, folder=folder, processes=2)
    done("", "--steps", "3", run=cut, folder=folder, processes=2)
    done("", "--steps", "6", "--resume", run=cut, folder=folder, processes=2)
    assert gap(cut, uncut) == 0
    assert (cut / "history.jsonl").read_bytes() == (uncut / "history.jsonl").read_bytes()


def test_torchrun_starts_it_as_the_page_says(folder, tmp_path):
    line = "-m torch.distributed.run --standalone --nproc_per_node=2 -m -- animegan_helpers train".split()
    small = ["--size", "16", "--width", "4", "--z-dim", "8", "--batch", "8", "--steps", "3"]
    command = [sys.executable, *line, "--data", folder, *small, "--run", str(tmp_path / "run")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert "2 processes" in said.stdout and said.stdout.count("64 faces are in") == 1, "one process tells"
    assert plotting.history(tmp_path / "run")["step"].tolist() == [1, 2, 3]


# ---- a process that is stopped, or gone ----


def test_a_stop_that_one_process_gets_ends_both_after_the_same_step(folder, tmp_path):
    run = tmp_path / "run"
    team = start("", "--steps", "1000000", run=run, folder=folder, processes=2)
    wait_for_step(run, 16)
    team[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(team)] == [0, 0]
    assert (run / "G.pth").exists() and checkpoints.newest(run)["step"] == plotting.history(run)["step"][-1]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_other_with_a_clear_message_and_a_good_checkpoint(lost, folder, tmp_path):
    run = tmp_path / "run"
    team = start("", "--steps", "1000000", run=run, folder=folder, processes=2)
    wait_for_step(run, 16)
    team[lost].kill()
    code, said = ended(team)[1 - lost]
    assert code == 2 and "another process of this run is gone" in said and "--resume" in said
    assert "Traceback" not in said
    step = checkpoints.newest(run)["step"]
    assert step >= 16
    done("", "--steps", str(step + 2), "--resume", run=run, folder=folder)
    assert checkpoints.newest(run)["step"] == step + 2


LAST_WORDS = """
import os, sys, weakref
import torch
from animegan_helpers import parallel

groups = []

def play():
    with parallel.join(torch.device("cpu")) as (team, _):
        groups.append(weakref.ref(torch.distributed.group.WORLD))
        weight = torch.nn.Parameter(torch.zeros(3))
        opt = torch.optim.Adam([weight])
        weight.grad = torch.ones(3)
        team.average(opt)
        if team.rank == 1 and sys.argv[1] == "lost":
            os.kill(os.getpid(), 9)
        while sys.argv[1] == "lost":
            team.any(False)

try:
    play()
except parallel.PeerLost as error:
    assert error.__traceback__ and groups[0]() is None, "gloo's threads outlive the team"
assert groups[0]() is None, "gloo's threads outlive the team"
print("its threads are ended")
"""


@pytest.mark.parametrize("ending", ["lost", "in order"])
def test_the_threads_of_a_team_end_with_it_even_while_its_error_is_held(ending):
    """A thread of gloo that outlives Python may abort the process: that was one ending of a lost process in fifteen."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    command, pipe, team = [sys.executable, "-c", LAST_WORDS, ending], subprocess.PIPE, []
    for rank in "01":
        env = os.environ | address | {"RANK": rank, "LOCAL_RANK": rank}
        team.append(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True))
    try:
        said = [process.communicate(timeout=60) for process in team]
    finally:
        for process in team:
            process.kill()
    assert "its threads are ended" in said[0][0], said[0][1]
    assert [process.returncode for process in team] == [0, -signal.SIGKILL if ending == "lost" else 0]


def test_a_batch_that_cannot_be_divided_is_named(folder, tmp_path):
    team = start("", "--steps", "2", "--batch", "7", run=tmp_path / "run", folder=folder, processes=2)
    assert any(code == 2 and "7 can't be divided among 2 processes" in said for code, said in ended(team))


# ---- a team, by itself ----


def test_shares_are_the_whole_batch_in_order():
    batch = torch.arange(12)
    shares = [parallel.Team(rank, 3).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch) and {len(share) for share in shares} == {4}


def test_a_team_of_one_shares_all_asks_nobody_and_averages_nothing():
    alone, weight = parallel.Team(), torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    alone.average(torch.optim.SGD([weight], 0.1))
    assert weight.grad.tolist() == [3.0, 4.0]
    assert alone.any(True) is True and alone.any(False) is False
    with parallel.join(torch.device("cpu")) as (team, place):
        assert (team.rank, team.size, place) == (0, 1, torch.device("cpu"))
