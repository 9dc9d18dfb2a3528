"""checkpoints: the state of a run becomes a file that survives a crash."""

import errno
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from animegan_helpers import checkpoints


def make_state(value=1.0):
    return {
        "step": 3,
        "name": "x",
        "betas": (0.5, 0.999),
        "weights": {"a": torch.full((40, 10), value), "b": torch.arange(5)},
    }


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return one == other


def file_names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ---- saving ----


def test_a_saved_state_comes_back(tmp_path):
    path = checkpoints.save(make_state(), tmp_path / "new" / "a.pt")
    assert is_same(checkpoints.load(path), make_state())
    assert file_names(tmp_path) == ["a.pt"]


def test_a_save_that_fails_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    path = checkpoints.save(make_state(1.0), tmp_path / "a.pt")

    def fail(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(checkpoints.CheckpointError, match="a.pt can't be written .No space"):
        checkpoints.save(make_state(2.0), path)
    assert file_names(tmp_path) == ["a.pt"]
    assert is_same(checkpoints.load(path), make_state(1.0))


def test_a_full_disk_leaves_the_earlier_file_and_no_other(tmp_path):
    path = checkpoints.save(make_state(1.0), tmp_path / "a.pt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(checkpoints.CheckpointError, match="a.pt can't be written"):
            checkpoints.save({"large": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file_names(tmp_path) == ["a.pt"]
    assert is_same(checkpoints.load(path), make_state(1.0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_kill_while_saving_leaves_a_whole_file(tmp_path):
    path = checkpoints.save(make_state(0.0), tmp_path / "a.pt")
    for seconds in (0.05, 0.08, 0.13):
        child = os.fork()
        if not child:
            try:
                for value in range(1, 100_000):
                    checkpoints.save(make_state(float(value)), path)
            finally:
                os._exit(1)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = checkpoints.load(path)
        value = loaded["weights"]["a"][0, 0].item()
        assert is_same(loaded, make_state(value))


# ---- loading ----


def test_a_flipped_bit_is_never_loaded_as_another_state(tmp_path):
    path = checkpoints.save(make_state(), tmp_path / "a.pt")
    raw = path.read_bytes()
    refused = 0
    for position in random.Random(0).sample(range(len(raw)), 60):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = checkpoints.load(path)
        except checkpoints.CheckpointError as error:
            assert "a.pt" in str(error)
            refused += 1
        else:
            assert is_same(loaded, make_state()), f"bit flipped at byte {position}"
    assert refused > 20


@pytest.mark.parametrize("content", [b"", b"I am a text\n" * 50, b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match="a.pt .*use an earlier one"):
        checkpoints.load(tmp_path / "a.pt")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, fraction):
    path = checkpoints.save(make_state(), tmp_path / "a.pt")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(fraction * len(raw))])
    with pytest.raises(checkpoints.CheckpointError, match="a.pt"):
        checkpoints.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="a.pt does not exist"):
        checkpoints.load(tmp_path / "a.pt")


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    marker = str(tmp_path / "marker")
    torch.save({"weights": Attack(marker)}, tmp_path / "a.pt")
    with pytest.raises(checkpoints.CheckpointError, match="a.pt"):
        checkpoints.load(tmp_path / "a.pt")
    assert not os.path.exists(marker)
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert os.path.exists(marker), "the attack itself works"


# ---- the checkpoints of a run ----


def test_the_newest_is_loaded_and_a_damaged_one_falls_back_with_a_warning(tmp_path):
    for step in (8, 1000, 99):
        checkpoints.save({"step": step}, checkpoints.at_step(tmp_path, step))
    assert checkpoints.newest(tmp_path) == {"step": 1000}
    checkpoints.at_step(tmp_path, 1000).write_bytes(b"cut")
    with pytest.warns(UserWarning, match="step_00001000.pt"):
        assert checkpoints.newest(tmp_path) == {"step": 99}


@pytest.mark.parametrize(
    "error",
    [
        OSError(107, "not connected"),
        PermissionError(),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_cannot_be_read_now_is_not_called_damaged_and_nothing_older_is_loaded(
    error, monkeypatch, tmp_path
):
    for step in (1, 2):
        checkpoints.save({"step": step}, checkpoints.at_step(tmp_path, step))
    read = Path.read_bytes

    def fail(path):
        if path.name == "step_00000002.pt":
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(checkpoints.UnreadableError, match="step_00000002.*keep it") as refused:
        checkpoints.newest(tmp_path)
    assert "damaged" not in str(refused.value) and "delete" not in str(refused.value)


def test_a_folder_without_a_good_checkpoint_is_named(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match=tmp_path.name):
        checkpoints.newest(tmp_path)


def test_the_last_three_are_kept(tmp_path):
    for step in (1, 2, 30, 4, 500):
        checkpoints.save({}, checkpoints.at_step(tmp_path, step))
    checkpoints.prune(tmp_path)
    assert file_names(tmp_path) == ["step_00000004.pt", "step_00000030.pt", "step_00000500.pt"]


def test_the_first_of_each_doubling_is_kept_and_what_a_killed_save_left_is_deleted(tmp_path):
    for step in (512, 1000, 1030, 1536, 2047, 2500, 4000, 8200, 9000, 9001, 9002):
        checkpoints.save({}, checkpoints.at_step(tmp_path, step))
    (tmp_path / "checkpoints" / ".step_00009003.pt.part").write_bytes(b"PK")
    checkpoints.prune(tmp_path)
    kept = [f"step_{step:08d}.pt" for step in (1030, 2500, 8200, 9000, 9001, 9002)]
    assert file_names(tmp_path) == kept
    assert [path.name for path in checkpoints.saved(tmp_path)] == kept


def test_copies_that_a_user_has_made_are_neither_counted_nor_deleted(tmp_path):
    for step in range(1, 6):
        checkpoints.save({"step": step}, checkpoints.at_step(tmp_path, step))
    copies = ["step_00000001 (1).pt", "step_00000002 copy.pt", "step_best.pt"]
    for name in copies:
        (tmp_path / "checkpoints" / name).write_bytes(b"")
    assert checkpoints.newest(tmp_path) == {"step": 5}
    checkpoints.prune(tmp_path)
    checkpoints.delete_after(tmp_path, 4)
    kept = [f"step_{step:08d}.pt" for step in (3, 4)]
    assert [path.name for path in checkpoints.saved(tmp_path)] == kept
    assert file_names(tmp_path) == sorted(kept + copies)


@pytest.mark.parametrize("call", ["replace", "truncate", "unlink"])
def test_a_checkpoint_that_can_not_be_deleted_now_waits(call, monkeypatch, tmp_path):
    """As on Windows while another process reads it, or on a network disk for a moment."""
    for step in range(1, 6):
        checkpoints.save({"step": step}, checkpoints.at_step(tmp_path, step))

    def refuse(*arguments, **options):
        raise PermissionError(13, "Access is denied")

    with monkeypatch.context() as patch:
        patch.setattr(*{"unlink": (Path, "unlink")}.get(call, (os, call)), refuse)
        checkpoints.prune(tmp_path)
    kept = [checkpoints.load(path)["step"] for path in checkpoints.saved(tmp_path)]
    assert kept[-3:] == [3, 4, 5], "none is damaged"
    checkpoints.prune(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


@pytest.mark.parametrize("call", ["truncate", "unlink"])
def test_a_prune_that_is_killed_leaves_no_damaged_checkpoint(call, monkeypatch, tmp_path):
    for step in range(1, 6):
        checkpoints.save({"step": step}, checkpoints.at_step(tmp_path, step))

    def die(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*{"truncate": (os, "truncate"), "unlink": (Path, "unlink")}[call], die)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.prune(tmp_path)
    assert [checkpoints.load(path)["step"] for path in checkpoints.saved(tmp_path)] == [2, 3, 4, 5]
    checkpoints.prune(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
