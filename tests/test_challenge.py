"""The challenge and the curve of "how many images do I need?", at tiny sizes."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from animegan_helpers import recipe_json, recipes
from animegan_helpers.dataset import Faces

DEFAULT = recipes.get("default")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The benchmarks can be imported as modules."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")


def written(path, data):
    """Data -> a JSON file of it."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


# ---- the reader's file ----


def test_a_file_with_one_setting_has_the_others_of_the_default(tmp_path):
    from challenge import changes, read_recipe

    mine = read_recipe(written(tmp_path / "narrow.json", {"width": 12, "betas": [0.5, 0.99]}))
    assert mine == DEFAULT.changed(name="narrow", width=12, betas=(0.5, 0.99))
    assert changes(mine) == {"width": (12, 16), "betas": ((0.5, 0.99), (0.0, 0.99))}


def test_a_whole_recipe_is_read_and_keeps_its_name_unless_it_is_the_defaults(tmp_path):
    from challenge import read_recipe

    paper = recipes.get("paper")
    assert read_recipe(written(tmp_path / "a.json", recipe_json.with_version(paper))) == paper
    renamed = read_recipe(written(tmp_path / "b.json", recipe_json.to_json(DEFAULT)))
    assert renamed == DEFAULT.changed(name="b")


BAD_FILES = {
    '{"width": 12,}': r"not JSON .*write it like {\"width\": 12}",
    "[12]": "not settings by name: write it like",
    '{"widht": 12}': "unknown setting widht: the settings are .*width",
    '{"width": "12"}': 'width is "12": give a value of the same kind as the default\'s, 16',
    '{"flip": 1}': "flip is 1: give a value of the same kind as the default's, false",
    '{"betas": [0.5]}': r"betas is \[0.5\]: give .*\[0.0, 0.99\]",
    '{"r1": NaN}': "r1 is NaN: give a value",
    '{"r1": -1}': "r1 is -1: it must be 0",
    '{"width": 0}': "width is 0: it must be 1 or more",
    '{"loss": "wgan"}': "loss 'wgan': choose one of bce, hinge, relativistic",
    '{"lr_g": 2}': "a learning rate must be above 0 and below 1",
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_a_bad_file_causes_a_message_with_the_cure(content, tmp_path):
    from challenge import read_recipe

    file = tmp_path / "mine.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=BAD_FILES[content]):
        read_recipe(file)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"steps": 9, "name": "longer"}, "the default itself: change a setting"),
        ({"size": 32}, "size is 32: remove it, the faces have 64x64 pixels"),
        ({"batch": 200}, "batch is 200: lower it, there are 100 faces"),
        ({"held_out": 0.1}, "held_out is 0.1: remove it"),
    ],
)
def test_a_recipe_that_cannot_race_is_refused(changed, message):
    from challenge import check

    hundred = type("Set", (list,), {"report": SimpleNamespace(size=64)})([0] * 100)
    check(DEFAULT.changed(width=12), hundred)
    with pytest.raises(ValueError, match=message):
        check(DEFAULT.changed(**changed), hundred)


@pytest.mark.parametrize("name, reason", [("none.json", "no such file"), (".", "can't be read")])
def test_race_py_passes_the_challenge_on_and_names_the_file(name, reason, home, monkeypatch):
    import race

    monkeypatch.setattr(sys, "argv", ["race.py", "challenge", name])
    with pytest.raises(SystemExit, match=reason) as exit_:
        race.main()
    assert exit_.value.code.startswith(f"{name}: ")


# ---- the race ----


KIDS = {"default": [100.0, 200.0, 400.0], "mine": [50.0, 200.0, 800.0]}


def a_result(name, settings, seed, **changed):
    """-> what `race.run` returns, with a known KID."""
    row = {"step": 600 + seed, "FID": 9.0, "KID x 1000": KIDS[name][seed], "color pairs": 78}
    result = {"name": name, "seed": seed, "recipe": settings, "marks": [row | changed]}
    return result | {"machine": "1 core of X", "torch": "2.14.1+cpu", "date": "2026-11-26"}


@pytest.fixture
def turns(monkeypatch):
    """-> the runs in their order; none of them trains."""
    import challenge

    calls = []

    def run_alone(name, settings, seed, marks, folder):
        calls.append((name, seed))
        result = a_result(name, settings, seed)
        path = Path(folder) / name / str(seed) / "race.json"
        path.parent.mkdir(parents=True)
        written(path, result)
        return result

    monkeypatch.setattr(challenge, "run_alone", run_alone)
    return calls


IN_TURN = [("default", 0), ("mine", 0), ("mine", 1), ("default", 1), ("default", 2), ("mine", 2)]


def test_the_two_take_turns_and_finished_pairs_are_not_raced_again(home, turns):
    from challenge import folder_of, race_all

    mine = DEFAULT.changed(name="narrow", width=12)
    results = race_all(mine, 60, folder_of(mine, 60))
    assert turns == IN_TURN
    shutil.rmtree(folder_of(mine, 60) / "mine" / "1")
    turns.clear()
    again = race_all(mine, 60, folder_of(mine, 60))
    assert turns == [("mine", 1), ("default", 1)], "both, since the machine may have changed"
    as_text = [json.dumps(runs, sort_keys=True) for runs in (results, again)]
    assert as_text[0] == as_text[1]


def test_each_challenger_races_against_the_default_anew(home, turns):
    from challenge import folder_of, race_all

    mine = DEFAULT.changed(name="narrow", width=12)
    others = [mine.changed(width=8), mine.changed(name="my/own: narrow")]
    for recipe in (mine, *others):
        race_all(recipe, 60, folder_of(recipe, 60))
    assert turns == 3 * IN_TURN
    assert len(list((home / "data/race/challenge").iterdir())) == 3


def test_a_run_that_ended_or_was_killed_is_named(home, turns, monkeypatch):
    import challenge

    mine = DEFAULT.changed(name="fast", lr_g=0.9)

    def ends(name, settings, seed, marks, folder):
        return a_result(name, settings, seed, **({"ended": "nan"} if name == "mine" else {}))

    def is_killed(*job):
        raise RuntimeError("a process ended abruptly")

    monkeypatch.setattr(challenge, "run_alone", ends)
    with pytest.raises(RuntimeError, match=r"mine, seed 0 ended at step 600 \(nan\)"):
        challenge.race_all(mine, 60, home / "runs")
    monkeypatch.setattr(challenge, "run_alone", is_killed)
    with pytest.raises(RuntimeError, match="default, seed 0 failed .*lower width or batch"):
        challenge.race_all(mine, 60, home / "runs")


# ---- what is printed ----


@pytest.fixture
def results():
    """-> results with ratios of 0.5, 1 and 2."""
    runs = {}
    for name in KIDS:
        runs[name] = [a_result(name, recipe_json.to_json(DEFAULT), seed) for seed in range(3)]
    return runs


def test_ratios_and_their_geometric_mean_have_known_values(results):
    from challenge import ratios, summary, verdict

    assert ratios(results) == [0.5, 1.0, 2.0]
    assert summary(ratios(results)) == "1.00 (0.50 to 2.00)"
    assert verdict([0.5, 1.0, 2.0]).startswith("a tie")
    assert verdict([0.5, 0.9]).startswith("better")
    assert verdict([1.1, 2.0]).startswith("worse")
    results["mine"][0]["marks"][-1]["KID x 1000"] = 0.0
    with pytest.raises(RuntimeError, match="not above 0"):
        ratios(results)


def test_the_table_and_the_row_have_the_numbers(results):
    from challenge import row, table

    assert table(results).splitlines()[2] == "| 0 | 50 | 100 | 600 | 600 | 78 | 78 | 0.50 |"
    mine = DEFAULT.changed(name="a|b\nc", width=12, r1=8.0)
    assert row(mine, results) == (
        "| a/b c | width 12 (default 16), r1 8.0 (default 2.0) | 1.00 (0.50 to 2.00)"
        " | 601 (default 601) | 1 core of X | 2.14.1 | 2026-11-26 |"
    )


def test_the_row_has_the_columns_of_the_list(results):
    from challenge import row

    text = (Path(__file__).parents[1] / "docs/challenge.md").read_text(encoding="utf-8")
    (head,) = [line for line in text.splitlines() if line.startswith("| name |")]
    assert head.count("|") == row(DEFAULT.changed(width=12), results).count("|")


def test_runs_on_two_machines_make_no_row(results):
    from challenge import row

    results["mine"][1]["machine"] = "1 core of Y"
    with pytest.raises(RuntimeError, match="machine: 1 core of X, 1 core of Y"):
        row(DEFAULT.changed(width=12), results)


# ---- how many images do I need? ----


def a_set(folder, pixels):
    """(N, 16, 16, 3) uint8 -> a prepared set of them."""
    folder.mkdir()
    np.save(folder / "faces.npy", pixels)
    (folder / "names.txt").write_text("\n".join(str(i) for i in range(len(pixels))))
    report = {"source": "noise", "fingerprint": "none", "size": 16, "unique": len(pixels)}
    written(folder / "report.json", report)
    return Faces(folder)


def a_constant_set(folder, value):
    return a_set(folder, np.full((8, 16, 16, 3), value, np.uint8))


def test_the_curve_of_images_is_measured_published_and_not_measured_again(tmp_path, monkeypatch):
    import how_many_images
    import race

    noise = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), np.uint8)
    faces = a_set(tmp_path / "faces", noise)
    small = DEFAULT.changed(width=4, z_dim=8, batch=4, size=16)
    monkeypatch.setattr(how_many_images, "DEFAULT", small)
    monkeypatch.setattr(how_many_images, "COUNTS", (5, 20))
    monkeypatch.setattr(race, "COUNT", 70)
    monkeypatch.setattr(race.metrics, "kid", lambda *arguments, **options: (0.1, 0.0))
    job = (faces, faces, 1, [0.01, 0.02], tmp_path / "work")
    runs = how_many_images.run_all(*job)
    kinds = [(result["images"], result["augment"]) for result in runs]
    assert kinds == [(5, False), (5, True), (20, False), (20, True)]
    for result in runs:
        assert result["recipe"]["augment"] == result["augment"]
        assert [row["KID x 1000"] for row in result["marks"]] == [100, 100]
        assert result["marks"][0].keys() >= {"step", "FID", "color pairs", "D's gap"}
        assert result["marks"][1]["step"] >= result["marks"][0]["step"] > 0
    monkeypatch.setattr(how_many_images, "TimedRun", None)  # nothing trains now
    assert how_many_images.run_all(*job) == json.loads(json.dumps(runs))

    how_many_images.publish(runs, tmp_path / "work", tmp_path / "out")
    record = json.loads((tmp_path / "out/how_many_images.json").read_text(encoding="utf-8"))
    assert record["runs"] == json.loads(json.dumps(runs))
    assert "20 images, with DiffAugment: 100." in record["alt"]
    assert f"a dot for each run, one seed ({runs[0]['machine']}" in record["caption"]
    more = [result | {"seed": seed} for result in runs for seed in (0, 1)]
    assert "a dot for each of 2 seeds, a line for the mean" in how_many_images.caption_of(more)
    assert (tmp_path / "out/how_many_images.png").stat().st_size > 5000


def test_a_longer_run_is_not_taken_from_a_shorter_one(tmp_path, monkeypatch):
    import how_many_images

    settings = recipe_json.to_json(DEFAULT)
    finished = {"recipe": settings, "CPU seconds": [3], "marks": []}
    monkeypatch.setattr(how_many_images, "finished_result", lambda folder, recipe: finished)
    monkeypatch.setattr(how_many_images, "TimedRun", None)
    training = [0] * 100
    arguments = (training, None, None, False, 0)
    assert how_many_images.run(*arguments, [3], tmp_path) == finished
    with pytest.raises(TypeError):  # it would train
        how_many_images.run(*arguments, [60, 120], tmp_path)


def test_a_run_that_ended_is_in_no_mean():
    from how_many_images import COUNTS, rows_at_end, table

    row = {"step": 9, "FID": 1.0, "KID x 1000": 50.0, "color pairs": 3, "D's gap": 0.5}
    runs = [
        {"images": COUNTS[0], "augment": False, "marks": [row]},
        {"images": COUNTS[0], "augment": False, "marks": [row, {"step": 10, "ended": "nan"}]},
    ]
    assert rows_at_end(runs, COUNTS[0], False) == [row]
    lines = table(runs).splitlines()
    assert lines[2] == "| 100 images, without DiffAugment | 9 | 1.0 | 50 | 3 | 0.50 |"
    assert lines[3] == "| 100 images, with DiffAugment | ended, or not run | | | | |"


def test_the_gap_of_d_is_that_of_its_mean_logits(tmp_path):
    """A D whose logit is the mean pixel: 1 for white images, -1 for black ones."""
    from how_many_images import mean_logits
    from torch import nn
    from torch.utils.data import Subset

    from animegan_helpers.trainer import Trainer

    trainer = Trainer(DEFAULT.changed(width=4, z_dim=8, batch=4, size=16))
    trainer.D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1), nn.Flatten(0))
    nn.init.constant_(trainer.D[1].weight, 1 / (3 * 16 * 16))
    nn.init.zeros_(trainer.D[1].bias)
    white = Subset(a_constant_set(tmp_path / "white", 255), range(5))
    logits = mean_logits(trainer, white, a_constant_set(tmp_path / "black", 0))
    assert logits["D's logit, training"] == pytest.approx(1, abs=0.01)
    assert logits["D's logit, held-out"] == pytest.approx(-1, abs=0.01)
    assert logits["D's gap"] == pytest.approx(2, abs=0.02)


def test_the_faces_to_measure_on_are_others_and_are_drawn_once(tmp_path, drawn_folder):
    from how_many_images import held_out_faces

    from animegan_helpers.prepare import prepare

    held_out = held_out_faces(tmp_path / "work", 4)
    again = held_out_faces(tmp_path / "work", 4)
    assert len(held_out) == 4
    assert torch.equal(held_out[:], again[:])
    trained_on = prepare(drawn_folder, tmp_path / "trained_on")
    assert not torch.equal(held_out[:], trained_on[:4])
