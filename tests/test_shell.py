"""The same from a shell: python -m animegan_helpers ..."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import flat
from PIL import Image

from animegan_helpers import __main__, checkpoints, drawn, latent, measure, preprocess, recipes, share, training

SMALL = ("--width", "4", "--z-dim", "8", "--batch", "4", "--size", "16")
COMMANDS = ("draw", "prepare", "train", "sample", "measure", "share", "recipes")


@pytest.fixture
def shell(capsys, home):
    """-> a function that runs one command in an empty folder -> its exit code, what it says, and what it complains of.

    Progress bars are not counted as complaints.
    """

    def run(*words):
        capsys.readouterr()
        try:
            code = __main__.main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code
        told = capsys.readouterr()
        lines = [line.rpartition("\r")[2] for line in told.err.split("\n")]
        return code, told.out, [line for line in lines if line.strip() and "%|" not in line]

    return run


def outside(*words, folder):
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "animegan_helpers", *words], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip


@pytest.fixture
def run_folder(faces, tmp_path):
    """The folder of a run of one step."""
    recipe = recipes.get("bce", width=4, z_dim=8, batch=4, size=16)
    training.train(recipe, faces, tmp_path / "a run", steps=1)
    return tmp_path / "a run"


# ---- what works ----


def test_from_nothing_to_a_picture_of_faces(shell, home):
    code, said, complaints = shell("draw", "--count", 8, "--seed", 1, "--size", 32, "--out", "d")
    assert (code, complaints) == (0, []) and "8 drawn faces" in said
    assert len(drawn.read_labels("d")) == 8

    train = ("train", "--data", "d", *SMALL[:-1], 32, "--run", "r")
    code, said, complaints = shell(*train, "--steps", 3)
    assert (code, complaints) == (0, []) and "8  unique pictures prepared at 32x32" in said and "3 steps" in said
    with Image.open("r/faces.png") as picture:
        assert picture.size == (2 * (8 * 34 + 2), 2 * (8 * 34 + 2))
    with Image.open("r/film.gif") as film:
        assert film.n_frames == len(os.listdir("r/grids"))

    code, said, complaints = shell("sample", "--run", "r", "--count", 5, "--out", "new/five.png")
    assert (code, complaints) == (0, []) and str(home / "new" / "five.png") in said
    with Image.open("new/five.png") as picture:
        assert picture.size == (2 * (3 * 34 + 2), 2 * (2 * 34 + 2))

    code, said, complaints = shell(*train, "--steps", 5, "--resume")
    assert (code, complaints) == (0, []) and "5 steps" in said


def test_the_same_seed_samples_the_same_faces(shell, run_folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert shell("sample", "--run", run_folder, "--count", 4, "--seed", seed, "--out", f"{name}.png")[0] == 0
    a, b, c = (np.asarray(Image.open(f"{name}.png")) for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_preparing_reports_and_its_folder_can_be_trained_on(shell, drawn_folder):
    code, said, complaints = shell("prepare", drawn_folder, "--size", 16, "--out", "set")
    assert (code, complaints) == (0, []) and "12  unique pictures" in said and "(12, 16, 16, 3)" in said
    assert shell("train", "--data", "set", *SMALL, "--epochs", 1, "--run", "r")[0] == 0


def test_training_writes_its_pictures_and_says_so(shell, faces):
    code, said, complaints = shell("train", "--data", faces.folder, *SMALL, "--steps", 5, "--run", "r")
    pictures = "losses.png, scores.png, samples_1.png, samples_2.png, film.gif"
    assert (code, complaints) == (0, []) and f"beside it: {pictures}" in said
    assert all(os.path.getsize(f"r/{name}") for name in pictures.split(", "))


def test_a_run_begins_from_another_with_its_recipe(shell, faces, run_folder):
    train = ("train", "--data", faces.folder, "--run", "r", "--steps")
    code, said, complaints = shell(*train, 2, "--from-run", run_folder)
    assert (code, complaints) == (0, []) and "recipe bce" in said
    assert training.read_recipe("r") == training.read_recipe(run_folder)
    start = checkpoints.load("r/checkpoints/step_00000000.pt")
    assert flat(start["G"]) == flat(checkpoints.load(run_folder / "G.pth"))
    code, said, complaints = shell(*train, 3, "--resume")
    assert (code, complaints) == (0, []) and "3 steps" in said


def test_rates_are_taken_times_a_number_and_a_run_that_goes_on_keeps_its_own(shell, faces, run_folder):
    train = ("train", "--data", faces.folder, "--run", "r", "--rate", 0.25, "--steps")
    assert shell(*train, 2, "--from-run", run_folder)[0] == 0
    before, now = training.read_recipe(run_folder), training.read_recipe("r")
    assert now == before.changed(lr_g=before.lr_g / 4, lr_d=before.lr_d / 4)
    code, said, complaints = shell(*train, 3, "--resume")
    assert (code, complaints) == (0, []) and "3 steps" in said
    assert training.read_recipe("r") == now


def test_trouble_is_told_while_training(shell, faces, monkeypatch):
    monkeypatch.setattr(measure, "alarms", lambda game, history: ["D has won: oh dear"])
    code, said, complaints = shell("train", "--data", faces.folder, *SMALL, "--steps", 2, "--run", "r")
    assert code == 0 and said.count("Warning at step 2: D has won: oh dear") == 1, complaints


def test_minutes_are_a_length_too(shell, faces):
    code, said, _ = shell("train", "--data", faces.folder, *SMALL, "--minutes", "0.003", "--run", "r")
    assert code == 0 and "steps in 0.0 minutes" in said


def test_recipes_lists_them_all(tmp_path):
    result = outside("recipes", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    titles, *lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(recipes.RECIPES)
    assert max(map(len, (titles, *lines))) < 170
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_tells_every_recipes_numbers(shell, name):
    code, said, complaints = shell("recipes")
    assert (code, complaints) == (0, [])
    titles, *lines = said.splitlines()
    told, about = next(pair for pair in zip(lines[::2], lines[1::2]) if pair[0].split()[0] == name)
    starts = [titles.index(title) for title in ("loss", "lr of G", "lr of D", "labels", "average", "length")]
    cells = [told[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    r = recipes.RECIPES[name]
    assert told[: starts[0]].split() == [name, str(r.width), str(r.z_dim), str(r.batch)]
    assert cells[0] == r.loss and [float(cell) for cell in cells[1:3]] == [r.lr_g, r.lr_d]
    noisy = {(1.0, 1.0): "1, 0", (0.8, 1.0): "0.8-1, 0-0.2"}
    assert cells[3] == (noisy[r.real_labels] if r.loss == "bce" else "-")
    assert cells[4] == (str(r.ema) if r.ema else "-") and about.strip() == r.about
    assert cells[5] == (f"{r.steps:,} steps" if r.steps else f"{r.epochs} epochs")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_every_command_has_help(shell, command):
    code, said, complaints = shell(*command, "--help")
    assert (code, complaints) == (0, []) and said.startswith("usage: python -m animegan_helpers")
    assert all(name in said for name in COMMANDS) or command


def test_the_example_in_the_help_names_options_that_exist():
    lines = [line.split()[3:] for line in __main__.EXAMPLE.splitlines() if line.startswith("  python -m")]
    assert len(lines) >= 3
    for words in lines:
        __main__.parser().parse_args(words)


def test_the_version_is_told(shell):
    code, said, _ = shell("--version")
    assert code == 0 and said.strip() == __main__.__version__


# ---- what can't work ----


def refused(result, *words):
    """One line on stderr that holds the words, exit code 2, no traceback."""
    code, said, complaints = result
    assert code == 2 and len(complaints) == 1, complaints
    assert "Traceback" not in complaints[0] and complaints[0].startswith(("animegan_helpers: ", "python -m animegan"))
    assert all(word in complaints[0] for word in words), complaints[0]


@pytest.mark.parametrize("words, told", [
    (("dance",), "dance"), ((), "command"), (("train",), "--run"), (("draw", "--count", "0"), "0"),
    (("draw", "--count", "many"), "many"), (("draw", "--count", "-3"), "-3"),
    (("draw", "--size", "8", "--count", "1", "--out", "d"), "8"),
    (("sample", "--run", "nowhere"), "nowhere"), (("sample", "--run", "nowhere", "--count", "0"), "0"),
    (("prepare", "nowhere", "--out", "x"), "nowhere"), (("prepare", "nowhere"), "--out"),
])  # fmt: skip
def test_a_bad_command_is_told_in_one_line(shell, home, words, told):
    refused(shell(*words), told)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("words, told", [
    (("--recipe", "stylegan"), "stylegan"), (("--width", "0"), "width is 0"), (("--z-dim", "-1"), "z_dim is -1"),
    (("--batch", "1"), "batch is 1"), (("--batch", "64"), "16 pictures are fewer"), (("--minutes", "0"), "0 is not"),
    (("--minutes", "nan"), "nan"), (("--minutes", "-1"), "-1"), (("--minutes", "soon"), "soon"),
    (("--steps", "0"), "0"), (("--steps", "5", "--minutes", "1"), "not allowed"), (("--epochs", "1.5"), "1.5"),
    (("--size", "32"), "prepared at 16"), (("--seed", "x"), "x"), (("--seed", "-1"), "seed"),
    (("--resume",), "first"), (("--from-run", "nowhere"), "nowhere is not a run's folder"),
])  # fmt: skip
def test_training_with_a_number_that_cannot_work_is_told_in_one_line(shell, home, faces, words, told):
    length = () if {"--steps", "--minutes", "--epochs"} & set(words) else ("--steps", "1")
    refused(shell("train", "--data", faces.folder, *SMALL, *length, "--run", "runs/first", *words), told)
    assert not (home / "runs").exists(), "a run that can't begin leaves no folder"


@pytest.mark.parametrize("size", ["0", "60"])
def test_a_size_that_cannot_work_is_told_before_the_pictures_are_blamed(shell, drawn_folder, size):
    refused(shell("train", "--data", drawn_folder, "--size", size, "--steps", "1", "--run", "r"), f"size {size}")


def test_a_folder_without_pictures_is_told_in_one_line(shell, home):
    (home / "empty").mkdir()
    for words in (("train", "--data", "empty", "--run", "r"), ("prepare", "empty", "--out", "x")):
        refused(shell(*words), "no pictures", "empty")


def test_a_text_that_is_called_jpg_is_told_in_one_line(shell, home):
    (home / "in").mkdir()
    (home / "in" / "a.jpg").write_text("I am not a picture")
    for words in (("train", "--data", "in", "--run", "r"), ("prepare", "in", "--out", "x")):
        refused(shell(*words), "1 of 1 pictures", "a.jpg")


def test_a_zip_that_is_none_is_told_in_one_line(shell, home):
    (home / "set.zip").write_text("I am not a zip")
    for words in (("train", "--data", "set.zip", "--run", "r"), ("prepare", "set.zip", "--out", "x")):
        refused(shell(*words), "set.zip is not a zip")


def test_a_missing_source_is_told_in_one_line(home, monkeypatch):
    result = outside("train", "--data", "nowhere", "--run", "r", folder=home)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "nowhere: no such folder or zip" in result.stderr
    assert list(home.iterdir()) == [], "drawn faces do not stand in for it"


def test_a_run_that_exists_is_not_overwritten_and_is_told_in_one_line(shell, faces, run_folder):
    before = sorted((path, path.stat().st_mtime_ns) for path in run_folder.rglob("*"))
    refused(shell("train", "--data", faces.folder, *SMALL, "--steps", 1, "--run", run_folder), "--resume")
    assert sorted((path, path.stat().st_mtime_ns) for path in run_folder.rglob("*")) == before


def test_a_run_of_another_recipe_is_not_resumed_and_told_in_one_line(shell, faces, run_folder):
    refused(
        shell(
            "train", "--data", faces.folder, *SMALL, "--recipe", "paper", "--steps", 2, "--run", run_folder, "--resume"
        ),
        "another recipe",
    )


@pytest.mark.parametrize("words, told", [
    (("--width", "8"), "without from_run"), (("--recipe", "default", *SMALL), "has other networks"),
    (("--resume",), "choose one"),
])  # fmt: skip
def test_beginning_from_a_run_that_does_not_fit_is_told_in_one_line(shell, home, faces, run_folder, words, told):
    run = run_folder if "--resume" in words else "new"
    refused(shell("train", "--data", faces.folder, "--steps", 1, "--run", run, "--from-run", run_folder, *words), told)
    assert not (home / "new").exists()


@pytest.mark.parametrize("damage", ["G.pth", "recipe.json"])
def test_a_damaged_run_is_told_in_one_line(shell, run_folder, damage):
    (run_folder / damage).write_text("no")
    refused(shell("sample", "--run", run_folder), "a run")


def test_a_generator_that_does_not_fit_its_recipe_is_told_in_one_line(shell, run_folder):
    text = (run_folder / "recipe.json").read_text()
    (run_folder / "recipe.json").write_text(text.replace('"width": 4', '"width": 8'))
    refused(shell("sample", "--run", run_folder), "a run")


def test_drawing_into_a_folder_that_holds_something_is_told_in_one_line(shell, drawn_folder):
    copy = shutil.copytree(drawn_folder, "mine")
    refused(shell("draw", "--count", 1, "--out", copy), "mine", "not empty")


# ---- measuring ----


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with 160 drawn faces in `d` and two runs of one step: `r`, and `held`, which held out a tenth."""
    root = tmp_path_factory.mktemp("measured")
    drawn.write(root / "d", 160, seed=5, workers=1)
    faces = preprocess.prepare(root / "d", root / "prepared")
    recipe = recipes.get("default", width=4, z_dim=8, batch=4)
    for name, held_out in (("r", 0.0), ("held", 0.1)):
        training.train(recipe.changed(held_out=held_out), faces, root / name, steps=1)
    return root


def test_measuring_prints_a_table_and_writes_each_seeds_numbers(shell, measured, tmp_path):
    words = ("measure", "--run", measured / "r", "--data", measured / "prepared", "--count", 70)
    code, said, complaints = shell(*words, "--seeds", 2, "--out", tmp_path / "two.json")
    assert (code, complaints) == (0, []) and str(tmp_path / "two.json") in said
    numbers = json.loads((tmp_path / "two.json").read_text())
    assert measure.table(numbers) in said and "±" in said and "copies" not in said
    assert all(len(values) == 2 for values in numbers.values())
    for name in ("FID", "KID x 1000", "sliced Wasserstein"):
        assert min(numbers[name]) > max(numbers[f"{name} (real)"]), "a run of one step is far behind real faces"
    code, said, _ = shell(*words, "--seeds", 1)
    first = json.loads((measured / "r" / "measures.json").read_text())
    assert code == 0 and first == {name: values[:1] for name, values in numbers.items()}


def test_measuring_a_run_that_held_faces_out_counts_copies(shell, measured):
    code, said, complaints = shell(
        "measure", "--run", measured / "held", "--data", measured / "prepared", "--count", 70, "--seeds", 1
    )
    assert (code, complaints) == (0, []) and "copies, %" in said
    assert json.loads((measured / "held" / "measures.json").read_text())["copies, %"] == [0]


@pytest.mark.parametrize("words, told", [
    (("--count", "64"), "more faces than features"), (("--count", "0"), "0"), (("--seeds", "none"), "none"),
    (("--run", "nowhere"), "nowhere"), (("--data", "nowhere"), "nowhere"),
])  # fmt: skip
def test_measuring_what_cannot_be_measured_is_told_in_one_line(shell, measured, words, told):
    given = {"--run": measured / "r", "--data": measured / "prepared", "--count": 70} | dict([words])
    before = sorted(measured.rglob("*"))
    refused(shell("measure", *(word for pair in given.items() for word in pair)), told)
    assert sorted(measured.rglob("*")) == before


def test_measuring_a_run_of_another_size_is_told_in_one_line(shell, faces, run_folder):
    refused(shell("measure", "--run", run_folder, "--data", faces.folder, "--count", 8), "64, 64", "16, 16")


# ---- sharing ----


def test_the_ready_generator_is_shared_by_one_command(shell, home):
    code, said, complaints = shell("share", "--out", "s")
    assert (code, complaints) == (0, []) and (home / "s" / "faces.html").resolve().as_uri() in said
    assert {path.name for path in (home / "s").iterdir()} == set(share.FILES)
    text = (home / "s" / "README.md").read_text()
    assert "drawn by a program" in text and "| name | ready |" in text and "FID (real)" in text


def test_a_run_is_shared_with_its_recipe_and_what_its_owner_says(shell, run_folder, home):
    words = ("--data", "My own drawings.", "--title", "Mine")
    code, said, complaints = shell("share", "--run", run_folder, "--out", "s", *words)
    assert (code, complaints) == (0, []) and all(name in said for name in share.FILES)
    text = (home / "s" / "README.md").read_text()
    assert "# Mine" in text and "My own drawings." in text and "| width | 4 |" in text and "Not measured" in text
    G, directions = latent.load(home / "s" / "generator.safetensors")
    own = checkpoints.load(run_folder / "G.pth")
    assert flat(G.state_dict()) == flat(own) and list(directions)[0] == "direction 1"


@pytest.mark.parametrize("words, told", [
    ((), "--out"), (("--out", "s", "--run", "nowhere"), "nowhere is not a run's folder"),
    (("--out", "mine"), "README.md"),
])  # fmt: skip
def test_sharing_what_or_where_it_cannot_be_is_told_in_one_line(shell, home, words, told):
    (home / "mine").mkdir()
    (home / "mine" / "README.md").write_text("keep me")
    refused(shell("share", *words), told)
    assert [path.read_text() for path in home.rglob("*") if path.is_file()] == ["keep me"]
