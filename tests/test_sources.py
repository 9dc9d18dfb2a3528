"""sources: the name of a data source becomes what it is and where it is."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from common import encoded, files_in, noise_image, write_zip

from animegan_helpers import download
from animegan_helpers.sources import PUBLIC_SETS, Source, resolve


@pytest.fixture
def folder(home):
    """A folder with one image, outside `data/`."""
    (home / "mine").mkdir()
    noise_image().save(home / "mine" / "a.png")
    return home / "mine"


# ---- every kind ----


def test_synthetic_faces_are_the_default(home):
    assert resolve() == resolve("drawn") == Source("drawn", "drawn", home / "data" / "drawn")
    assert files_in(home) == [], "nothing is written"


def test_a_folder_is_named_by_a_string_or_a_path(folder):
    assert resolve(folder) == resolve(str(folder)) == Source("folder", str(folder), folder)


def test_a_file_is_an_archive(home):
    archive = write_zip(home / "set.zip", {"a.png": encoded(noise_image())})
    assert resolve(archive) == Source("archive", str(archive), archive)
    assert resolve("set.zip") == Source("archive", "set.zip", Path("set.zip"))


@pytest.mark.parametrize("name", ["anime-faces", "soumikrakshit/anime-faces"])
def test_a_public_set_is_named_as_here_or_as_on_kaggle(home, name):
    assert resolve(name) == Source("public", "anime-faces", home / "data" / "anime-faces")


@pytest.mark.parametrize("name", ["faces.npy", "report.json"])
def test_one_file_of_a_prepared_set_is_enough_to_recognize_it(folder, name):
    (folder / "a.png").unlink()
    (folder / name).write_bytes(b"")
    assert resolve(folder) == Source("prepared", str(folder), folder)


def test_a_folder_of_images_with_a_report_of_its_own_is_a_folder_of_images(folder):
    (folder / "report.json").write_bytes(b"{}")
    assert resolve(folder) == Source("folder", str(folder), folder)


def test_a_tilde_stands_for_the_home_folder(folder, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert resolve("~/mine") == Source("folder", "~/mine", folder)
    (folder / "faces.npy").write_bytes(b"")
    assert resolve("~/mine") == Source("prepared", "~/mine", folder)


# ---- which one comes first ----


def test_the_environment_names_the_default(folder, home, monkeypatch):
    monkeypatch.setenv("ANIMEGAN_DATA", str(folder))
    assert resolve() == Source("folder", str(folder), folder)
    assert resolve("drawn").kind == "drawn", "a name given by hand comes first"
    monkeypatch.setenv("ANIMEGAN_DATA", "anime-faces")
    assert resolve().kind == "public"
    (folder / "faces.npy").write_bytes(b"")
    monkeypatch.setenv("ANIMEGAN_DATA", "mine")
    assert resolve() == Source("prepared", "mine", Path("mine"))


def test_the_environment_comes_before_the_choice_that_was_kept(folder, home, monkeypatch):
    (home / "data" / "runs").mkdir(parents=True)
    (home / "data" / "runs" / "chosen.txt").write_text(str(folder))
    assert resolve() == Source("folder", str(folder), folder)
    monkeypatch.setenv("ANIMEGAN_DATA", "drawn")
    assert resolve().kind == "drawn"


def test_a_folder_with_the_name_of_a_public_set_comes_first(home):
    (home / "anime-faces").mkdir()
    with pytest.warns(UserWarning, match="anime-faces is taken as"):
        assert resolve("anime-faces") == Source("folder", "anime-faces", Path("anime-faces"))


# ---- names that can't be used ----


def test_an_unknown_name_is_reported_and_synthetic_faces_do_not_replace_it(home, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere.zip: no such folder or zip"):
        resolve("nowhere.zip")
    monkeypatch.setenv("ANIMEGAN_DATA", "elsewhere")
    with pytest.raises(FileNotFoundError, match="elsewhere: .*'drawn' for synthetic faces"):
        resolve()
    assert files_in(home) == []


def test_a_choice_whose_folder_is_gone_is_named(home):
    (home / "data" / "runs").mkdir(parents=True)
    (home / "data" / "runs" / "chosen.txt").write_text(str(home / "mine"))
    with pytest.raises(FileNotFoundError, match="mine"):
        resolve()


@pytest.mark.parametrize(
    "name",
    ["Mckinsey666/Anime-Face-Dataset", "https://github.com/Mckinsey666/Anime-Face-Dataset"],
)
def test_the_original_set_is_reported_as_withdrawn_with_the_sets_that_replace_it(name, home):
    message = "withdrawn.*2022.*'animefacedataset'.*'anime-face-dataset'"
    with pytest.raises(ValueError, match=message):
        resolve(name)


# ---- the table of public sets ----


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_every_public_set_has_a_page_and_a_pin_for_each_place(name):
    public = PUBLIC_SETS[name]
    assert public.images > 1000
    assert public.page().startswith("https://")
    assert bool(public.kaggle) == bool(public.version)
    assert bool(public.hub) == bool(public.commit)


@pytest.mark.filterwarnings("error")
def test_a_source_is_returned_as_it_is_without_another_warning(home):
    (home / "anime-faces").mkdir()
    with pytest.warns(UserWarning, match="anime-faces"):
        source = resolve("anime-faces")
    assert resolve(source) is source


# ---- names that mean two things, or nothing ----


def test_a_folder_named_drawn_is_reported(home):
    (home / "drawn").mkdir()
    with pytest.warns(UserWarning, match="'drawn' stands for the synthetic faces; .*'./drawn'"):
        assert resolve("drawn").kind == "drawn"
    assert resolve("./drawn").kind == "folder"


def test_a_file_or_folder_with_the_name_of_a_public_set_is_reported(home):
    (home / "anime-faces").mkdir()
    with pytest.warns(UserWarning, match="anime-faces is taken as .*, not as the public set"):
        assert resolve("anime-faces").kind == "folder"


@pytest.mark.filterwarnings("error")
def test_a_name_that_means_one_thing_causes_no_warning(home):
    (home / "data" / "drawn").mkdir(parents=True)
    (home / "mine").mkdir()
    for name in ("drawn", "mine", "anime-faces", "soumikrakshit/anime-faces"):
        resolve(name)


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_name_stands_for_nothing(name, home):
    with pytest.raises(ValueError, match="an empty name for the data"):
        resolve(name)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on this system")
@pytest.mark.parametrize("name", [b"\xff\xfe", "顔".encode("shift_jis"), "顔".encode()])
def test_a_folder_of_any_name_can_be_chosen(name, drawn_folder, home):
    folder = home / os.fsdecode(name)
    shutil.copytree(drawn_folder, folder)
    download.choose(folder)
    assert resolve().path == folder.resolve()
