"""Alarms fire on injected failures, name the step and a cure, and stay silent on good runs."""

import math
from types import SimpleNamespace

import pytest
import torch

from animegan_helpers import alarms, drawn, recipes
from animegan_helpers.images import to_tensor
from animegan_helpers.prepare import prepare
from animegan_helpers.training import train


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows_with_gaps(*gaps):
    """Rows of a history in which D's scores are `gaps` apart, around 0.5."""
    rows = []
    for step, gap in enumerate(gaps, 1):
        row = {"step": step, "loss_d": 1.0, "loss_g": 1.0}
        row["score_real"] = 0.5 + gap / 2
        row["score_fake"] = 0.5 - gap / 2
        rows.append(row)
    return rows


def similar_faces(count=64, deviation=0.0):
    """`count` faces that are one face, plus noise."""
    face = noise(1, 3, 64, 64)
    return (face + deviation * noise(count, 3, 64, 64, seed=1)).clamp(-1, 1)


def different_faces():
    return noise(64, 3, 16, 16).clamp(-1, 1)


def trainer_at(step, faces=None):
    """Stands for a trainer at some step whose generator generates these faces."""
    if faces is None:
        faces = different_faces()
    return SimpleNamespace(steps_done=step, fixed_faces=lambda: faces)


def log_of(rows, finished=False):
    return SimpleNamespace(rows=rows, finished=finished)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("alarms") / "drawn", count=300, seed=3, workers=1)


@pytest.fixture(scope="module")
def real_faces(folder):
    return prepare(folder, folder.parent / "prepared")[:64]


@pytest.fixture(scope="module")
def small_faces(folder):
    return prepare(folder, folder.parent / "small", 32)


@pytest.fixture(scope="module")
def default_faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return prepare(drawn.write(folder / "drawn", count=600), folder / "prepared", 64)


# ---- not finite ----


def test_nan_is_no_victory_of_d_and_no_collapse():
    assert alarms.discriminator_won(rows_with_gaps(*[math.nan] * 300)) == ""
    assert alarms.mode_collapse(torch.full((64, 3, 16, 16), math.nan)) == ""


@pytest.mark.parametrize(
    "name, value", [("loss_g", math.nan), ("score_real", math.inf), ("loss_d", -math.inf)]
)
def test_the_first_number_that_is_not_finite_is_named_with_its_step(name, value):
    rows = rows_with_gaps(*[0.1] * 20)
    assert alarms.not_finite(rows) == ""
    assert alarms.not_finite([]) == ""
    for step in (12, 17):
        rows[step - 1][name] = value
    message = alarms.not_finite(rows)
    assert message.startswith(f"not finite: {name} is {value} at step 12;")
    assert "lower learning rate" in message


# ---- D has won ----


def test_d_has_won_when_its_scores_are_far_apart_over_the_last_steps():
    assert "0.990 apart" in alarms.discriminator_won(rows_with_gaps(*[0.99] * 200))
    late = rows_with_gaps(*[0.1] * 500, *[0.981] * 200)
    message = alarms.discriminator_won(late)
    assert message.startswith("D has won: over the last 200 steps")
    assert "G learns far too slowly" in message


def test_d_has_not_won_with_too_few_steps_a_small_gap_or_a_gap_in_the_past():
    assert alarms.discriminator_won(rows_with_gaps(*[0.99] * 199)) == ""
    assert alarms.discriminator_won(rows_with_gaps(*[0.975] * 200)) == ""
    assert alarms.discriminator_won(rows_with_gaps(*[0.99] * 500, *[0.1] * 200)) == ""


def test_the_length_and_the_gap_of_the_alarm_can_be_set():
    assert alarms.discriminator_won(rows_with_gaps(*[1.0] * 9, 0.5), steps=10, gap=0.94)
    assert alarms.discriminator_won(rows_with_gaps(1.0), steps=2) == ""


# ---- mode collapse ----


def test_variety_is_the_median_distance_to_the_nearest_face():
    # Four gray faces, whose nearest neighbors are 0.1, 0.1, 0.2 and 0.4 away.
    gray = torch.tensor([0.0, 0.1, 0.3, 0.7])[:, None, None, None].expand(-1, 3, 16, 16)
    # Half of a thumbnail is the difference of both halves of the face: zeros here.
    assert alarms.variety(gray) == pytest.approx(0.1 / 2**0.5, rel=1e-4)
    assert alarms.variety(similar_faces()) < 0.005


@pytest.mark.parametrize("variety, fires", [(0.058, True), (0.062, False)])
def test_mode_collapse_fires_below_a_variety_of_6_hundredths(variety, fires):
    levels = variety * 2**0.5 * torch.arange(20.0)
    gray = levels[:, None, None, None].expand(-1, 3, 16, 16)
    assert bool(alarms.mode_collapse(gray)) == fires


def test_real_faces_have_a_variety_of_about_a_quarter(real_faces):
    variety = alarms.variety(real_faces)
    assert variety == pytest.approx(0.25, abs=0.05)
    assert alarms.variety(to_tensor(real_faces)) == pytest.approx(variety)
    assert alarms.mode_collapse(real_faces) == ""
    assert alarms.mode_collapse(real_faces, least=variety + 1e-3)
    assert alarms.mode_collapse(real_faces, least=variety - 1e-3) == ""


def test_one_face_with_noise_is_a_mode_collapse():
    message = alarms.mode_collapse(similar_faces(deviation=0.1))
    assert message.startswith("mode collapse: the faces are alike")
    assert str(recipes.get("default").betas).replace("0.0,", "0,") in message


def test_four_faces_repeated_are_a_mode_collapse(real_faces):
    assert alarms.mode_collapse(real_faces[:4].repeat(16, 1, 1, 1))


def test_mode_collapse_does_not_fire_before_step_300():
    rows = rows_with_gaps(*[0.1] * 300)
    assert alarms.active_alarms(trainer_at(299, similar_faces()), rows[:299]) == []
    (message,) = alarms.active_alarms(trainer_at(300, similar_faces()), rows)
    assert message.startswith("mode collapse: ")
    assert alarms.active_alarms(trainer_at(300), rows) == []


# ---- the callback ----


def checked_steps(monkeypatch, steps, every):
    """Call a callback at these steps -> the steps at which it checked."""
    checked = []
    monkeypatch.setattr(
        alarms, "active_alarms", lambda trainer, rows: checked.append(trainer.steps_done) or []
    )
    callback = alarms.AlarmCallback(every)
    for step in steps:
        callback(trainer_at(step), log_of([]))
    return checked


def test_the_callback_checks_every_200_steps_when_called_every_50(monkeypatch):
    assert checked_steps(monkeypatch, range(50, 1001, 50), 200) == [200, 400, 600, 800, 1000]


def test_the_callback_checks_although_no_step_is_a_multiple_of_200(monkeypatch):
    resumed = range(1193, 2000, 50)  # the steps at which a resumed run fetches its numbers
    assert all(step % 200 for step in resumed)
    assert checked_steps(monkeypatch, resumed, 200) == [1193, 1393, 1593, 1793, 1993]


def test_the_callback_checks_about_every_200_steps_when_called_every_77(monkeypatch):
    checked = checked_steps(monkeypatch, range(77, 3000, 77), 200)
    distances = [later - earlier for earlier, later in zip(checked, checked[1:])]
    assert 200 <= checked[0] < 277
    assert all(200 <= distance < 277 for distance in distances)


def test_the_callback_writes_each_kind_of_alarm_once():
    messages = []
    rows = rows_with_gaps(*[0.99] * 500)
    callback = alarms.AlarmCallback(100, messages.append)
    for step in range(1, 450):
        callback(trainer_at(step, similar_faces()), log_of(rows[:step]))
    assert len(messages) == 2
    assert messages[0].startswith("Warning at step 200: D has won")
    assert messages[1].startswith("Warning at step 300: mode collapse: the faces are alike")


def test_the_callback_always_checks_in_the_last_call():
    messages = []
    rows = rows_with_gaps(*[0.1] * 250)
    callback = alarms.AlarmCallback(200, messages.append)
    callback(trainer_at(200), log_of(rows[:200]))
    rows[240]["loss_d"] = math.nan
    callback(trainer_at(249), log_of(rows[:249]))
    assert messages == []
    callback(trainer_at(250), log_of(rows, finished=True))
    assert len(messages) == 1
    assert "not finite: loss_d is nan at step 241" in messages[0]


# ---- real runs ----


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_alarm_fires_on_a_good_run(seed, small_faces, tmp_path):
    messages = []
    recipe = recipes.get("default", width=8, size=32, batch=8)
    callback = alarms.AlarmCallback(50, messages.append)
    train(recipe, small_faces, tmp_path, steps=300, seed=seed, callback=callback)
    assert messages == []


def test_no_alarm_fires_on_the_default_recipe(default_faces, tmp_path, often):
    for seed in often((0,), (0, 1, 2)):
        messages = []
        callback = alarms.AlarmCallback(40, messages.append)
        run = tmp_path / str(seed)
        train(recipes.get("default"), default_faces, run, steps=320, seed=seed, callback=callback)
        assert messages == []


def test_a_discriminator_that_learns_far_too_fast_sets_off_the_alarm(small_faces, tmp_path):
    messages = []
    recipe = recipes.get("bce", width=8, size=32, batch=8, lr_g=4e-5, lr_d=2e-3)
    callback = alarms.AlarmCallback(20, messages.append)
    train(recipe, small_faces, tmp_path, steps=240, callback=callback)
    assert len(messages) == 1
    assert "D has won" in messages[0]


def test_a_generator_of_one_face_sets_off_the_alarm(small_faces, tmp_path):
    messages = []
    alarm_callback = alarms.AlarmCallback(100, messages.append)

    def collapse(trainer, log):
        with torch.no_grad():
            trainer.G.net[0].weight.zero_()  # the features no longer depend on z
        alarm_callback(trainer, log)

    recipe = recipes.get("bce", width=4, size=32, batch=4)
    train(recipe, small_faces, tmp_path, steps=301, callback=collapse)
    assert len(messages) == 1
    assert messages[0].startswith("Warning at step 300: mode collapse: the faces are alike")
