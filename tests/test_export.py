"""export: a generator becomes a folder for others, with the cards of a model and of a Space."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_generators import Resized, small_generator, two_directions

from animegan_helpers import cards, checkpoints, export, latent, metrics, recipes
from animegan_helpers.cards import Facts
from animegan_helpers.judge import resizing_note
from animegan_helpers.pretrained import generator_arguments, load_pretrained
from animegan_helpers.training import train


@pytest.fixture(scope="module")
def toy():
    """A small generator and two directions. Read-only."""
    return small_generator(width=4, z_dim=8, size=16), two_directions()


@pytest.fixture
def folder(toy, tmp_path):
    """The files of a generator of which nothing else is known."""
    export.write(tmp_path / "out", toy[0], directions=toy[1])
    return tmp_path / "out"


# ---- the folder ----


def test_all_files_that_are_promised_are_written_and_no_others(folder):
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {path.as_posix() for path in files} == set(export.FILES)


def test_files_that_were_shared_before_are_replaced_and_others_left_alone(folder, toy):
    (folder / "mine.txt").write_text("keep me")
    export.write(folder, toy[0], directions=toy[1], title="Second")
    assert (folder / "mine.txt").read_text() == "keep me"
    assert "# Second" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", export.FILES)
def test_a_file_of_another_origin_is_never_replaced(toy, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("keep me")
    with pytest.raises(FileExistsError, match=re.escape(name)):
        export.write(tmp_path, toy[0], directions=toy[1])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["keep me"]


def test_the_card_of_the_model_lists_its_files_and_not_those_of_the_space(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    for name, text in export.FILES.items():
        is_listed = f"- `{name}`: {text}" in card
        assert is_listed == (name != "README.md" and not name.startswith("space/")), name


@pytest.mark.parametrize("name", ["README.md", "space/README.md"])
def test_a_card_is_kept_once_the_line_that_says_so_is_deleted(folder, toy, name):
    card = folder / name
    marks = [line for line in card.read_text(encoding="utf-8").splitlines() if "<!--" in line]
    assert len(marks) == 1 and "delete this line to keep your changes" in marks[0]
    edited = card.read_text(encoding="utf-8").replace(marks[0], "My own words.")
    card.write_text(edited, encoding="utf-8")
    with pytest.raises(FileExistsError, match=re.escape(name)):
        export.write(folder, toy[0], directions=toy[1], title="Second")
    assert card.read_text(encoding="utf-8") == edited
    assert "Second" not in (folder / "faces.html").read_text(encoding="utf-8")


def test_a_folder_with_the_mark_of_an_older_version_is_replaced(folder, toy):
    old_mark = "<!-- written by animegan_helpers share -->"
    for name in ("README.md", "space/README.md"):
        text = (folder / name).read_text(encoding="utf-8")
        text = re.sub("<!--.*-->", old_mark, text)
        (folder / name).write_text(text, encoding="utf-8")
    export.write(folder, toy[0], directions=toy[1], title="Second")
    assert "# Second" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_created_is_named(toy, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(checkpoints.CheckpointError, match="file"):
        export.write(tmp_path / "file" / "out", toy[0], directions=toy[1])


# ---- the card ----


@pytest.mark.parametrize("length, steps", [({"steps": 3}, 3), ({"epochs": 2}, 8)])
def test_the_card_of_a_run_has_the_steps_that_were_made_not_those_of_the_recipe(
    length, steps, faces, tmp_path
):
    recipe = recipes.get("default", width=2, z_dim=4, batch=4, size=16)
    train(recipe, faces, tmp_path / "run", **length)
    export.write(tmp_path / "out", **export.describe(tmp_path / "run"))
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"The training took {steps} steps." in text
    assert str(recipe.steps) not in text
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # to save space
    export.write(tmp_path / "out", **export.describe(tmp_path / "run"))
    assert "steps is not known" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_card_of_a_run_that_has_not_finished_has_the_steps_of_its_newest_good_checkpoint(
    faces, tmp_path
):
    recipe = recipes.get("default", width=2, z_dim=4, batch=4, size=16)
    for steps in (2, 3):
        train(recipe, faces, tmp_path, steps=steps, resume=steps == 3)
    (tmp_path / "G.pth").unlink()
    assert export.describe(tmp_path)["facts"].steps == 3
    checkpoints.at_step(tmp_path, 3).write_bytes(b"cut")
    assert export.describe(tmp_path)["facts"].steps == 2


def test_the_card_has_data_recipe_and_measures_and_shows_samples(toy, tmp_path):
    numbers = {"FID": [3.0, 5.0], "FID (real)": [0.5, 0.7]}
    facts = Facts(recipes.get("pretrained"), 12_345, numbers, "drawn", steps=4_321)
    export.write(tmp_path, toy[0], facts, toy[1], "Mine")
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\n")
    assert "\n# Mine\n" in text
    assert "No image made by anybody else was used" in text
    assert "It was trained on 12,345 images. The training took 4,321 steps." in text
    assert "| lr_g | 0.001 |" in text
    assert "59617" not in text, "the recipe's length is a plan"
    assert "16x16 pixels" in text
    assert metrics.format_table(numbers) in text
    assert "4.00 ± 1.41" in text
    assert "dark to light, cold to warm" in text
    with Image.open(tmp_path / "samples.png") as image:
        assert image.width == 8 * (8 * 18 + 2), "each face is 128 pixels wide"


def test_the_pretrained_generators_card_says_what_was_done_after_the_training(tmp_path):
    export.write(tmp_path, **export.describe())
    text = (tmp_path / "README.md").read_text()
    assert (
        "The training took 59,617 steps. After it, the weights of the first layer were multiplied"
        " by 1.2, the factor with the lowest FID of 6. As trained, the FID was 2.23."
    ) in text


@pytest.mark.parametrize("size", [16, 32, 128])
def test_a_generator_of_another_size_is_shared_and_its_card_says_what_the_judge_saw(tmp_path, size):
    G = small_generator(width=2, z_dim=4, size=size)
    written = export.write(tmp_path, G, Facts(numbers={"FID": [3.0]}))
    assert written == export.FILES
    text = (tmp_path / "README.md").read_text()
    assert f"an anime face of {size}x{size} pixels" in text
    assert resizing_note(size) in text
    assert "64x64" in text
    with Image.open(tmp_path / "samples.png") as image:
        assert image.width >= 8 * 130, "each face is 128 pixels wide"


def test_the_card_of_64_pixels_speaks_of_no_other_size(tmp_path):
    G = small_generator(width=2, z_dim=8, size=64)
    text = cards.model_card(G, "Mine", {}, two_directions(), Facts(numbers={"FID": [3.0]}))
    assert "resized" not in text


def test_every_file_that_the_card_names_exists(folder):
    text = (folder / "README.md").read_text()
    links = re.findall(r"\]\((?!http)(.*?)\)", text)
    names = re.findall(r"^- `(.*?)`", text, flags=re.MULTILINE)
    assert links == ["samples.png"]
    assert len(names) == 3
    assert all((folder / name).is_file() for name in links + names)


def test_the_card_says_what_is_not_known(folder):
    text = (folder / "README.md").read_text()
    assert "**Unknown.**" in text
    assert "images is not known. The number of training steps is not known. The recipe was" in text
    assert "Not measured" in text
    assert "License of the weights: not chosen yet" in text


def test_the_card_of_a_public_set_links_its_page_and_says_that_nobody_was_asked(toy):
    text = cards.model_card(toy[0], "Mine", {}, toy[1], Facts(data="animefacedataset"))
    assert "https://www.kaggle.com/datasets/splcher/animefacedataset" in text
    assert "were not asked" in text


def test_a_sentence_about_the_data_is_kept(toy):
    text = cards.model_card(toy[0], "Mine", {}, toy[1], Facts(data="Faces of my own cat."))
    assert "Faces of my own cat." in text


def test_braces_in_a_title_are_kept(toy):
    assert "# {My} {title}" in cards.model_card(toy[0], "{My} {title}", {}, toy[1], Facts())


def test_the_python_code_of_the_card_works(folder, monkeypatch):
    text = (folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert names["faces"].shape == (64, 3, 16, 16)
    assert len(names["directions"]) == 2


def test_the_license_of_the_pretrained_generator_is_the_projects(toy):
    facts = export.describe()["facts"]
    project = Path(__file__).parent.parent / "LICENSE"
    assert project.read_text(encoding="utf-8").startswith("MIT License")
    text = cards.model_card(toy[0], "Mine", {}, toy[1], facts)
    assert header(text)["license"] == "mit"
    assert "License of the weights: MIT." in text
    assert "not chosen" not in text


# ---- the Space ----


def header(card: str) -> dict:
    """A card -> the fields of its header. A field is a word, a list, or a text in quotes."""
    _, lines, _ = card.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in lines.splitlines())
    return {name: json.loads(text) if text[0] == '"' else text for name, text in fields.items()}


@pytest.mark.parametrize("title", ["Mine", 'A "title": with # and {braces}', "Größe 顔"])
def test_the_folder_of_the_space_has_a_header_that_the_hub_reads(toy, tmp_path, title):
    export.write(tmp_path, toy[0], Facts(license="mit"), toy[1], title)
    fields = header((tmp_path / "space" / "README.md").read_text(encoding="utf-8"))
    assert fields["title"] == title
    assert fields["sdk"] == "static"
    assert fields["license"] == "mit"
    assert fields["pinned"] == "false"
    assert {fields["colorFrom"], fields["colorTo"]} <= COLORS
    assert len(fields["emoji"]) == 1 and not fields["emoji"].isascii()
    page = tmp_path / "space" / fields["app_file"]
    assert page.read_bytes() == (tmp_path / "faces.html").read_bytes()


COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # the Hub's


def test_the_header_is_yaml(folder):
    """The Hub parses it with a YAML parser, which MyST-NB or others may have installed here."""
    yaml = pytest.importorskip("yaml")
    for name in ("README.md", "space/README.md"):
        text = (folder / name).read_text(encoding="utf-8")
        fields = yaml.safe_load(text.split("---\n", 2)[1])
        assert "license" not in fields
        assert "License of the weights: not chosen yet" in text


def test_the_space_says_what_is_known_of_the_rights(folder, toy):
    text = (folder / "space" / "README.md").read_text(encoding="utf-8")
    assert "**Unknown.**" in text
    assert "not asked" in cards.space_card(toy[0], "Mine", Facts(data="animefacedataset"))


# ---- what is known of a generator ----


def test_the_pretrained_generator_is_described_with_its_measures():
    known = export.describe()
    facts = known["facts"]
    assert facts.recipe.name == "pretrained"
    assert facts.images == 32_768
    assert facts.data == "drawn"
    for name in ("FID", "precision, %", "recall, %"):
        assert len(facts.numbers[name]) == 3
    expected = {"width": 36, "z_dim": 128, "size": 64, "activation": "relu"}
    assert generator_arguments(known["G"]) == expected


def test_a_run_is_described_with_its_measures_if_it_was_measured(faces, tmp_path, monkeypatch):
    recipe = recipes.get("noisy-labels", width=2, z_dim=4, batch=4, size=16)
    run = tmp_path / "run"
    train(recipe, faces, run, steps=1)
    known = export.describe(run)
    assert known["facts"] == Facts(recipe, len(faces), steps=1)
    assert list(known["directions"]) == [f"direction {i}" for i in (1, 2, 3, 4)]
    expected = {"width": 2, "z_dim": 4, "size": 16, "activation": "leaky_relu"}
    assert generator_arguments(known["G"]) == expected
    (run / "measures.json").write_text('{"FID": [1.0')
    with pytest.raises(ValueError, match="measures.json is damaged .*measure the run again"):
        export.describe(run)
    (run / "measures.json").write_text('{"FID": [1.0]}')
    assert export.describe(run)["facts"].numbers == {"FID": [1.0]}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert export.describe("~/run")["facts"].numbers == {"FID": [1.0]}
    export.write("~/out", **export.describe("~/run"))
    assert "FID" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_described_can_be_written(faces, tmp_path):
    recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
    train(recipe, faces, tmp_path / "run", steps=1)
    written = export.write(tmp_path / "out", **export.describe(tmp_path / "run"))
    assert written == export.FILES


# ---- sliders ----


@pytest.mark.parametrize("size", [32, 64, 128])
def test_sliders_have_names_where_the_judge_knows_such_faces(monkeypatch, size):
    quick = partial(latent.attribute_directions, samples=200)
    monkeypatch.setattr(latent, "attribute_directions", quick)
    G, _ = load_pretrained()
    assert list(export.sliders(Resized(G, size))) == list(latent.SCALES)


@pytest.mark.parametrize("size, z_dim", [(16, 8), (32, 8), (64, 5), (128, 4)])
def test_sliders_have_numbers_where_the_judge_does_not_know_such_faces(size, z_dim):
    directions = export.sliders(small_generator(width=2, z_dim=z_dim, size=size))
    assert list(directions) == [f"direction {i + 1}" for i in range(min(8, z_dim))]
    lengths = torch.stack(list(directions.values())).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(len(directions)))


def test_sliders_have_numbers_where_faces_are_too_small_for_the_judge():
    G, _ = load_pretrained()
    assert list(export.sliders(Resized(G, 16))) == [f"direction {i + 1}" for i in range(8)]
