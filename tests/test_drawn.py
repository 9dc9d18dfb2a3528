"""drawn: a seed becomes an anime face, with its attributes."""

import collections
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from animegan_helpers import drawn

PLAIN = drawn.attributes(0, 0) | {"hair_color": "brown", "hair_length": "long", "hair_style": "straight",
                                  "eye_color": "blue", "eyes": "open", "eye_shape": "round", "mouth": "smile",
                                  "skin": "light", "accessory": "none", "tilt": 0.0, "scale": 1.0, "x": 0.0, "y": 0.0}


def pixels(face, size=64):
    return np.asarray(drawn.draw(face, size)).astype(int)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_same_seed_gives_the_same_face_in_another_process_too():
    code = ("import hashlib; from animegan_helpers import drawn; "
            "print(hashlib.sha256(drawn.draw(drawn.attributes(3, 5)).tobytes()).hexdigest())")
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONHASHSEED": salt, "PYTHONPATH": os.pathsep.join(sys.path)}).stdout
            for salt in ("1", "2")}
    assert len(runs) == 1
    assert drawn.draw(drawn.attributes(3, 5)).tobytes() == drawn.draw(drawn.attributes(3, 5)).tobytes()


def test_other_seeds_and_other_indices_give_other_faces():
    faces = {drawn.draw(drawn.attributes(seed, index)).tobytes() for seed in (0, 1) for index in (0, 1)}
    assert len(faces) == 4


def test_faces_have_every_attribute_in_its_share_and_its_range():
    faces = [drawn.attributes(0, index) for index in range(3000)]
    for name, values in drawn.ATTRIBUTES.items():
        seen = collections.Counter(face[name] for face in faces)
        assert set(seen) == set(values)
        first = drawn.FIRST.get(name, 1 / len(values))
        assert abs(seen[values[0]] / 3000 - first) < .04
        assert min(seen.values()) > 3000 * (1 - first) / (len(values) - 1) * .7
    assert all(-15 <= face["tilt"] <= 15 and .9 <= face["scale"] <= 1.12 for face in faces)


@pytest.mark.parametrize("name", drawn.ATTRIBUTES)
def test_every_value_draws_another_picture(name):
    pictures = [pixels(PLAIN | {name: value}) for value in drawn.ATTRIBUTES[name]]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert (abs(one - other).max(-1) > 20).sum() >= 8


@pytest.mark.parametrize("name, value", [("tilt", 12.0), ("scale", 1.1), ("x", 2.0), ("y", -1.5), ("seed", 1)])
def test_numbers_move_the_picture(name, value):
    assert (abs(pixels(PLAIN) - pixels(PLAIN | {name: value})).max(-1) > 40).mean() > .02


def test_every_style_and_length_leaves_the_open_eyes_to_be_seen():
    for style in drawn.ATTRIBUTES["hair_style"]:
        for length in drawn.ATTRIBUTES["hair_length"]:
            face = PLAIN | {"hair_style": style, "hair_length": length}
            changed = abs(pixels(face | {"eye_color": "gold"}) - pixels(face)).max(-1) > 40
            assert changed[:, :32].sum() > 15 and changed[:, 32:].sum() > 15


def test_another_hair_colour_changes_nothing_but_the_hair():
    one, other = (pixels(PLAIN | {"hair_color": colour}) for colour in ("brown", "blue"))
    same = (one == other).all(-1)
    assert same[36:41, 21:25].all() and same[36:41, 39:43].all()       # the eyes
    assert same[46:51, 28:36].all()                                    # mouth and chin
    assert same[:6, :6].all()                                          # the background
    assert not same[8:24, 24:40].any()                                 # the hair


def test_a_tilted_head_leaves_no_empty_corner():
    for tilt in (-15, 15):
        for scale in (.92, 1.12):
            corners = pixels(PLAIN | {"tilt": tilt, "scale": scale})[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners.max(-1).min() > 20


@pytest.mark.parametrize("size", [16, 32, 64, 100, 128])
def test_the_picture_has_the_size_asked_for_and_shows_the_same_face(size):
    picture = drawn.draw(PLAIN, size)
    assert picture.size == (size, size) and picture.mode == "RGB"
    small = [np.asarray(p.resize((16, 16), Image.Resampling.BOX)).astype(int) for p in (picture, drawn.draw(PLAIN, 64))]
    assert abs(small[0] - small[1]).mean() < 8


def test_an_unknown_value_is_named_with_what_is_allowed():
    with pytest.raises(ValueError, match="hair_color is 'plaid'.*'black'.*'green'"):
        drawn.draw(PLAIN | {"hair_color": "plaid"})
    with pytest.raises(ValueError, match="'tilt' is missing"):
        drawn.draw({name: value for name, value in PLAIN.items() if name != "tilt"})
    with pytest.raises(ValueError, match="size is 8"):
        drawn.draw(PLAIN, 8)


def test_what_is_written_is_read_back(tmp_path):
    folder = drawn.write(tmp_path / "deep" / "faces", 5, seed=4, workers=1)
    assert folder == tmp_path / "deep" / "faces"
    assert names(folder) == ["images", *(f"images/{i:06d}.png" for i in range(5)), "labels.csv"]
    rows = drawn.read_labels(folder)
    assert rows == [{"file": f"{i:06d}.png", **drawn.attributes(4, i)} for i in range(5)]
    for row in rows:
        assert Image.open(folder / "images" / row["file"]).tobytes() == drawn.draw(row).tobytes()


def test_a_larger_set_begins_with_the_smaller_one_whatever_the_workers(tmp_path):
    small = drawn.write(tmp_path / "small", 8, size=16, workers=1)
    large = drawn.write(tmp_path / "large", 70, size=16, workers=2)
    assert drawn.read_labels(large)[:8] == drawn.read_labels(small)
    assert len(drawn.read_labels(large)) == len(list((large / "images").iterdir())) == 70
    for path in (small / "images").iterdir():
        assert path.read_bytes() == (large / "images" / path.name).read_bytes()


def test_workers_may_be_started_afresh(tmp_path):
    code = ("import multiprocessing, sys; multiprocessing.set_start_method('spawn'); "
            "from animegan_helpers import drawn; drawn.write(sys.argv[1], 60, size=16, workers=2)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "faces")], capture_output=True, check=True,
                   env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert len(drawn.read_labels(tmp_path / "faces")) == 60


def test_a_set_has_at_least_one_face(tmp_path):
    with pytest.raises(ValueError, match="count is 0"):
        drawn.write(tmp_path / "faces", 0)
    assert names(tmp_path) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"faces exists and is not empty") as error:
        drawn.write(tmp_path / "faces", 2)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["faces", "faces/mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "faces").mkdir()
    assert len(drawn.read_labels(drawn.write(tmp_path / "faces", 2, workers=1))) == 2


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_is_left_behind_when_drawing_fails_midway(tmp_path, monkeypatch, error):
    whole, calls = drawn.draw, []

    def failing(face, size):
        calls.append(face)
        if len(calls) == 3:
            assert any(path.name.startswith(".") for path in tmp_path.iterdir())    # it works out of sight
            raise error
        return whole(face, size)

    monkeypatch.setattr(drawn, "draw", failing)
    with pytest.raises(type(error)):
        drawn.write(tmp_path / "faces", 5, workers=1)
    assert names(tmp_path) == []
