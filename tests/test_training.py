"""training: the loop. How long, how it stops, what it survives, and that resuming is exact."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from common import files_in, flat
from small_runs import (
    BCE,
    DEFAULT,
    HINGE,
    NOISY,
    SMALL,
    UncutRuns,
    file_bytes,
    recipe_id,
    state_bits,
)

from animegan_helpers import checkpoints, plotting, step_rate, training
from animegan_helpers.checkpoints import CheckpointError
from animegan_helpers.history import read_history
from animegan_helpers.run_writer import Run
from animegan_helpers.speed import Speed
from animegan_helpers.stop_signals import stop_requested
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import Length, train, training_length

posix = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to processes")


@pytest.fixture(scope="module")
def uncut(faces, tmp_path_factory):
    """Uncut runs of ten steps, trained once: recipe -> its trainer and folder. To be read only."""
    return UncutRuns(faces, tmp_path_factory)


def same_networks(run, other):
    """Whether both runs have the same G.pth and D.pth, bit for bit."""
    for name in ("G.pth", "D.pth"):
        if flat(checkpoints.load(run / name)) != flat(checkpoints.load(other / name)):
            return False
    return True


# ---- resuming ----


@pytest.mark.parametrize("cut", [1, 4, 7])
@pytest.mark.parametrize("recipe", [DEFAULT, NOISY, BCE, HINGE], ids=recipe_id)
def test_a_run_cut_anywhere_and_resumed_ends_bit_for_bit_like_the_uncut_one(
    recipe, cut, uncut, faces, tmp_path
):
    whole, run = uncut(recipe)
    train(recipe, faces, tmp_path, steps=cut, seed=3)
    resumed = train(recipe, faces, tmp_path, steps=10, seed=3, resume=True)
    assert state_bits(resumed) == state_bits(whole)
    for name in ("history.jsonl", "grids/step_00000010.png"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    assert same_networks(tmp_path, run)


KILLED_RUN = """
import os, signal, sys
from animegan_helpers import recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.run_writer import Run
from animegan_helpers.training import train

def kill_at_step_6(trainer, log):
    if trainer.steps_done == 6:
        os.kill(os.getpid(), signal.SIGKILL)

Run.save_due = lambda run, trainer: trainer.steps_done % 4 == 0
recipe = recipes.get("default", **{small}, r1_every=3)
train(recipe, Faces({faces!r}), {run!r}, steps=10, seed=3, callback=kill_at_step_6)
"""


@posix
def test_a_killed_run_goes_on_and_ends_like_the_uncut_one(uncut, faces, tmp_path):
    code = KILLED_RUN.format(small=SMALL, faces=str(faces.folder), run=str(tmp_path))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints.newest(tmp_path)["steps_done"] == 4
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"step": 5, "loss_d": 99}\n{"step": 6, "lo')  # cut while it was written
    resumed = train(DEFAULT, faces, tmp_path, steps=10, seed=3, resume=True)
    whole, run = uncut(DEFAULT)
    assert state_bits(resumed) == state_bits(whole)
    assert (tmp_path / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_changes_nothing(uncut, faces, tmp_path):
    train(BCE, faces, tmp_path, steps=8, seed=3)
    checkpoints.at_step(tmp_path, 8).write_bytes(b"cut")
    with pytest.warns(UserWarning, match="step_00000008"):
        resumed = train(BCE, faces, tmp_path, steps=10, seed=3, resume=True)
    whole, run = uncut(BCE)
    assert state_bits(resumed) == state_bits(whole)
    assert (tmp_path / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()


def test_a_damaged_last_checkpoint_is_replaced_by_resuming_and_no_row_is_lost(faces, tmp_path):
    train(DEFAULT, faces, tmp_path, steps=7, seed=3)
    last = checkpoints.at_step(tmp_path, 7)
    last.write_bytes(last.read_bytes()[:-500])
    with pytest.warns(UserWarning, match="step_00000007"):
        train(DEFAULT, faces, tmp_path, steps=7, seed=3, resume=True)
    assert checkpoints.load(last)["steps_done"] == 7
    assert read_history(tmp_path)["step"].tolist() == list(range(1, 8))


def test_damaged_checkpoints_of_later_steps_do_not_outlive_a_resumed_run(faces, tmp_path):
    train(DEFAULT, faces, tmp_path, steps=3, seed=3)
    for step in (6, 7, 8):
        checkpoints.at_step(tmp_path, step).write_bytes(b"cut")
    with pytest.warns(UserWarning, match="step_00000006"):
        train(DEFAULT, faces, tmp_path, steps=5, seed=3, resume=True)
    assert [path.name for path in checkpoints.saved(tmp_path)][-1] == "step_00000005.pt"
    assert checkpoints.newest(tmp_path)["steps_done"] == 5


def test_a_history_torn_by_a_power_cut_does_not_stop_a_resumed_run(faces, tmp_path):
    train(DEFAULT, faces, tmp_path, steps=4, seed=3)
    file = tmp_path / "history.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    train(DEFAULT, faces, tmp_path, steps=6, seed=3, resume=True)
    assert read_history(tmp_path)["step"].tolist() == [1, 2, 3, 5, 6]


def test_a_finished_run_that_is_resumed_does_nothing(faces, tmp_path):
    first = train(BCE, faces, tmp_path, steps=4)
    before = file_bytes(tmp_path)
    saved_at = checkpoints.at_step(tmp_path, 4).stat().st_mtime_ns
    again = train(BCE, faces, tmp_path, steps=4, resume=True)
    assert state_bits(again) == state_bits(first)
    assert checkpoints.at_step(tmp_path, 4).stat().st_mtime_ns == saved_at
    after = file_bytes(tmp_path)
    assert list(after) == list(before)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"G.pth", "D.pth"}


@pytest.mark.parametrize(
    "recipe, seed", [(replace(BCE, lr_g=1e-3), 3), (DEFAULT, 3), (BCE, 4)], ids=str
)
def test_a_run_is_not_resumed_with_another_recipe_or_seed(recipe, seed, faces, tmp_path):
    train(BCE, faces, tmp_path, steps=1, seed=3)
    before = file_bytes(tmp_path)
    with pytest.raises(CheckpointError, match="another recipe or seed"):
        train(recipe, faces, tmp_path, steps=2, seed=seed, resume=True)
    assert file_bytes(tmp_path) == before


# ---- how long ----


def test_the_length_comes_from_minutes_steps_epochs_or_the_recipe_in_this_order():
    recipe = replace(BCE, steps=300, epochs=40)
    lengths = [
        training_length(recipe, 7, 2, 0.5, steps_per_epoch=10),
        training_length(recipe, 7, 2, None, steps_per_epoch=10),
        training_length(recipe, None, 2, None, steps_per_epoch=10),
        training_length(recipe, None, None, None, steps_per_epoch=10),
        training_length(replace(recipe, steps=0), None, None, None, steps_per_epoch=10),
    ]
    assert lengths == [
        Length(30, "s"),
        Length(7, "step"),
        Length(20, "step"),
        Length(300, "step"),
        Length(400, "step"),
    ]


def test_a_recipe_that_does_not_say_how_long_needs_a_length():
    endless = replace(BCE, steps=0, epochs=0)
    with pytest.raises(ValueError, match="recipe bce .*how long.*steps, epochs or minutes"):
        training_length(endless, None, None, None, steps_per_epoch=10)
    assert training_length(endless, 5, None, None, 10) == Length(5, "step")
    assert training_length(endless, None, 5, None, 10) == Length(50, "step")
    assert training_length(endless, None, None, 5, 10) == Length(300, "s")


@pytest.mark.parametrize("name", ["steps", "epochs", "minutes"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_length_must_be_above_0(name, value):
    others = {"steps": 7} if name == "minutes" else {"minutes": 1}
    for lengths in ({name: value}, {name: value, **others}):
        lengths = {"steps": None, "epochs": None, "minutes": None} | lengths
        with pytest.raises(ValueError, match=f"{name} is {value}: it must be above 0"):
            training_length(BCE, **lengths, steps_per_epoch=10)


def test_a_length_is_counted_in_steps_or_in_seconds_of_training():
    trainer = Trainer(BCE)
    trainer.steps_done = 3
    trainer.seconds = 1.5
    assert Length(10, "step").done(trainer) == 3
    assert Length(10, "s").done(trainer) == 1.5


def test_a_run_is_as_long_as_its_epochs_its_steps_or_its_recipe_says(faces, tmp_path):
    def steps_done(recipe, name, **length):
        return train(recipe, faces, tmp_path / name, **length).steps_done

    assert steps_done(BCE, "epochs", epochs=2) == 8
    assert steps_done(replace(BCE, steps=3), "steps of the recipe") == 3
    assert steps_done(replace(BCE, steps=0, epochs=1), "epochs of the recipe") == 4
    assert steps_done(replace(BCE, steps=3, epochs=9), "steps before epochs") == 3
    assert steps_done(BCE, "steps", steps=2) == 2


@pytest.mark.parametrize(
    "recipe, minutes, message",
    [(BCE, 0, "minutes"), (replace(BCE, steps=0, epochs=0), None, "how long")],
    ids=["0 minutes", "no length"],
)
def test_a_run_without_a_length_is_refused_and_leaves_no_folder(
    recipe, minutes, message, faces, tmp_path
):
    with pytest.raises(ValueError, match=message):
        train(recipe, faces, tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_minutes_are_the_total_time(faces, tmp_path):
    first = train(BCE, faces, tmp_path, minutes=0.005)
    assert first.steps_done > 0
    assert 0.3 <= first.seconds < 10
    again = train(BCE, faces, tmp_path, minutes=0.005, resume=True)
    assert (again.steps_done, again.seconds) == (first.steps_done, first.seconds)
    minutes = (first.seconds + 0.2) / 60
    longer = train(BCE, faces, tmp_path, minutes=minutes, resume=True)
    assert longer.steps_done > first.steps_done
    assert longer.seconds >= first.seconds + 0.2


def test_fewer_images_than_a_batch_are_refused_by_number(faces, tmp_path):
    with pytest.raises(ValueError, match="16 images are fewer than one batch of 32"):
        train(replace(BCE, batch=32), faces, tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists(), "a run that can't begin leaves no folder"


@pytest.mark.parametrize("recipe", [DEFAULT, BCE, HINGE], ids=recipe_id)
@pytest.mark.parametrize("size", [32, 64])
def test_images_of_another_size_are_refused_before_anything_is_written(
    size, recipe, faces, tmp_path
):
    message = f"16x16 pixels, and recipe {recipe.name} is for {size}x{size}: prepare"
    with pytest.raises(ValueError, match=message):
        train(recipe.changed(size=size), faces, tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists()
    train(recipe, faces, tmp_path / "run", steps=1)


def test_a_set_without_images_is_named_as_such(faces, tmp_path):
    with pytest.raises(ValueError, match="0 images are fewer than one batch"):
        train(BCE, torch.utils.data.Subset(faces, []), tmp_path / "run", steps=1)


def test_a_part_of_a_set_of_another_size_is_refused_too(faces, tmp_path):
    recipe = BCE.changed(size=32, held_out=0.25)
    for workers in (0, 1):
        with pytest.raises(ValueError, match="16x16 pixels"):
            train(recipe, faces, tmp_path / "run", steps=1, workers=workers)


# ---- stopping ----


ENDING = [signal.SIGTERM]  # they end a process; SIGINT ends only the training
if hasattr(signal, "SIGHUP"):  # Windows has none
    ENDING.append(signal.SIGHUP)
SIGNALS = (signal.SIGINT, *ENDING)


def wait_until(condition):
    """Give Python's signal handlers the time to run."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the signal was not handled in time"
        time.sleep(0.001)


@pytest.fixture
def delivered():
    """A list of the signals that reach this process in the end; they do not end it."""
    numbers = []
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_after_the_current_step_and_saves(
    number, uncut, faces, tmp_path, delivered
):
    before = [signal.getsignal(each) for each in SIGNALS]

    def stop_at_step_3(trainer, log):
        if trainer.steps_done == 3 and not log.finished:
            signal.raise_signal(number)

    trainer = train(DEFAULT, faces, tmp_path, steps=10, seed=3, callback=stop_at_step_3)
    assert trainer.steps_done == 3
    state = trainer.state() | {"images": len(faces)}
    assert flat(checkpoints.newest(tmp_path)) == flat(state)
    assert (tmp_path / "G.pth").exists()
    assert read_history(tmp_path)["step"].tolist() == [1, 2, 3]
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert delivered == ([number] if number in ENDING else []), "only SIGINT ends there"
    resumed = train(DEFAULT, faces, tmp_path, steps=10, seed=3, resume=True)
    whole, _ = uncut(DEFAULT)
    assert state_bits(resumed) == state_bits(whole)


THREE_TRAININGS = """
import sys
from animegan_helpers import recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.training import train

recipe = recipes.get("bce", width=4, z_dim=8, batch=4, size=16)
for name in ("first", "second", "third"):
    tell = lambda trainer, log: print(trainer.steps_done, flush=True)
    train(recipe, Faces(sys.argv[1]), name, minutes=5, callback=tell)
"""


@posix
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_ends_processes_ends_a_program_of_three_trainings(number, faces, tmp_path):
    command = [sys.executable, "-c", THREE_TRAININGS, faces.folder]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while process.stdout.readline() != "5\n":
        assert process.poll() is None
    process.send_signal(number)
    *_, last_step = process.communicate(timeout=60)[0].split()
    assert process.returncode == -number
    state = checkpoints.newest(tmp_path / "first")
    assert state["steps_done"] == int(last_step) >= 5
    assert (tmp_path / "first" / "G.pth").exists()
    assert not (tmp_path / "second").exists()


@posix
def test_a_signal_that_the_process_ignores_stays_ignored(faces, tmp_path):
    """As under nohup, which starts a program that outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        tell = partial(signal.raise_signal, signal.SIGHUP)
        trainer = train(BCE, faces, tmp_path, steps=3, callback=lambda *arguments: tell())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert trainer.steps_done == 3


def test_a_signal_during_the_first_save_ends_the_run_and_saves(faces, tmp_path, monkeypatch):
    grid = plotting.grid

    def interrupted_grid(*arguments):
        monkeypatch.setattr(plotting, "grid", grid)  # a second signal would not wait
        signal.raise_signal(signal.SIGINT)
        return grid(*arguments)

    monkeypatch.setattr(plotting, "grid", interrupted_grid)
    trainer = train(BCE, faces, tmp_path, steps=10)
    assert trainer.steps_done == 0
    assert (tmp_path / "G.pth").exists()


def test_a_second_signal_does_not_wait(faces, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def interrupt_twice(trainer, log):
        steps.append(trainer.steps_done)
        signal.raise_signal(signal.SIGINT)
        # Two signals at once may arrive as one: wait until the first has been handled.
        wait_until(lambda: signal.getsignal(signal.SIGINT) == before)
        signal.raise_signal(signal.SIGINT)
        wait_until(lambda: False)  # KeyboardInterrupt ends this

    with pytest.raises(KeyboardInterrupt):
        train(BCE, faces, tmp_path, steps=10, callback=interrupt_twice)
    assert signal.getsignal(signal.SIGINT) == before
    assert steps == [1]


def test_a_stop_request_sets_an_event_and_leaves_no_handler_behind(delivered):
    before = [signal.getsignal(each) for each in SIGNALS]
    with stop_requested() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        wait_until(stop.is_set)
        assert delivered == []
    assert delivered == [signal.SIGTERM]
    assert [signal.getsignal(each) for each in SIGNALS] == before


# ---- callbacks ----


def test_a_callback_is_called_after_each_step_and_once_at_the_end(faces, tmp_path):
    calls = []

    def remember(trainer, log):
        calls.append((trainer.steps_done, len(log.rows), log.finished))

    train(BCE, faces, tmp_path, steps=3, callback=remember)
    assert calls == [(1, 1, False), (2, 2, False), (3, 3, False), (3, 3, True)]


@pytest.mark.parametrize("length", [{"steps": 9}, {"epochs": 3}, {"minutes": 0.02}])
def test_the_progress_bar_shows_steps_per_second(length, faces, tmp_path, monkeypatch):
    shown = []

    class Bar(training.tqdm):
        def set_postfix(self, **numbers):
            shown.append(numbers)
            super().set_postfix(**numbers)

    monkeypatch.setattr(training, "tqdm", Bar)
    train(BCE, faces, tmp_path, **length)
    assert shown[-1]["step"] == len(shown)
    assert float(shown[-1]["steps/s"]) > 0


def test_a_slow_training_says_so_once_on_stderr(faces, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step_rate, "WINDOW", 0.02)

    def slow_down(trainer, log):
        time.sleep(0.2 if trainer.steps_done > 40 else 0)

    train(BCE, faces, tmp_path, steps=50, callback=slow_down)
    assert capsys.readouterr().err.count("less than half of its best rate") == 1


@pytest.fixture
def saves_every_four_steps(monkeypatch):
    """A run saves after every fourth step, however fast the machine is; and so do its grids."""
    monkeypatch.setattr(Run, "save_due", lambda run, trainer: trainer.steps_done % 4 == 0)
    monkeypatch.setattr(Run, "grid_due", lambda run, trainer: trainer.steps_done % 4 == 0)


@pytest.mark.usefixtures("saves_every_four_steps")
def test_a_callback_finds_what_was_saved_in_its_step(faces, tmp_path):
    saved = {}

    def remember(trainer, log):
        if log.finished:
            saved["the end"] = files_in(tmp_path)
        else:
            saved[trainer.steps_done] = files_in(tmp_path)

    train(BCE, faces, tmp_path, steps=5, callback=remember)
    assert "checkpoints/step_00000004.pt" in saved[4]
    assert "grids/step_00000004.png" in saved[4]
    assert "checkpoints/step_00000005.pt" not in saved[5]
    assert "checkpoints/step_00000005.pt" in saved["the end"]
    assert {"G.pth", "D.pth"} <= set(saved["the end"])


@pytest.mark.parametrize("recipe", [DEFAULT, BCE, NOISY, HINGE], ids=recipe_id)
def test_a_run_with_a_callback_that_asks_for_faces_ends_like_one_without(
    recipe, uncut, faces, tmp_path
):
    def ask(trainer, log):
        trainer.fixed_faces(4)
        trainer.ema_generator()

    asked = train(recipe, faces, tmp_path, steps=10, seed=3, callback=ask)
    silent, run = uncut(recipe)
    assert state_bits(asked) == state_bits(silent)
    assert (tmp_path / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()
    assert same_networks(tmp_path, run)


def test_a_run_that_fails_keeps_the_history_that_led_to_it(faces, tmp_path):
    def fail_at_step_3(trainer, log):
        if trainer.steps_done == 3:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        train(BCE, faces, tmp_path, steps=9, callback=fail_at_step_3)
    assert read_history(tmp_path)["step"].tolist() == [1, 2, 3]


@pytest.mark.usefixtures("saves_every_four_steps")
def test_a_history_fetched_every_few_steps_is_the_same_and_complete(faces, tmp_path):
    lengths = []

    def remember(trainer, log):
        lengths.append(len(log.rows))

    often = Speed(fetch_every=1)
    seldom = Speed(fetch_every=5)
    train(DEFAULT, faces, tmp_path / "often", steps=13, speed=often)
    train(DEFAULT, faces, tmp_path / "seldom", steps=13, speed=seldom, callback=remember)
    # Rows are fetched before each save, and at the end.
    assert lengths == [4, 8, 12, 13]
    text = (tmp_path / "seldom" / "history.jsonl").read_text()
    assert text == (tmp_path / "often" / "history.jsonl").read_text()
    assert text.count("\n") == 13


# ---- numbers that are not finite ----


class Poisoned(torch.utils.data.Dataset):
    """Faces whose sixth batch has a pixel that is not a number."""

    def __init__(self, faces):
        self.faces = faces
        self.count = 0

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, rows):
        self.count += len(rows) > 1
        batch = self.faces[rows].float()
        batch[0, 0, 0, 0] = math.nan if self.count == 6 else 0
        return batch


@pytest.mark.usefixtures("saves_every_four_steps")
@pytest.mark.parametrize("recipe", [DEFAULT, BCE], ids=recipe_id)
def test_a_pixel_that_is_not_a_number_stops_the_run_and_earlier_checkpoints_stay(
    recipe, faces, tmp_path
):
    with pytest.raises(FloatingPointError, match="loss_d is nan at step 6"):
        train(recipe, Poisoned(faces), tmp_path, steps=20)
    names = [path.name for path in checkpoints.saved(tmp_path)]
    assert names == ["step_00000000.pt", "step_00000004.pt"]
    assert len(os.listdir(tmp_path / "checkpoints")) == 2
    state = checkpoints.newest(tmp_path)
    assert state["steps_done"] == 4
    assert all(part.isfinite().all() for part in state["G"].values())
    assert not (tmp_path / "G.pth").exists()


@pytest.mark.parametrize("name", ["opt_d", "opt_g"])
def test_a_learning_rate_far_too_high_stops_the_run_and_the_message_says_where(
    name, faces, tmp_path
):
    def raise_the_rate(optimizer, *_):
        optimizer.param_groups[0]["lr"] = 1e39

    def spoil_step_8(trainer, log):
        if trainer.steps_done == 7:
            getattr(trainer, name).register_step_pre_hook(raise_the_rate)

    message = r"(loss_[dg] is \S+|not finite) at step [89]: .*lower learning rate"
    with pytest.raises(FloatingPointError, match=message):
        train(DEFAULT, faces, tmp_path, steps=20, callback=spoil_step_8)
    state = checkpoints.newest(tmp_path)
    for network in ("G", "D"):
        for part in state[network].values():
            assert part.isfinite().all(), "a bad state was saved"


def test_nothing_is_saved_if_a_loss_fetched_before_the_save_is_not_finite(
    faces, tmp_path, monkeypatch
):
    def spoiled(*inputs, **options):
        return (torch.tensor(math.nan),) * 4

    spoiled_trainer = partial(Trainer, train_step=spoiled)
    monkeypatch.setattr("animegan_helpers.training.Trainer", spoiled_trainer)
    with pytest.raises(FloatingPointError, match="step 1:"):
        train(DEFAULT, faces, tmp_path, steps=8, speed=Speed(fetch_every=50))
    assert os.listdir(tmp_path / "checkpoints") == ["step_00000000.pt"]
