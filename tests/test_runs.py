"""runs: what a run leaves in its folder, what is read from there, and fine-tuning."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from common import files_in, flat
from PIL import Image
from small_runs import (
    BCE,
    DEFAULT,
    HINGE,
    UncutRuns,
    as_version_0_1,
    file_bytes,
    recipe_id,
    state_bits,
)

from animegan_helpers import checkpoints, plotting, recipe_json
from animegan_helpers.checkpoints import CheckpointError
from animegan_helpers.generator import sample
from animegan_helpers.history import read_history
from animegan_helpers.run_writer import Run
from animegan_helpers.runs import (
    film,
    load_generator,
    new_run,
    read_recipe,
    refuse_existing,
    resume,
    sample_grids,
    start_from,
    write_images,
)
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train


@pytest.fixture(scope="module")
def uncut(faces, tmp_path_factory):
    """Uncut runs of ten steps, trained once: recipe -> its trainer and folder. To be read only."""
    return UncutRuns(faces, tmp_path_factory)


@pytest.fixture
def run(uncut, tmp_path):
    """A copy of the default recipe's finished run."""
    _, folder = uncut(DEFAULT)
    return shutil.copytree(folder, tmp_path / "run")


# ---- what a run leaves ----


def test_a_run_leaves_its_recipe_history_grids_checkpoints_and_networks(uncut):
    _, run = uncut(DEFAULT)
    steps = ("00000000", "00000010")
    expected = ["D.pth", "G.pth", "data.json", "history.jsonl", "recipe.json"]
    expected += [f"grids/step_{step}.png" for step in steps]
    expected += [f"checkpoints/step_{step}.pt" for step in steps]
    assert files_in(run) == sorted(expected)
    assert recipe_json.from_json(json.loads((run / "recipe.json").read_text())) == DEFAULT
    assert read_recipe(run) == DEFAULT
    with Image.open(run / "grids" / "step_00000010.png") as grid:
        assert grid.size == (8 * 18 + 2, 8 * 18 + 2)


def test_the_history_has_a_finite_row_for_every_step(uncut):
    _, run = uncut(DEFAULT)
    history = read_history(run)
    assert history["step"].tolist() == list(range(1, 11))
    assert set(history) == {"step", "loss_d", "loss_g", "score_real", "score_fake"}
    for values in history.values():
        assert np.isfinite(values).all()
    for name in ("score_real", "score_fake"):
        assert ((0 <= history[name]) & (history[name] <= 1)).all()


@pytest.mark.parametrize("recipe", [DEFAULT, BCE], ids=recipe_id)
def test_g_pth_is_the_generator_to_use(recipe, uncut):
    trainer, run = uncut(recipe)
    G = load_generator(run)
    ema = trainer.ema_generator()
    assert flat(G.state_dict()) == flat(ema.state_dict())
    assert not G.training
    assert torch.equal(sample(G, 4, 1), sample(ema, 4, 1))
    assert flat(checkpoints.load(run / "D.pth")) == flat(trainer.D.state_dict())


@pytest.fixture
def clock(monkeypatch):
    """A clock that only a test moves: `clock.now` in seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("animegan_helpers.run_writer.time.perf_counter", lambda: clock.now)
    return clock


def saves_in(seconds, seconds_per_save, clock, run, trainer):
    """Train by the clock, in steps of 0.1 s, and save when that is due -> when saves began."""
    real_save = checkpoints.save

    def slow_save(*args):
        clock.now += seconds_per_save
        return real_save(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", slow_save)
        log = run.open(trainer)
        began = []
        while clock.now < seconds:
            clock.now += 0.1
            trainer.seconds = clock.now
            if run.save_due(trainer):
                began.append(clock.now)
                run.save(trainer, log)
    return began


@pytest.mark.parametrize(
    "seconds_per_save, between", [(0.01, 30), (0.5, 30), (1.0, 50), (4.0, 200)]
)
def test_saving_takes_at_most_2_percent_of_the_time(seconds_per_save, between, clock, tmp_path):
    run = Run(tmp_path, {"images": 1000})
    began = saves_in(1000, seconds_per_save, clock, run, Trainer(BCE))
    gaps = [after - before for before, after in zip(began, began[1:])]
    assert gaps == pytest.approx([between] * len(gaps), abs=0.11) and len(gaps) >= 3
    assert len(began) * seconds_per_save <= 0.02 * 1000 * 1.01


def test_a_disk_that_stalls_once_does_not_put_off_the_next_save(clock, tmp_path, monkeypatch):
    run = Run(tmp_path, {"images": 1000})
    trainer = Trainer(BCE)
    log = run.open(trainer)
    durations = iter([0.1, 60, 60])

    def save(*args):
        clock.now += next(durations)

    monkeypatch.setattr(checkpoints, "save", save)
    for until_the_next in (30, 30, 3000):
        saved_at = trainer.seconds
        run.save(trainer, log)
        trainer.seconds = saved_at + until_the_next - 0.1
        assert not run.save_due(trainer)
        trainer.seconds = saved_at + until_the_next
        assert run.save_due(trainer)


def test_a_resumed_run_is_saved_30_seconds_later(clock, tmp_path):
    trainer = Trainer(BCE)
    Run(tmp_path, {"images": 1000}).open(trainer)
    trainer.steps_done, trainer.seconds = 500, 1000.0
    run = Run(tmp_path, {"images": 1000})
    run.open(trainer)
    for seconds, due in ((1029.9, False), (1030.0, True)):
        trainer.seconds = seconds
        assert run.save_due(trainer) is due


def test_the_film_gets_a_grid_at_powers_of_two_and_halfway_between_them(tmp_path):
    run = Run(tmp_path, {"images": 1000})
    due = [step for step in range(600) if run.grid_due(SimpleNamespace(steps_done=step))]
    assert due == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


def test_a_process_that_is_not_the_main_one_writes_nothing(tmp_path):
    run = Run(tmp_path / "run", {"images": 16}, writes=False)
    trainer = Trainer(BCE)
    log = run.open(trainer)
    log.append(torch.ones(4))
    run.save(trainer, log)
    run.write_history(log)
    run.finish(trainer, log)
    assert len(log.rows) == 1
    assert not (tmp_path / "run").exists()


# ---- folders ----


def test_a_folder_that_holds_a_run_is_not_overwritten(faces, run, tmp_path):
    before = file_bytes(run)
    with pytest.raises(FileExistsError, match="--resume"):
        refuse_existing(run)
    with pytest.raises(FileExistsError, match="--resume"):
        train(DEFAULT, faces, run, steps=1)
    assert file_bytes(run) == before
    refuse_existing(tmp_path / "new")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="file is a file"):
        refuse_existing(tmp_path / "file")


def test_new_runs_number_up(tmp_path):
    for name in ("first", "first-2", "first-3"):
        assert new_run(tmp_path, "first") == tmp_path / name
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert new_run(tmp_path, "second") == tmp_path / "second"


def test_a_folder_that_holds_no_run_is_named(tmp_path, faces):
    with pytest.raises(CheckpointError, match=tmp_path.name):
        load_generator(tmp_path)
    with pytest.raises(CheckpointError, match=tmp_path.name):
        train(BCE, faces, tmp_path, steps=1, resume=True)


@pytest.mark.parametrize(
    "content", ["no json", "[]", '{"name": "x", "about": "y", "width": "wide"}']
)
def test_a_run_with_a_damaged_recipe_is_named(content, tmp_path):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(CheckpointError, match=tmp_path.name):
        load_generator(tmp_path)


def test_a_generator_that_does_not_fit_its_recipe_is_named(run):
    wider = recipe_json.to_json(replace(DEFAULT, width=8))
    (run / "recipe.json").write_text(json.dumps(wider))
    with pytest.raises(CheckpointError, match="G.pth"):
        load_generator(run)


def test_loading_a_generator_disturbs_no_random_numbers(run):
    before = torch.get_rng_state()
    load_generator(run)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_goes_back_into_a_trainer_unless_the_images_are_others(uncut):
    trainer, run = uncut(DEFAULT)
    resumed = Trainer(DEFAULT, seed=3)
    resume(resumed, run, images=16)
    assert state_bits(resumed) == state_bits(trainer)
    assert resumed.seconds == trainer.seconds
    with pytest.raises(CheckpointError, match="begun with 16 images, not 17: .*the same data"):
        resume(Trainer(DEFAULT, seed=3), run, images=17)


def test_a_checkpoint_that_does_not_say_how_many_images_is_refused(tmp_path):
    state = Trainer(BCE).state()
    checkpoints.save(state, checkpoints.at_step(tmp_path, 0))
    with pytest.raises(CheckpointError, match="begun with None images, not 16"):
        resume(Trainer(BCE), tmp_path, images=16)


# ---- runs of version 0.1 ----


@pytest.fixture(params=[DEFAULT, BCE], ids=recipe_id)
def old_run(request, uncut, tmp_path):
    """A finished run as version 0.1 would have left it: its path and its recipe."""
    _, folder = uncut(request.param)
    run = shutil.copytree(folder, tmp_path / "old")
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(as_version_0_1(recipe)))
    for path in checkpoints.saved(run):
        checkpoints.save(as_version_0_1(checkpoints.load(path)), path)
    return SimpleNamespace(path=run, recipe=request.param)


def test_the_fixture_above_makes_what_version_0_1_wrote(old_run):
    recipe = json.loads((old_run.path / "recipe.json").read_text())
    state = checkpoints.newest(old_run.path)
    for data in (recipe, state["recipe"]):
        assert {"lr_fall", "d_start"} <= set(data)
        assert not {"lr_decay_start", "d_init"} & set(data)
    assert {"step", "pictures"} <= set(state)
    assert ("averaged" in state) == (old_run.recipe.ema > 0)


def test_the_recipe_and_the_generator_of_a_run_of_version_0_1_are_refused_by_name(old_run):
    for read in (read_recipe, load_generator, write_images):
        with pytest.raises(CheckpointError, match="made by version 0.1") as error:
            read(old_run.path)
        assert str(old_run.path) in str(error.value)


def test_a_run_of_version_0_1_is_not_resumed_and_stays_as_it_was(old_run, faces):
    before = file_bytes(old_run.path)
    with pytest.raises(CheckpointError, match="made by version 0.1"):
        resume(Trainer(old_run.recipe, seed=3), old_run.path, images=16)
    with pytest.raises(CheckpointError, match="made by version 0.1"):
        train(old_run.recipe, faces, old_run.path, steps=12, seed=3, resume=True)
    assert file_bytes(old_run.path) == before


def test_a_run_of_version_0_1_is_not_fine_tuned(old_run, faces, tmp_path):
    with pytest.raises(CheckpointError, match="made by version 0.1"):
        start_from(Trainer(old_run.recipe), old_run.path)
    with pytest.raises(CheckpointError, match="made by version 0.1"):
        train(old_run.recipe, faces, tmp_path / "new", steps=1, from_run=old_run.path)
    assert not (tmp_path / "new").exists()


# ---- fine-tuning: a run that starts with another's networks ----


@pytest.mark.parametrize("recipe", [DEFAULT, BCE, HINGE], ids=recipe_id)
def test_fine_tuning_starts_with_the_networks_of_the_run_and_all_else_anew(
    recipe, uncut, faces, tmp_path
):
    _, run = uncut(recipe)
    G = flat(checkpoints.load(run / "G.pth"))
    D = flat(checkpoints.load(run / "D.pth"))
    train(recipe, faces, tmp_path, steps=1, seed=7, from_run=run)
    start = checkpoints.load(checkpoints.at_step(tmp_path, 0))
    assert (start["steps_done"], start["seconds"], start["seed"]) == (0, 0, 7)
    assert flat(start["G"]) == G
    assert flat(start["D"]) == D
    if recipe.ema:
        assert flat(start["G_ema"]) == G
    assert not start["opt_g"]["state"]
    assert not start["opt_d"]["state"]
    assert read_history(tmp_path)["step"].tolist() == [1]


@pytest.mark.parametrize("state", [{}, {"recipe": {"name": "x"}, "seed": 0}])
def test_a_checkpoint_without_a_recipe_is_refused_by_the_name_of_its_run(state, uncut, tmp_path):
    _, run = uncut(DEFAULT)
    shutil.copy(run / "recipe.json", tmp_path)
    checkpoints.save(state, checkpoints.at_step(tmp_path, 1))
    with pytest.raises(CheckpointError, match=f"{tmp_path.name} can't be used"):
        load_generator(tmp_path)
    with pytest.raises(CheckpointError, match=f"{tmp_path.name}: "):
        resume(Trainer(DEFAULT), tmp_path, 1)


def test_fine_tuning_moves_the_weights_it_started_with(uncut, faces, tmp_path):
    _, run = uncut(DEFAULT)
    trainer = train(DEFAULT, faces, tmp_path, steps=2, from_run=run)
    before = checkpoints.load(run / "G.pth")
    for name, weight in trainer.G.named_parameters():
        assert not torch.equal(weight, before[name])


OTHER = [
    {"width": 8},
    {"z_dim": 9},
    {"size": 32},
    {"d_norm": "batch"},
    {"g_activation": "leaky_relu"},  # it has no weights, so all shapes agree
]


@pytest.mark.parametrize("change", OTHER)
def test_a_run_with_other_networks_is_refused_with_both_ways_out(change, uncut):
    _, run = uncut(DEFAULT)
    with pytest.raises(CheckpointError) as error:
        start_from(Trainer(replace(DEFAULT, **change)), run)
    message = str(error.value)
    assert str(run) in message
    assert "recipe default, width 4, latent vectors of 8" in message
    assert "with its own recipe" in message
    assert "without from_run" in message


def test_a_refused_start_leaves_no_folder(uncut, faces, tmp_path):
    _, run = uncut(DEFAULT)
    with pytest.raises(CheckpointError):
        train(replace(DEFAULT, width=8), faces, tmp_path / "new", steps=1, from_run=run)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["G.pth", "D.pth"])
@pytest.mark.parametrize("fault", ["cut", "a list", "other weights"])
def test_a_run_with_damaged_networks_is_refused_by_name(fault, name, uncut, tmp_path):
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "damaged")
    if fault == "cut":
        (run / name).write_bytes((run / name).read_bytes()[:-100])
    elif fault == "a list":
        checkpoints.save([1, 2], run / name)
    else:
        checkpoints.save({"net.0.weight": torch.ones(2)}, run / name)
    with pytest.raises(CheckpointError, match="damaged"):
        start_from(Trainer(DEFAULT), run)


@pytest.mark.parametrize("name", ["G.pth", "D.pth"])
def test_a_run_without_its_networks_is_started_from_at_its_newest_checkpoint(name, uncut, tmp_path):
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "killed")
    (run / name).unlink()
    trainer = Trainer(DEFAULT)
    with pytest.warns(UserWarning, match="killed has not finished: .*checkpoint of step 10"):
        start_from(trainer, run)
    expected = Trainer(DEFAULT)
    start_from(expected, folder)
    assert state_bits(trainer) == state_bits(expected)


def test_a_folder_that_is_not_a_run_is_nothing_to_start_from(tmp_path):
    with pytest.raises(CheckpointError, match="not a run's folder"):
        start_from(Trainer(DEFAULT), tmp_path)


def test_a_run_is_either_resumed_or_starts_from_another(uncut, faces, tmp_path):
    _, run = uncut(DEFAULT)
    with pytest.raises(ValueError, match="choose one.*resume.*from_run"):
        train(DEFAULT, faces, tmp_path / "new", steps=1, resume=True, from_run=run)
    assert not (tmp_path / "new").exists()


def test_a_fine_tuned_run_cut_and_resumed_needs_the_first_run_no_more(faces, run, tmp_path):
    whole = train(DEFAULT, faces, tmp_path / "whole", steps=6, seed=3, from_run=run)
    train(DEFAULT, faces, tmp_path / "cut", steps=3, seed=3, from_run=run)
    shutil.rmtree(run)
    resumed = train(DEFAULT, faces, tmp_path / "cut", steps=6, seed=3, resume=True)
    assert state_bits(resumed) == state_bits(whole)


# ---- images of a finished run ----


def test_the_images_of_a_finished_run_are_written_beside_it(run):
    before = files_in(run)
    names = [path.name for path in write_images(run)]
    assert names == ["losses.png", "scores.png", "samples_1.png", "samples_2.png", "film.gif"]
    assert files_in(run) == sorted(before + names)
    side = 8 * 18 + 2  # 64 faces of 16x16, two white pixels between them
    with Image.open(run / "film.gif") as gif:
        assert gif.n_frames == len(os.listdir(run / "grids"))
        assert gif.size == (side, side)
    for name in ("losses.png", "scores.png"):
        with Image.open(run / name) as curves:
            assert curves.width >= 420
            assert curves.height >= 300


def test_the_samples_of_a_finished_run_are_64_new_faces_each(run):
    write_images(run)
    shown = []
    for seed in (1, 2):
        image = Image.open(run / f"samples_{seed}.png").convert("RGB")
        faces = plotting.grid(sample(load_generator(run), 64, seed), 8, zoom=2)
        part = image.crop((0, 0, faces.width, faces.height))
        difference = np.abs(np.asarray(part, int) - np.asarray(faces, int)).mean()
        assert faces.width == 2 * (8 * 18 + 2)
        assert difference < 4, "256 colors are near enough"
        shown.append(image.tobytes())
    assert shown[0] != shown[1]


def test_a_run_that_has_not_finished_has_images_of_its_newest_checkpoint(run, tmp_path):
    write_images(run)
    expected = (run / "samples_1.png").read_bytes()
    (run / "G.pth").unlink()
    with pytest.warns(UserWarning, match="has not finished"):
        write_images(run)
    assert (run / "samples_1.png").read_bytes() == expected
    with pytest.raises(CheckpointError, match="not a run's folder"):
        write_images(tmp_path)


class StopsAtOnce(torch.utils.data.Dataset):
    """Faces whose first batch comes with a Ctrl-C."""

    def __init__(self, faces):
        self.faces = faces

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, rows):
        if len(rows) > 1:
            signal.raise_signal(signal.SIGINT)
        return self.faces[rows]


def test_a_run_stopped_before_its_first_step_has_images_but_no_curves(faces, tmp_path):
    trainer = train(BCE, StopsAtOnce(faces), tmp_path, steps=3)
    assert trainer.steps_done == 0
    names = [path.name for path in write_images(tmp_path)]
    assert names == ["samples_1.png", "samples_2.png", "film.gif"]


# ---- sample grids and the film ----


def test_grids_of_steps_that_a_kill_has_lost_are_not_in_the_film(faces, tmp_path):
    train(BCE, faces, tmp_path, steps=3)
    for step in (16, 24, 512):  # after the checkpoint of step 3, before the process was killed
        shutil.copy(tmp_path / "grids" / "step_00000003.png", grid_of(tmp_path, step))
    train(BCE, faces, tmp_path, steps=20, resume=True)
    names = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert names == [grid_of(tmp_path, step).name for step in (0, 3, 16, 20)]


def grid_of(run, step):
    return run / "grids" / f"step_{step:08d}.png"


@pytest.fixture
def gray_run(tmp_path):
    """A run's folder with ten grids, at steps 0, 1, 4 ... 81, each brighter than the one before."""
    (tmp_path / "grids").mkdir()
    for i in range(10):
        grid = Image.new("RGB", (50, 50), (25 * i,) * 3)
        grid.save(tmp_path / "grids" / f"step_{i * i:08d}.png")
    return tmp_path


def brightness(image):
    return image.getpixel((0, 0))[0]


def test_a_film_has_a_frame_for_each_grid(gray_run):
    path = film(gray_run, gray_run / "film.gif")
    with Image.open(path) as frames:
        assert frames.n_frames == 10
        assert frames.info["loop"] == 0
        frames.seek(9)
        assert brightness(frames.convert("RGB")) == pytest.approx(225, abs=8)


def test_sample_grids_are_the_first_the_last_and_some_between_ever_further_apart(gray_run):
    grids, steps = sample_grids(gray_run, 4)
    assert steps == [0, 16, 36, 81]  # nearest to 0, and to 16 ... 81 in even ratios
    assert [brightness(grid) for grid in grids] == [25 * round(step**0.5) for step in steps]


@pytest.mark.parametrize("count", [1, 2, 6, 10, 50])
def test_there_are_as_many_sample_grids_as_asked_for_if_the_run_has_them(gray_run, count):
    grids, steps = sample_grids(gray_run, count)
    assert len(grids) == len(steps) == len(set(steps)) == min(count, 10)
    assert steps == sorted(steps)


def test_a_folder_without_grids_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        sample_grids(tmp_path)
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        film(tmp_path, tmp_path / "film.gif")


# ---- a run that was killed ----


@pytest.fixture
def killed(uncut, tmp_path):
    """A run of ten steps that did not come to its end."""
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "killed")
    for name in ("G.pth", "D.pth"):
        (run / name).unlink()
    return run


@pytest.mark.parametrize("damaged", [False, True])
def test_the_generator_of_a_killed_run_is_its_newest_good_checkpoints(damaged, killed, uncut):
    trainer, folder = uncut(DEFAULT)
    step = 10
    if damaged:
        newest = checkpoints.saved(killed)[-1]
        newest.write_bytes(newest.read_bytes()[:-100])
        step = 0
    with pytest.warns(UserWarning, match=f"killed has not finished: .* step {step} .--resume"):
        G = load_generator(killed)
    assert not G.training
    if not damaged:
        assert flat(G.state_dict()) == flat(load_generator(folder).state_dict())


@pytest.mark.parametrize("left", ["no checkpoint", "damaged ones", "no recipe", "no folder"])
def test_a_killed_run_with_nothing_to_use_says_what_is_missing(left, killed):
    if left == "no checkpoint":
        shutil.rmtree(killed / "checkpoints")
        message = "killed has no checkpoint: nothing was saved in it yet"
    elif left == "damaged ones":
        for path in checkpoints.saved(killed):
            path.write_bytes(b"PK")
        message = "all checkpoints of .*killed are damaged"
    elif left == "no recipe":
        (killed / "recipe.json").unlink()
        message = "killed is not a run's folder: it has no recipe.json"
    else:
        shutil.rmtree(killed)
        message = "killed: there is no such folder"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CheckpointError, match=message):
            load_generator(killed)


def test_a_finished_run_that_goes_on_and_is_killed_is_not_read_at_its_old_end(
    uncut, faces, tmp_path, monkeypatch
):
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "run")

    def kill(trainer, log):
        if trainer.steps_done == 17:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save_due", lambda self, trainer: trainer.steps_done == 16)
    with pytest.raises(KeyboardInterrupt):
        train(DEFAULT, faces, run, steps=30, seed=3, resume=True, callback=kill)
    with pytest.warns(UserWarning, match="checkpoint of step 16"):
        load_generator(run)


# ---- a folder that holds something else ----


@pytest.mark.parametrize(
    "name", ["recipe.json", "history.jsonl", "grids", "faces.png", "G.pth", "notes.txt"]
)
def test_a_folder_with_files_of_others_does_not_become_a_run(name, faces, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match=f"mine holds {name}, which does not belong to a run"):
        train(BCE, faces, tmp_path / "mine", steps=1)
    assert file_bytes(tmp_path) == {f"mine/{name}": b'{"mine": 1}'}
    assert new_run(tmp_path, "mine") == tmp_path / "mine-2"


# ---- two processes ----


def test_a_run_that_another_process_trains_is_refused_and_goes_on_when_that_has_ended(
    faces, tmp_path
):
    run = tmp_path / "run"
    command = [sys.executable, "-c", TRAIN_ON, str(faces.folder), str(run)]
    folder = Path(__file__).parent
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    while process.stdout.readline() != "20\n":
        assert process.poll() is None
    for goes_on in (True, False):
        with pytest.raises(OSError, match=f"process {process.pid} is training .*run: wait until"):
            train(DEFAULT, faces, run, steps=1000, seed=3, resume=goes_on)
    process.kill()
    process.wait()
    done = checkpoints.newest(run)["steps_done"]
    trainer = train(DEFAULT, faces, run, steps=done + 3, seed=3, resume=True)
    assert trainer.steps_done == done + 3
    assert read_history(run)["step"].tolist() == list(range(1, done + 4))


TRAIN_ON = """
import sys
from small_runs import DEFAULT
from animegan_helpers.dataset import Faces
from animegan_helpers.training import train

tell = lambda trainer, log: print(trainer.steps_done, flush=True)
train(DEFAULT, Faces(sys.argv[1]), sys.argv[2], minutes=5, seed=3, callback=tell)
"""


def test_a_history_that_two_processes_have_mixed_has_each_step_once_after_resuming(
    uncut, faces, tmp_path
):
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "run")
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:6] + lines[3:] + lines[2:5]))
    train(DEFAULT, faces, run, steps=12, seed=3, resume=True)
    assert read_history(run)["step"].tolist() == list(range(1, 13))


@pytest.mark.parametrize("steps, is_kept", [(10, True), (5, True), (12, False)])
def test_measures_are_kept_until_a_run_has_gone_on(steps, is_kept, uncut, faces, tmp_path):
    _, folder = uncut(DEFAULT)
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "measures.json").write_text("{}")
    train(DEFAULT, faces, run, steps=steps, seed=3, resume=True)
    assert (run / "measures.json").exists() == is_kept


def test_measures_of_an_earlier_checkpoint_go_with_the_next(faces, tmp_path):
    def measure(trainer, log):
        if trainer.steps_done == 2 and not log.finished:
            (tmp_path / "measures.json").write_text("{}")

    train(BCE, faces, tmp_path, steps=4, callback=measure)
    assert not (tmp_path / "measures.json").exists()


def test_a_run_is_named_with_a_tilde_everywhere(uncut, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    _, folder = uncut(DEFAULT)
    shutil.copytree(folder, tmp_path / "first")
    assert read_recipe("~/first") == DEFAULT
    assert flat(load_generator("~/first").state_dict()) == flat(load_generator(folder).state_dict())
    assert new_run("~", "first") == tmp_path / "first-2"
    train(DEFAULT, faces, "~/second", steps=1, from_run="~/first")
    assert len(sample_grids("~/second")[0]) > 0
    with pytest.raises(FileExistsError):
        refuse_existing("~/second")
