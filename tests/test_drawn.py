"""drawn: a seed becomes a synthetic anime face, with its attributes."""

import collections
import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from animegan_helpers import drawn

PLAIN = drawn.attributes(0, 0) | {
    "hair_color": "brown",
    "hair_length": "long",
    "hair_style": "straight",
    "eye_color": "blue",
    "eyes": "open",
    "eye_shape": "round",
    "mouth": "smile",
    "skin": "light",
    "accessory": "none",
    "tilt": 0.0,
    "scale": 1.0,
    "x": 0.0,
    "y": 0.0,
}


def pixels(face, size=64):
    return np.asarray(drawn.draw(face, size)).astype(int)


def difference(one, other):
    """Two faces -> (64, 64), how much each pixel differs in the channel that differs most."""
    return abs(pixels(one) - pixels(other)).max(-1)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def run_python(code, *arguments, **environment):
    """Run code in another process that finds the package; -> what it prints."""
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return process.stdout


def test_the_same_seed_gives_the_same_face_in_another_process_too():
    code = """
from hashlib import sha256
from animegan_helpers import drawn
print(sha256(drawn.draw(drawn.attributes(3, 5)).tobytes()).hexdigest())
"""
    face = drawn.draw(drawn.attributes(3, 5)).tobytes()
    assert face == drawn.draw(drawn.attributes(3, 5)).tobytes()
    for salt in ("1", "2"):
        assert run_python(code, PYTHONHASHSEED=salt).strip() == sha256(face).hexdigest()


def test_attributes_are_those_of_the_first_release():
    """Python draws the same numbers from a seed on every machine, so a hash can be compared."""
    faces = [drawn.attributes(seed, index) for seed in (0, 1, 7) for index in range(200)]
    digest = sha256(repr(faces).encode()).hexdigest()
    assert digest == "e537061e50da2e5f3fc297a6dc18f97649724ca06d6b73bb29880c3ab4d54df1"


def test_faces_look_as_in_the_first_release():
    """Mean red, green and blue. Other versions of Pillow may differ by a little."""
    means = [pixels(drawn.attributes(0, index)).mean((0, 1)) for index in range(4)]
    expected = [
        (181.1, 134.8, 156.6),
        (180.4, 203.4, 173.7),
        (206.5, 141.9, 109.9),
        (112.0, 160.5, 127.2),
    ]
    assert np.allclose(means, expected, atol=1)


def test_the_names_that_seed_the_parts_of_a_face_keep_their_spelling(monkeypatch):
    """Another spelling ("hair color") would change every face that was ever drawn."""
    seeded = set()
    rng = drawn._Pen.rng

    def recording(pen, part):
        seeded.add(part)
        return rng(pen, part)

    monkeypatch.setattr(drawn._Pen, "rng", recording)
    for eyes in drawn.ATTRIBUTES["eyes"]:
        drawn.draw(PLAIN | {"eyes": eyes})
    parts = "accessory back background brows clothes fringe front lids side skin slopes".split()
    assert seeded == {"hair colour", "eye colour", *parts}


def test_other_seeds_and_other_indices_give_other_faces():
    keys = [(seed, index) for seed in (0, 1) for index in (0, 1)]
    faces = {drawn.draw(drawn.attributes(*key)).tobytes() for key in keys}
    assert len(faces) == 4


def test_faces_have_every_attribute_in_its_proportion_and_its_range():
    faces = [drawn.attributes(0, index) for index in range(3000)]
    for name, values in drawn.ATTRIBUTES.items():
        counts = collections.Counter(face[name] for face in faces)
        assert set(counts) == set(values)
        first = drawn.FIRST.get(name, 1 / len(values))
        assert abs(counts[values[0]] / 3000 - first) < 0.04
        assert min(counts.values()) > 3000 * (1 - first) / (len(values) - 1) * 0.7
    assert all(-15 <= face["tilt"] <= 15 for face in faces)
    assert all(0.9 <= face["scale"] <= 1.12 for face in faces)


@pytest.mark.parametrize("name", drawn.ATTRIBUTES)
def test_every_value_gives_another_image(name):
    images = [pixels(PLAIN | {name: value}) for value in drawn.ATTRIBUTES[name]]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert (abs(one - other).max(-1) > 20).sum() >= 8


@pytest.mark.parametrize(
    "name, value", [("tilt", 12.0), ("scale", 1.1), ("x", 2.0), ("y", -1.5), ("seed", 1)]
)
def test_every_number_changes_the_image(name, value):
    assert (difference(PLAIN, PLAIN | {name: value}) > 40).mean() > 0.02


def test_no_style_or_length_hides_the_open_eyes():
    for style in drawn.ATTRIBUTES["hair_style"]:
        for length in drawn.ATTRIBUTES["hair_length"]:
            face = PLAIN | {"hair_style": style, "hair_length": length}
            changed = difference(face | {"eye_color": "gold"}, face) > 40
            assert changed[:, :32].sum() > 15 and changed[:, 32:].sum() > 15


def test_another_hair_color_changes_nothing_but_the_hair():
    same = difference(PLAIN, PLAIN | {"hair_color": "blue"}) == 0
    assert same[36:41, 21:25].all() and same[36:41, 39:43].all()  # the eyes
    assert same[46:51, 28:36].all()  # mouth and chin
    assert same[:6, :6].all()  # the background
    assert not same[8:24, 24:40].any()  # the hair


def test_a_tilted_head_leaves_no_empty_corner():
    for tilt in (-15, 15):
        for scale in (0.92, 1.12):
            image = pixels(PLAIN | {"tilt": tilt, "scale": scale})
            corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners.max(-1).min() > 20


@pytest.mark.parametrize("size", [16, 32, 64, 100, 128])
def test_an_image_of_any_size_shows_the_same_face(size):
    image = drawn.draw(PLAIN, size)
    assert image.size == (size, size) and image.mode == "RGB"
    small, expected = (
        np.asarray(one.resize((16, 16), Image.Resampling.BOX)).astype(int)
        for one in (image, drawn.draw(PLAIN, 64))
    )
    assert abs(small - expected).mean() < 8


def test_an_unknown_value_is_named_with_the_allowed_ones():
    with pytest.raises(ValueError, match="hair_color is 'plaid'.*'black'.*'green'"):
        drawn.draw(PLAIN | {"hair_color": "plaid"})
    with pytest.raises(ValueError, match="'tilt' is missing"):
        drawn.draw({name: value for name, value in PLAIN.items() if name != "tilt"})
    with pytest.raises(ValueError, match="size is 8"):
        drawn.draw(PLAIN, 8)


def test_labels_are_read_back_as_they_were_written(tmp_path):
    folder = drawn.write(tmp_path / "deep" / "faces", 5, seed=4, workers=1)
    assert folder == tmp_path / "deep" / "faces"
    files = [f"images/{i:06d}.png" for i in range(5)]
    assert names(folder) == ["images", *files, "labels.csv"]
    rows = drawn.read_labels(folder)
    assert rows == [{"file": f"{i:06d}.png", **drawn.attributes(4, i)} for i in range(5)]
    for row in rows:
        assert Image.open(folder / "images" / row["file"]).tobytes() == drawn.draw(row).tobytes()


def test_a_larger_set_begins_with_the_smaller_one_with_any_number_of_workers(tmp_path):
    small = drawn.write(tmp_path / "small", 8, size=16, workers=1)
    large = drawn.write(tmp_path / "large", 70, size=16, workers=2)
    assert drawn.read_labels(large)[:8] == drawn.read_labels(small)
    assert len(drawn.read_labels(large)) == len(list((large / "images").iterdir())) == 70
    for path in (small / "images").iterdir():
        assert path.read_bytes() == (large / "images" / path.name).read_bytes()


def test_workers_may_be_started_by_spawn(tmp_path):
    code = """
import multiprocessing, sys
multiprocessing.set_start_method("spawn")
from animegan_helpers import drawn
drawn.write(sys.argv[1], 60, size=16, workers=2)
"""
    run_python(code, str(tmp_path / "faces"))
    assert len(drawn.read_labels(tmp_path / "faces")) == 60


def test_a_set_has_at_least_one_face(tmp_path):
    with pytest.raises(ValueError, match="count is 0"):
        drawn.write(tmp_path / "faces", 0)
    assert names(tmp_path) == []


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"faces exists and is not empty") as error:
        drawn.write(tmp_path / "faces", 2)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["faces", "faces/mine.txt"]


def test_a_folder_that_only_a_file_manager_has_written_to_counts_as_empty(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / ".DS_Store").write_bytes(b"")
    drawn.write(tmp_path / "faces", 2, workers=1)
    assert len(drawn.read_labels(tmp_path / "faces")) == 2


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "faces").mkdir()
    assert len(drawn.read_labels(drawn.write(tmp_path / "faces", 2, workers=1))) == 2


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_is_left_behind_when_drawing_fails_midway(tmp_path, monkeypatch, error):
    draw = drawn.draw
    calls = []

    def failing(face, size):
        calls.append(face)
        if len(calls) == 3:
            # it works in a hidden folder
            assert any(path.name.startswith(".") for path in tmp_path.iterdir())
            raise error
        return draw(face, size)

    monkeypatch.setattr(drawn, "draw", failing)
    with pytest.raises(type(error)):
        drawn.write(tmp_path / "faces", 5, workers=1)
    assert names(tmp_path) == []


class CountingPool:
    """A pool that works in this process, and refuses what Windows refuses."""

    sizes = []

    def __init__(self, max_workers):
        if max_workers > 61:
            raise ValueError("max_workers must be <= 61")
        self.sizes.append(max_workers)
        self.map = map

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize(
    "cpus, workers, used", [(64, None, 61), (2, None, 2), (2, 100, 61), (96, 3, 3)]
)
def test_no_more_processes_are_started_than_windows_can_wait_for(
    cpus, workers, used, tmp_path, monkeypatch
):
    monkeypatch.setattr(drawn, "cpu_count", lambda: cpus)
    monkeypatch.setattr(drawn, "ProcessPoolExecutor", CountingPool)
    monkeypatch.setattr(drawn, "_write_chunk", lambda *arguments: [])
    monkeypatch.setattr(CountingPool, "sizes", [])
    drawn.write(tmp_path / "faces", 4000, workers=workers)
    assert CountingPool.sizes == [used]
