"""The commands: python -m animegan_helpers ... What each accepts is in test_arguments."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from common import encoded, flat, noise_image
from PIL import Image

from animegan_helpers import (
    __main__,
    alarms,
    checkpoints,
    device,
    download,
    drawn,
    export,
    metrics,
    recipes,
)
from animegan_helpers.judge import resizing_note
from animegan_helpers.prepare import prepare
from animegan_helpers.pretrained import load_safetensors
from animegan_helpers.runs import read_recipe
from animegan_helpers.training import train

SMALL = ("--width", "4", "--z-dim", "8", "--batch", "4", "--size", "16")


@pytest.fixture
def shell(capsys, home):
    """-> a function that runs one command in an empty folder.

    It returns the exit code, what was printed, and the lines on stderr, progress bars apart.
    """

    def run(*words):
        capsys.readouterr()
        try:
            code = __main__.main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code
        streams = capsys.readouterr()
        lines = [line.rpartition("\r")[2] for line in streams.err.split("\n")]
        errors = [line for line in lines if line.strip() and "%|" not in line]
        return code, streams.out, errors

    return run


def succeeded(result):
    """A result of `shell` without an error -> what was printed."""
    code, printed, errors = result
    assert (code, errors) == (0, [])
    return printed


def other_process(*words, folder):
    """Run a command in a process of its own."""
    path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-m", "animegan_helpers", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


@pytest.fixture
def run_folder(faces, tmp_path):
    """The folder of a run of one step."""
    recipe = recipes.get("bce", width=4, z_dim=8, batch=4, size=16)
    train(recipe, faces, tmp_path / "a run", steps=1)
    return tmp_path / "a run"


def image_size(path):
    with Image.open(path) as image:
        return image.size


# ---- what works ----


def test_from_nothing_to_an_image_of_faces(shell, home):
    printed = succeeded(shell("draw", "--count", 8, "--seed", 1, "--size", 32, "--out", "d"))
    assert "8 synthetic faces" in printed
    assert len(drawn.read_labels("d")) == 8

    train = ("train", "--data", "d", *SMALL[:-1], 32, "--run", "r")
    printed = succeeded(shell(*train, "--steps", 3))
    assert "8  unique images prepared at 32x32" in printed and "3 steps" in printed
    assert image_size("r/faces.png") == (2 * (8 * 34 + 2), 2 * (8 * 34 + 2))
    with Image.open("r/film.gif") as film:
        assert film.n_frames == len(os.listdir("r/grids"))

    printed = succeeded(shell("sample", "--run", "r", "--count", 5, "--out", "new/five.png"))
    assert str(home / "new" / "five.png") in printed
    assert image_size("new/five.png") == (2 * (3 * 34 + 2), 2 * (2 * 34 + 2))

    assert "5 steps" in succeeded(shell(*train, "--steps", 5, "--resume"))


def test_the_same_seed_samples_the_same_faces(shell, run_folder):
    sample = ("sample", "--run", run_folder, "--count", 4)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        succeeded(shell(*sample, "--seed", seed, "--out", f"{name}.png"))
    a, b, c = (np.asarray(Image.open(f"{name}.png")) for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_preparing_prints_a_report_and_its_folder_can_be_trained_on(shell, drawn_folder):
    printed = succeeded(shell("prepare", drawn_folder, "--size", 16, "--out", "set"))
    assert "12  unique images" in printed and "(12, 16, 16, 3)" in printed
    assert shell("train", "--data", "set", *SMALL, "--epochs", 1, "--run", "r")[0] == 0


def test_downloading_prints_where_the_images_are_and_how_to_train_on_them(shell, drawn_folder):
    printed = succeeded(shell("download", drawn_folder))
    assert f"12 images are in {drawn_folder}" in printed
    assert f'train --data "{drawn_folder}" --run "data/runs/drawn"' in printed  # may hold spaces


def test_training_writes_its_images_and_names_them(shell, faces):
    words = ("train", "--data", faces.folder, *SMALL, "--steps", 5, "--run", "r")
    names = "losses.png, scores.png, samples_1.png, samples_2.png, film.gif"
    assert f"also in this folder: {names}" in succeeded(shell(*words))
    assert all(os.path.getsize(f"r/{name}") for name in names.split(", "))


def test_a_run_starts_from_another_with_its_recipe(shell, faces, run_folder):
    words = ("train", "--data", faces.folder, "--run", "r", "--steps")
    assert "recipe bce" in succeeded(shell(*words, 2, "--from-run", run_folder))
    assert read_recipe("r") == read_recipe(run_folder)
    start = checkpoints.load("r/checkpoints/step_00000000.pt")
    assert flat(start["G"]) == flat(checkpoints.load(run_folder / "G.pth"))
    assert "3 steps" in succeeded(shell(*words, 3, "--resume"))


def test_rate_multiplies_the_learning_rates_and_a_resumed_run_keeps_its_own(
    shell, faces, run_folder
):
    words = ("train", "--data", faces.folder, "--run", "r", "--rate", 0.25, "--steps")
    succeeded(shell(*words, 2, "--from-run", run_folder))
    before = read_recipe(run_folder)
    after = read_recipe("r")
    assert after == before.changed(lr_g=before.lr_g / 4, lr_d=before.lr_d / 4)
    assert "3 steps" in succeeded(shell(*words, 3, "--resume"))
    assert read_recipe("r") == after


@pytest.mark.parametrize("sizes, text", [(SMALL, "4, batches of 4"), ((), "16, batches of 16")])
def test_training_announces_the_sizes_that_it_trains(shell, faces, monkeypatch, sizes, text):
    recipe = recipes.RECIPES["default"].changed(width=16, batch=16)
    monkeypatch.setitem(recipes.RECIPES, "default", recipe)
    apple = device.Machine(device.pick().device, "Apple GPU (arm)", width=32, batch=64)
    monkeypatch.setattr(device, "pick", lambda: apple)
    words = ("train", "--data", faces.folder, "--size", 16, *sizes, "--steps", 1, "--run", "r")
    printed = succeeded(shell(*words))
    assert f"Apple GPU (arm): networks of width {text} images" in printed
    assert "64 images" not in printed


def test_alarms_are_printed_while_training(shell, faces, monkeypatch):
    monkeypatch.setattr(alarms, "active_alarms", lambda trainer, rows: ["D has won: a test"])
    words = ("train", "--data", faces.folder, *SMALL, "--steps", 2, "--run", "r")
    code, printed, errors = shell(*words)
    assert code == 0, errors
    assert printed.count("Warning at step 2: D has won: a test") == 1


def test_minutes_are_a_length_too(shell, faces):
    words = ("train", "--data", faces.folder, *SMALL, "--minutes", "0.003", "--run", "r")
    code, printed, _ = shell(*words)
    assert code == 0 and "steps in 0.0 minutes" in printed


def test_plain_training_gives_the_same_run_on_a_cpu(shell, faces):
    for run, options in (("a", ()), ("b", ("--plain",))):
        words = ("train", "--data", faces.folder, *SMALL, "--steps", 2, "--run", run, *options)
        succeeded(shell(*words))
    assert flat(checkpoints.load("a/G.pth")) == flat(checkpoints.load("b/G.pth"))


def test_recipes_lists_all_of_them_and_writes_nothing(tmp_path):
    result = other_process("recipes", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    titles, *lines, sources = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(recipes.RECIPES)
    assert max(map(len, (titles, *lines))) < 170
    assert sources == "Sources 1 to 5 are public projects; page 09 names them."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_prints_the_numbers_of_each(shell, name):
    titles, *lines = succeeded(shell("recipes")).splitlines()
    numbers, about = next(
        pair for pair in zip(lines[::2], lines[1::2]) if pair[0].split()[0] == name
    )
    columns = ("loss", "lr of G", "lr of D", "labels", "EMA", "length")
    starts = [titles.index(title) for title in columns]
    cells = [numbers[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    loss, lr_g, lr_d, labels, ema, length = cells
    recipe = recipes.RECIPES[name]
    sizes = [str(recipe.width), str(recipe.z_dim), str(recipe.batch)]
    assert numbers[: starts[0]].split() == [name, *sizes]
    assert (loss, float(lr_g), float(lr_d)) == (recipe.loss, recipe.lr_g, recipe.lr_d)
    label_texts = {(1.0, 1.0): "1, 0", (0.8, 1.0): "0.8-1, 0-0.2"}
    assert labels == (label_texts[recipe.real_labels] if recipe.loss == "bce" else "-")
    assert ema == (str(recipe.ema) if recipe.ema else "-")
    assert length == (f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs} epochs")
    assert about.strip() == recipe.about


# ---- what can't work ----


def assert_refused(result, *words):
    """One line on stderr that contains the words, exit code 2, no traceback."""
    code, _, errors = result
    assert code == 2 and len(errors) == 1, errors
    line = errors[0]
    assert "Traceback" not in line
    assert line.startswith(("animegan_helpers: ", "python -m animegan_helpers"))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "words, message",
    [
        ("dance", "dance"),
        ("", "command"),
        ("train", "--run"),
        ("draw --count 0", "0"),
        ("draw --count many", "many"),
        ("draw --count -3", "-3"),
        ("draw --size 8 --count 1 --out d", "8"),
        ("sample --run nowhere", "nowhere"),
        ("sample --run nowhere --count 0", "0"),
        ("prepare nowhere --out x", "nowhere"),
        ("prepare nowhere", "--out"),
    ],
)
def test_a_bad_command_is_refused_in_one_line(shell, home, words, message):
    assert_refused(shell(*words.split()), message)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "words, message",
    [
        ("--recipe stylegan", "stylegan"),
        ("--width 0", "width is 0"),
        ("--z-dim -1", "z_dim is -1"),
        ("--batch 1", "batch is 1"),
        ("--batch 64", "16 images are fewer"),
        ("--minutes 0", "0 is not"),
        ("--minutes nan", "nan"),
        ("--minutes -1", "-1"),
        ("--minutes soon", "soon"),
        ("--steps 0", "0"),
        ("--steps 5 --minutes 1", "not allowed"),
        ("--epochs 1.5", "1.5"),
        ("--size 32", "prepared at 16"),
        ("--seed x", "x"),
        ("--seed -1", "seed"),
        ("--resume", "first"),
        ("--from-run nowhere", "nowhere: there is no such folder"),
    ],
)
def test_training_with_a_bad_number_is_refused_in_one_line(shell, home, faces, words, message):
    train = ("train", "--data", faces.folder, *SMALL, "--run", "runs/first")
    words = words.split()
    if not {"--steps", "--minutes", "--epochs"} & set(words):
        words += ["--steps", "1"]
    assert_refused(shell(*train, *words), message)
    assert not (home / "runs").exists(), "a run that can't begin leaves no folder"


@pytest.mark.parametrize("size", ["0", "60"])
def test_a_bad_size_is_named_before_the_images_are_blamed(shell, drawn_folder, size):
    words = ("train", "--data", drawn_folder, "--size", size, "--steps", "1", "--run", "r")
    assert_refused(shell(*words), f"size {size}")


@pytest.mark.parametrize("size", ["8", "60", "100"])
@pytest.mark.parametrize("source", ["set", "nowhere"])
def test_a_size_that_no_network_has_is_not_prepared(shell, drawn_folder, home, source, size):
    shutil.copytree(drawn_folder, home / "set")
    assert_refused(shell("prepare", source, "--size", size, "--out", "x"), f"size {size}")
    assert [path.name for path in home.iterdir()] == ["set"]


def train_and_prepare(source):
    """-> the two commands that read images."""
    return [("train", "--data", source, "--run", "r"), ("prepare", source, "--out", "x")]


def test_a_folder_without_images_is_refused_in_one_line(shell, home):
    (home / "empty").mkdir()
    for words in train_and_prepare("empty"):
        assert_refused(shell(*words), "no images", "empty")


def test_text_in_a_jpg_is_refused_in_one_line(shell, home):
    (home / "in").mkdir()
    (home / "in" / "a.jpg").write_text("I am not an image")
    for words in train_and_prepare("in"):
        assert_refused(shell(*words), "1 of 1 images", "a.jpg")


def test_a_zip_that_is_none_is_refused_in_one_line(shell, home):
    (home / "set.zip").write_text("I am not a zip")
    for words in train_and_prepare("set.zip"):
        assert_refused(shell(*words), "set.zip is not a zip")


def test_a_missing_source_is_refused_in_one_line(home):
    result = other_process("train", "--data", "nowhere", "--run", "r", folder=home)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "nowhere: no such folder or zip" in result.stderr
    assert list(home.iterdir()) == [], "synthetic faces do not stand in for it"


def times(folder):
    """-> when each file of a folder was last written."""
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_an_existing_run_is_not_overwritten(shell, faces, run_folder):
    before = times(run_folder)
    words = ("train", "--data", faces.folder, *SMALL, "--steps", 1, "--run", run_folder)
    assert_refused(shell(*words), "--resume")
    assert times(run_folder) == before


def test_a_run_is_not_resumed_with_another_recipe(shell, faces, run_folder):
    words = ("train", "--data", faces.folder, *SMALL, "--steps", 2, "--run", run_folder)
    assert_refused(shell(*words, "--recipe", "paper", "--resume"), "another recipe")


@pytest.mark.parametrize(
    "words, message",
    [
        (("--width", "8"), "without from_run"),
        (("--recipe", "default", *SMALL), "has other networks"),
        (("--resume",), "choose one"),
    ],
)
def test_a_run_does_not_start_from_one_that_does_not_fit(
    shell, home, faces, run_folder, words, message
):
    run = run_folder if "--resume" in words else "new"
    train = ("train", "--data", faces.folder, "--steps", 1, "--run", run)
    assert_refused(shell(*train, "--from-run", run_folder, *words), message)
    assert not (home / "new").exists()


@pytest.mark.parametrize("damage", ["G.pth", "recipe.json"])
def test_a_damaged_run_is_refused_in_one_line(shell, run_folder, damage):
    (run_folder / damage).write_text("no")
    assert_refused(shell("sample", "--run", run_folder), "a run")


def test_a_generator_that_does_not_fit_its_recipe_is_refused_in_one_line(shell, run_folder):
    recipe = run_folder / "recipe.json"
    recipe.write_text(recipe.read_text().replace('"width": 4', '"width": 8'))
    assert_refused(shell("sample", "--run", run_folder), "a run")


def test_faces_are_not_drawn_into_a_folder_that_is_not_empty(shell, drawn_folder):
    copy = shutil.copytree(drawn_folder, "mine")
    assert_refused(shell("draw", "--count", 1, "--out", copy), "mine", "not empty")


def test_a_failed_download_lists_what_was_tried(shell, monkeypatch):
    def fail(name):
        raise download.DownloadError("not fetched.\nTried: a\nWhat to do: b")

    monkeypatch.setattr(download, "get", fail)
    code, printed, errors = shell("download", "animefacedataset")
    assert (code, printed) == (2, "")
    assert errors == ["animegan_helpers: not fetched.", "Tried: a", "What to do: b"]


def test_an_interrupt_ends_a_command_without_a_traceback(shell, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(drawn, "write", interrupt)
    assert shell("draw", "--out", "d") == (130, "", ["animegan_helpers: stopped"])


# ---- measuring ----


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """160 prepared synthetic faces, and two runs of one step: `r`; `held`, which held out 10 %."""
    root = tmp_path_factory.mktemp("measured")
    drawn.write(root / "d", 160, seed=5, workers=1)
    faces = prepare(root / "d", root / "prepared")
    recipe = recipes.get("default", width=4, z_dim=8, batch=4)
    train(recipe, faces, root / "r", steps=1)
    train(recipe.changed(held_out=0.1), faces, root / "held", steps=1)
    return root


def measure(folder, run):
    return ("measure", "--run", folder / run, "--data", folder / "prepared", "--count", 70)


def test_measuring_prints_a_table_and_writes_the_numbers_of_each_seed(shell, measured, tmp_path):
    words = measure(measured, "r")
    printed = succeeded(shell(*words, "--seeds", 2, "--out", tmp_path / "two.json"))
    assert str(tmp_path / "two.json") in printed
    assert "each seed compares 70 generated faces with 70 real ones" in printed
    numbers = json.loads((tmp_path / "two.json").read_text())
    assert metrics.format_table(numbers) in printed
    assert "±" in printed and "copies" not in printed
    assert all(len(values) == 2 for values in numbers.values())
    for name in ("FID", "KID x 1000", "sliced Wasserstein"):
        real = max(numbers[f"{name} (real)"])
        assert min(numbers[name]) > real, "a run of one step is far worse than real faces"
    succeeded(shell(*words, "--seeds", 1))
    first = json.loads((measured / "r" / "measures.json").read_text())
    assert first == {name: values[:1] for name, values in numbers.items()}


def test_numbers_of_a_run_that_has_not_finished_are_kept_only_in_a_file_of_their_own(
    shell, measured, home
):
    run = shutil.copytree(measured / "r", home / "copy")
    (run / "G.pth").unlink()
    (run / "measures.json").unlink(missing_ok=True)  # of another test
    words = ("measure", "--run", run, "--data", measured / "prepared", "--count", 70, "--seeds", 1)
    code, printed, _ = shell(*words)
    assert code == 0 and "has not finished, so the numbers are not kept" in printed
    assert not (run / "measures.json").exists()
    code, printed, _ = shell(*words, "--out", home / "n.json")
    assert code == 0 and str(home / "n.json") in printed
    assert (home / "n.json").exists()


def test_measuring_a_run_that_held_faces_out_counts_copies(shell, measured):
    assert "copies, %" in succeeded(shell(*measure(measured, "held"), "--seeds", 1))
    numbers = json.loads((measured / "held" / "measures.json").read_text())
    assert numbers["copies, %"] == [0]


@pytest.mark.parametrize(
    "run, changes, is_other",
    [
        ("r", {}, False),
        ("held", {}, False),
        ("r", {"labeled": False}, False),  # by a version that read labels.csv in another way
        ("r", {"name": "animefacedataset", "images": 63_632}, True),
        ("r", {"name": "e"}, True),
        ("held", {"images": 160}, True),
        ("r", None, False),  # an old run, without data.json
    ],
)
def test_measuring_against_other_images_than_the_runs_own_causes_a_warning(
    shell, measured, home, run, changes, is_other
):
    copy = shutil.copytree(measured / run, home / "copy")
    if changes is None:
        (copy / "data.json").unlink()
    else:
        data = json.loads((copy / "data.json").read_text())
        (copy / "data.json").write_text(json.dumps(data | changes))
    words = ("measure", "--run", copy, *measure(measured, run)[3:], "--seeds", 1)
    code, _, errors = shell(*words)
    assert code == 0
    assert len(errors) == is_other, errors
    if is_other:
        assert "copy was trained on" in errors[0] and "--data" in errors[0]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--count", "64"), "FID needs more than 64 faces, and 64 are compared"),
        (("--count", "1"), "FID needs more than 64 faces, and 1 are compared"),
        (("--count", "0"), "0"),
        (("--seeds", "none"), "none"),
        (("--run", "nowhere"), "nowhere"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(shell, measured, words, message):
    before = times(measured)
    assert_refused(shell(*measure(measured, "r"), *words), message)
    assert times(measured) == before


@pytest.mark.parametrize("size", [16, 32])
def test_a_run_of_another_size_is_measured_and_the_table_says_so(shell, home, size):
    drawn.write("set", 160, workers=1)
    sizes = ("--width", 4, "--z-dim", 8, "--batch", 4, "--size", size)
    succeeded(shell("train", "--data", "set", "--run", "r", "--steps", 1, *sizes))
    printed = succeeded(shell("measure", "--run", "r", "--data", "set", "--count", 2000))
    assert "each seed compares 80 generated faces with 80 real ones" in printed
    assert resizing_note(size) in printed
    assert "FID (real)" in printed


# ---- sharing ----


def test_the_pretrained_generator_is_shared_by_one_command(shell, home):
    printed = succeeded(shell("share", "--out", "s"))
    assert (home / "s" / "faces.html").resolve().as_uri() in printed
    assert all((home / "s" / name).is_file() for name in export.FILES)
    card = (home / "s" / "README.md").read_text()
    assert "synthetic faces, drawn by" in card
    assert "| name | pretrained |" in card and "FID (real)" in card


def test_a_run_is_shared_with_its_recipe_and_its_owners_words(shell, run_folder, home):
    words = ("--data", "My own drawings.", "--title", "Mine")
    printed = succeeded(shell("share", "--run", run_folder, "--out", "s", *words))
    assert all(name in printed for name in export.FILES)
    card = (home / "s" / "README.md").read_text()
    assert "# Mine" in card and "My own drawings." in card
    assert "| width | 4 |" in card and "Not measured" in card
    G, directions = load_safetensors(home / "s" / "generator.safetensors")
    assert flat(G.state_dict()) == flat(checkpoints.load(run_folder / "G.pth"))
    assert list(directions)[0] == "direction 1"


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "--out"),
        ("--out s --run nowhere", "nowhere: there is no such folder"),
        ("--out mine", "README.md"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_one_line(shell, home, words, message):
    (home / "mine").mkdir()
    (home / "mine" / "README.md").write_text("keep me")
    assert_refused(shell("share", *words.split()), message)
    assert [path.read_text() for path in home.rglob("*") if path.is_file()] == ["keep me"]


# ---- what a command does not overwrite ----


def foreign(path, content=b"mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_sampling_replaces_its_own_images_and_no_others(shell, run_folder, home):
    for name in ("a.png", "b.jpg", "deep/c.webp"):
        words = ("sample", "--run", run_folder, "--count", 4, "--out", name)
        assert succeeded(shell(*words))
        again = shell(*words)
        assert again[0] == (0 if name == "a.png" else 2)
    for name, content in (("text.png", b"mine"), ("drawn.png", encoded(noise_image()))):
        path = foreign(home / name, content)
        result = shell("sample", "--run", run_folder, "--count", 4, "--out", name)
        assert_refused(result, f"{name} exists", "choose another name")
        assert path.read_bytes() == content
    assert_refused(shell("sample", "--run", run_folder, "--out", "a.txt"), "a.txt", ".png")
    Image.new("1", (14_000, 14_000)).save("huge.png")  # more pixels than Pillow opens
    result = shell("sample", "--run", run_folder, "--count", 4, "--out", "huge.png")
    assert_refused(result, "huge.png exists", "choose another name")


@pytest.mark.parametrize("content", [b"mine", b"[1]", b'{"mine": 1}', b"7"])
def test_measuring_does_not_replace_numbers_of_others(shell, measured, home, content):
    path = foreign(home / "numbers.json", content)
    result = shell(*measure(measured, "r"), "--out", "numbers.json")
    assert_refused(result, "numbers.json exists, and was not written by", "--out")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "set", "--size", 16, "--out", "own"),
        ("draw", "--count", 2, "--out", "own"),
        ("train", "--data", "set", "--steps", 1, "--run", "own", *SMALL),
        ("share", "--out", "own"),
    ],
)
@pytest.mark.parametrize("name", ["report.json", "recipe.json", "README.md", "labels.csv"])
def test_a_folder_of_other_files_is_left_alone(shell, drawn_folder, home, words, name):
    if words[0] == "share" and name != "README.md":
        pytest.skip("share adds its files beside others, and replaces none")
    shutil.copytree(drawn_folder, home / "set")
    path = foreign(home / "own" / name)
    assert_refused(shell(*words), "own")
    assert path.read_bytes() == b"mine"
    assert [entry.name for entry in (home / "own").iterdir()] == [name]


# ---- a run that has not finished ----


def test_a_killed_run_is_sampled_measured_and_shared_from_its_newest_checkpoint(
    shell, measured, home
):
    run = shutil.copytree(measured / "r", home / "killed")
    (run / "G.pth").unlink()
    words = {
        "sample": ("--count", 4),
        "measure": measure(measured, "r")[3:],
        "share": ("--out", "s"),
    }
    for command, more in words.items():
        code, _, lines = shell(command, "--run", run, *more)
        assert code == 0
        warning = "warning: .*killed has not finished: using its checkpoint of step"
        assert any(re.search(warning, line) for line in lines), lines


def test_a_recipe_of_a_newer_version_is_named_by_its_version(shell, run_folder):
    recipe = json.loads((run_folder / "recipe.json").read_text())
    (run_folder / "recipe.json").write_text(json.dumps(recipe | {"version": "9.0", "colors": 5}))
    for command in (("sample",), ("measure",), ("share", "--out", "s")):
        assert_refused(shell(*command, "--run", run_folder), "made by version 9.0", "update")
