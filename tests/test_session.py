"""session: one line says what a page works with, also what came from another machine."""

import json

import pytest

from animegan_helpers import device, download, drawn, session, sources
from animegan_helpers.checkpoints import atomic_write


def finished_run(folder, name, data="drawn"):
    """A run with nothing in it but what says that it has finished, and on what it was trained."""
    atomic_write(folder / name / "G.pth", b"")
    atomic_write(folder / name / "data.json", json.dumps({"name": data}).encode())


def test_the_line_names_the_machine_the_set_and_the_run(home):
    finished_run(home / "data/runs", "page-05", "animefacedataset")
    line = session.summary()
    assert line.startswith(str(device.pick()))
    assert "; faces: drawn; generator: your run page-05 (trained on animefacedataset)" in line


def test_a_chosen_folder_is_named_whole(home, drawn_folder):
    download.choose(drawn_folder)
    assert f"; faces: {drawn_folder.resolve()}; " in session.summary()


@pytest.mark.parametrize(
    "place, how", [("here", ""), ("colab", "mount Drive"), ("kaggle", "as an input")]
)
def test_without_a_run_the_line_says_how_to_get_one(place, how, home, monkeypatch):
    monkeypatch.setattr(device, "where", lambda: place)
    monkeypatch.setattr(device, "KAGGLE_OUTPUT", home)
    line = session.summary()
    assert "generator: the pretrained one (page 05 trains yours" in line and how in line


@pytest.fixture
def kaggle(home, monkeypatch):
    """A Kaggle session: -> its folders of outputs and of inputs, both empty."""
    monkeypatch.setattr(device, "where", lambda: "kaggle")
    monkeypatch.setattr(device, "KAGGLE_OUTPUT", home / "working")
    monkeypatch.setattr(device, "KAGGLE_INPUT", home / "input")
    return home / "working", home / "input"


@pytest.mark.parametrize("below", ["page-05-train", "notebooks/me/page-05-train"])
def test_a_run_and_a_choice_in_an_attached_output_are_found(below, kaggle):
    working, inputs = kaggle
    drawn.write(working / "data/drawn", count=4, workers=1)  # found: 4,096 take a minute
    runs = inputs / below / "data/runs"
    finished_run(runs, "page-05", "anime-faces")
    (runs / "chosen.txt").write_text("anime-faces")
    line = session.summary()
    assert "faces: anime-faces; generator: your run page-05 (trained on anime-faces)" in line
    download.choose(None)  # a choice made here comes first
    assert "faces: drawn; generator: your run page-05" in session.summary()
    assert (working / "data/runs/chosen.txt").read_text() == "drawn"


def test_the_name_of_a_public_set_is_kept_not_a_folder_of_this_machine(home, monkeypatch):
    monkeypatch.setattr(download, "get", lambda source: home / "data" / source.name)
    for name in ("anime-faces", "soumikrakshit/anime-faces"):
        download.choose(name)
        assert sources.chosen_file().read_text() == "anime-faces"
        assert sources.resolve().kind == "public"


@pytest.mark.parametrize(
    "data, source", [("drawn", "drawn"), ("anime-faces", "anime-faces"), ("mine", None)]
)
def test_the_set_of_the_newest_run_is_named_as_load_faces_takes_it(data, source, home):
    assert session.trained_on() == "drawn"  # the pretrained generator's
    finished_run(home / "data/runs", "page-05-longer", data)
    assert session.trained_on() == source
