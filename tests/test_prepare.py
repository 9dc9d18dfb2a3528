"""prepare: a folder of images becomes one array and a report of what is in it."""

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from common import (
    NOT_RGB,
    UNREADABLE,
    encoded,
    files_in,
    noise_image,
    png_of_chunks,
    write_damaged,
    write_zip,
)
from PIL import Image

from animegan_helpers import archives, images
from animegan_helpers.dataset import Faces
from animegan_helpers.files import SYSTEM_FILES
from animegan_helpers.findings import unusual
from animegan_helpers.images import MACHINE_FAILS, read_image
from animegan_helpers.prepare import load_faces, prepare


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    """230 images: 2 can't be read, 2 are duplicates, 3 are not RGB. Read-only."""
    folder = tmp_path_factory.mktemp("mixed")
    for i in range(223):
        noise_image(i).save(folder / f"{i:03d}.png")
    noise_image(0).convert("L").save(folder / "kind0.png")
    noise_image(1).convert("RGBA").save(folder / "kind1.png")
    noise_image(2).convert("CMYK").save(folder / "kind2.jpg")
    (folder / "deep").mkdir()
    for name in ("deep/copy.png", "zcopy.png"):
        shutil.copy(folder / "007.png", folder / name)
    (folder / "text.jpg").write_text("I am not an image")
    (folder / "cut.jpg").write_bytes(encoded(noise_image(size=64), "JPEG")[:2000])
    (folder / "labels.csv").write_text("not an image either")
    return folder


# ---- what is written ----


def test_preparing_counts_and_names_what_it_leaves_out(mixed_folder, tmp_path):
    faces = prepare(mixed_folder, tmp_path / "out", 16)
    report = faces.report
    assert (report.found, report.unique) == (230, 226)
    assert report.not_rgb == {"kind0.png": "L", "kind1.png": "RGBA", "kind2.jpg": "CMYK"}
    assert not report.tiny
    assert set(report.unreadable) == {"text.jpg", "cut.jpg"}
    assert report.duplicates in (
        {"deep/copy.png": "007.png", "zcopy.png": "007.png"},
        {"007.png": "deep/copy.png", "zcopy.png": "deep/copy.png"},
    )
    assert report.sizes == {"16x16": 228}
    assert len(report.unusual) == len(set(report.unusual)) == 16
    assert set(report.unusual) < set(faces.names)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["faces.npy", "names.txt", "report.json", "unreadable.txt"]
    for text in (
        "230  images found",
        "2  can't be read",
        "3  are not RGB",
        "2  are exact duplicates",
        "226  unique images",
    ):
        assert text in str(report)


def test_the_prepared_array_holds_the_named_images(mixed_folder, tmp_path):
    faces = prepare(mixed_folder, tmp_path, 16)
    assert faces.array.shape == (226, 16, 16, 3)
    assert faces.array.dtype == np.uint8
    assert isinstance(faces.array, np.memmap)
    assert not faces.array.flags.writeable
    assert len(faces) == len(faces.names) == len(set(faces.names)) == 226
    for row in (0, 100, 225):
        assert (faces.array[row] == read_image(mixed_folder / faces.names[row], 16)).all()


def test_a_folder_prepared_before_is_not_prepared_again_unless_it_changed(drawn_folder, tmp_path):
    folder = shutil.copytree(drawn_folder, tmp_path / "in")

    def time_of_array(size=16):
        prepare(folder, tmp_path / "out", size)
        return (tmp_path / "out" / "faces.npy").stat().st_mtime_ns

    first = time_of_array()
    assert time_of_array() == first
    noise_image().save(folder / "images" / "000003.png")
    second = time_of_array()
    assert second != first
    (folder / "images" / "000004.png").unlink()
    third = time_of_array()
    assert third != second
    assert len(Faces(tmp_path / "out")) == 11
    assert time_of_array(size=32) != third, "another size is another set"


def test_more_than_1_percent_unreadable_stops_and_names_one(drawn_folder, tmp_path):
    folder = shutil.copytree(drawn_folder, tmp_path / "in")
    (folder / "bad.png").write_text("not an image")
    listed = tmp_path / "out" / "unreadable.txt"
    message = f"1 of 13 images .*bad.png.*{re.escape(str(listed))} lists them all"
    for _ in range(2):  # an unfinished set is not taken for a prepared one the next time
        with pytest.raises(ValueError, match=message):
            prepare(folder, tmp_path / "out")
    assert listed.read_text() == "bad.png: it is not an image\n"
    (folder / "bad.png").unlink()
    assert len(prepare(folder, tmp_path / "out")) == 12
    assert not listed.exists()


@pytest.mark.parametrize("name", ["report.json", "faces.npy", "names.txt"])
def test_a_set_that_is_not_whole_is_prepared_again_in_its_own_place_only(drawn_folder, home, name):
    folder = prepare(drawn_folder, size=16).folder
    (folder / name).unlink()
    assert len(prepare(drawn_folder, size=16)) == 12
    (folder / name).unlink()
    folder.rename(home / "own")
    with pytest.raises(
        FileExistsError, match="own holds .* which does not belong to a prepared set"
    ):
        prepare(drawn_folder, home / "own", 16)


@pytest.mark.parametrize("name", sorted(SYSTEM_FILES))
def test_files_of_a_file_manager_do_not_matter(drawn_folder, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"")
    assert len(prepare(drawn_folder, out, 16)) == 12
    assert not (out / name).exists()
    (out / name).write_bytes(b"")
    assert len(prepare(drawn_folder, out, 16)) == 12, "the finished set is found"
    assert (out / name).exists()


@pytest.mark.parametrize("number", sorted(MACHINE_FAILS))
def test_a_failure_of_the_machine_leaves_no_image_out(drawn_folder, tmp_path, monkeypatch, number):
    """As on a network disk that is gone for a moment."""
    builtin_open = open

    def fail(path, *arguments, **options):
        if str(path).endswith("000003.png"):
            raise OSError(number, os.strerror(number), str(path))
        return builtin_open(path, *arguments, **options)

    monkeypatch.setattr(images, "open", fail, raising=False)
    with pytest.raises(OSError, match="try again later.*000003.png"):
        prepare(drawn_folder, tmp_path / "out", 16)
    monkeypatch.undo()
    assert prepare(drawn_folder, tmp_path / "out", 16).report.unreadable == {}


def test_a_set_of_an_older_version_is_prepared_again(drawn_folder, tmp_path):
    report = prepare(drawn_folder, tmp_path, 16).report
    old = {
        "source": "drawn",
        "fingerprint": "of the old kind",
        "size": 16,
        "found": 12,
        "unique": 12,
        "not_rgb": 0,
    }
    (tmp_path / "report.json").write_text(json.dumps(old))
    message = "does not hold a complete prepared set .*: prepare its images again"
    with pytest.raises(ValueError, match=message):
        Faces(tmp_path)
    assert prepare(drawn_folder, tmp_path, 16).report == report


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_odd_names_are_no_trouble(tmp_path):
    (tmp_path / "in").mkdir()
    for name in (b"a\nb.png", b"\xff.png", "\u2028顔\u3000.png".encode()):
        noise_image(len(name)).save(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
    for _ in range(2):
        faces = prepare(tmp_path / "in", tmp_path / "out", 16)
        assert sorted(faces.names) == ["\\udcff.png", "a\\nb.png", "\u2028顔\u3000.png"]


# ---- damaged and unusual files ----


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def thousand(tmp_path):
    """A folder of 900 good files and 100 unusual ones. -> the folder, and name: kind of these."""
    folder = tmp_path / "in"
    (folder / "folder.png").mkdir(parents=True)  # not an image
    for i in range(900):
        noise_image(1000 + i).save(folder / f"good{i}.bmp")
    (tmp_path / "elsewhere.bmp").write_bytes((folder / "good0.bmp").read_bytes())
    (folder / "good0.bmp").unlink()
    (folder / "good0.bmp").symlink_to(tmp_path / "elsewhere.bmp")  # a link to an image is fine
    return folder, write_damaged(folder, 100)


def test_exactly_the_damaged_ones_of_a_thousand_files_are_reported(thousand, tmp_path, no_warning):
    folder, kinds = thousand
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="76 of 1,000 images .*unreadable.txt lists them all"):
        prepare(folder, out, 16)
    lines = (out / "unreadable.txt").read_text().splitlines()
    reasons = dict(line.split(": ", 1) for line in lines)
    assert set(reasons) == {name for name, kind in kinds.items() if kind in UNREADABLE}
    for name, reason in reasons.items():
        expected, _ = UNREADABLE[kinds[name]]
        assert expected in reason
        (folder / name).unlink()
    report = prepare(folder, out, 16).report
    assert (report.found, report.unique, report.unreadable) == (924, 924, {})
    modes = {name: NOT_RGB[kind][0] for name, kind in kinds.items() if kind in NOT_RGB}
    assert report.not_rgb == modes


def test_16_bits_per_channel_are_reported_too(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x80\x00" * 3 * 16 for _ in range(16))
    (tmp_path / "in").mkdir()
    png = png_of_chunks(header, b"IDAT" + zlib.compress(rows))
    (tmp_path / "in" / "deep.png").write_bytes(png)
    faces = prepare(tmp_path / "in", tmp_path / "out", 16)
    assert faces.report.not_rgb == {"deep.png": "RGB;16B"}
    assert (faces.array == 128).all()


def test_tiny_images_are_kept_and_reported(tmp_path):
    (tmp_path / "in").mkdir()
    for width, height in ((31, 64), (64, 31), (32, 64), (5, 5)):
        image = noise_image(size=64).crop((0, 0, width, height))
        image.save(tmp_path / "in" / f"{width}x{height}.png")
    faces = prepare(tmp_path / "in", tmp_path / "out", 64)
    tiny = {"31x64.png": "31x64", "5x5.png": "5x5", "64x31.png": "64x31"}
    assert faces.report.tiny == tiny
    assert len(faces) == 4
    assert "3  are tiny, under half of 64 pixels (kept)" in str(faces.report)


# ---- folders that come twice ----


@pytest.mark.parametrize("first", ["0", "z"])  # data/data sorts after the images of data, or before
@pytest.mark.parametrize("inner", [21, 7])
def test_a_set_that_comes_twice_is_named_whichever_half_sorts_first(tmp_path, first, inner):
    folder = tmp_path / "in"
    (folder / "data" / "data").mkdir(parents=True)
    for i in range(21):
        noise_image(i).save(folder / "data" / f"{first}{i}.png")
    for path in sorted((folder / "data").glob("*.png"))[:inner]:
        shutil.copy(path, folder / "data" / "data")
    report = prepare(folder, tmp_path / "out", 16).report
    assert (report.found, report.unique, len(report.duplicates)) == (21 + inner, 21, inner)
    assert report.repeated == {"data/data": "data"}
    line = f"the folder data/data repeats data: all its {inner} images"
    assert line in str(report)


def test_folders_that_share_only_some_images_repeat_nothing(tmp_path):
    seeds = {"a": (0, 1, 2), "b": (2, 3), "c": (3, 4), "d": (0, 1, 2), "d/e": (2, 1)}
    for folder in seeds:
        (tmp_path / "in" / folder).mkdir(parents=True)
        for seed in seeds[folder]:
            noise_image(seed).save(tmp_path / "in" / folder / f"{seed}.png")
    report = prepare(tmp_path / "in", tmp_path / "out", 16).report
    assert report.repeated == {"d": "a", "d/e": "a"}


# ---- unusual images ----


def prepared_from(pixels, tmp_path):
    (tmp_path / "in").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "in" / f"{i:04d}.bmp")
    return prepare(tmp_path / "in", tmp_path / "out", pixels.shape[1])


def test_the_most_unusual_images_are_named_first(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 150, (200, 16, 16, 3), np.uint8)
    pixels[17] = 255  # white
    pixels[40, :8] = 30  # half of it black
    pixels[99, ..., 0] = 250  # red
    prepared_from(pixels, tmp_path)
    unusual = Faces(tmp_path / "out").report.unusual
    assert set(unusual[:3]) == {"0017.bmp", "0040.bmp", "0099.bmp"}
    assert len(unusual) == 16


@pytest.mark.parametrize("size", [1, 18])
def test_no_image_is_unusual_where_all_have_one_color(tmp_path, size):
    pixels = np.full((150, size, size, 3), 77, np.uint8)
    report = prepared_from(pixels, tmp_path).report
    assert (report.unique, report.unusual) == (1, [])
    assert unusual(pixels, ["a"] * 150) == []


def test_in_a_small_set_no_image_is_unusual(drawn_folder, tmp_path):
    assert prepare(drawn_folder, tmp_path, 16).report.unusual == []


# ---- memory ----


MEASURE_MEMORY = """
import itertools, sys, threading, time
from animegan_helpers.dataset import batches
from animegan_helpers.prepare import prepare

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 2**20

peak = start = resident()
def watch():
    global peak
    while True:
        peak = max(peak, resident())
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
faces = prepare(*sys.argv[1:])
for batch in itertools.islice(batches(faces, 128), 50):
    assert batch.shape == (128, 64, 64, 3)
print(len(faces), faces.array.nbytes / 2**30, start, peak)
"""


def write_large_set(folder, count):
    """Random images of 32x32, written as fast as bytes can be."""
    folder.mkdir()
    random = np.random.default_rng(0)
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "BMP")
    header = file.getvalue()[:54]
    for i in range(count):
        (folder / f"{i:05d}.bmp").write_bytes(header + random.bytes(32 * 32 * 3))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.slow
def test_a_large_set_is_never_in_memory_as_a_whole(tmp_path):
    folder = tmp_path / "in"
    out = tmp_path / "out"
    count = 63_632
    write_large_set(folder, count)
    command = [sys.executable, "-c", MEASURE_MEMORY, str(folder), str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    unique, gigabytes, start, peak = (float(number) for number in done.stdout.split())
    print(f"{unique:.0f} images, {gigabytes:.2f} GB of pixels")
    print(f"in memory: {start:.2f} GB before, {peak:.2f} GB at most")
    assert unique == count
    assert gigabytes > 0.7
    assert peak < 2
    assert peak - start < gigabytes / 2


# ---- any source becomes faces ----


def test_any_source_becomes_faces(drawn_folder, home):
    faces = load_faces(drawn_folder, 16)
    assert faces.folder.parent == home / "data" / "prepared"
    assert faces.folder.name.startswith("drawn_16")
    again = load_faces(faces.folder, 16)
    assert (again.array == faces.array).all()
    with pytest.raises(ValueError, match="drawn_16.* was prepared at 16 pixels, not 64"):
        load_faces(faces.folder, 64)


def test_a_zip_becomes_faces(home):
    write_zip(home / "set.zip", {"a.png": encoded(noise_image())})
    faces = load_faces("set.zip", 16)
    assert faces.folder == home / "data" / "prepared" / "set_16"
    assert (faces.array[0] == np.asarray(noise_image())).all()


def test_a_prepared_set_can_be_named_in_every_way(drawn_folder, home, monkeypatch):
    pixels = prepare(drawn_folder, home / "set", 16).array
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for source in ("set", "~/set", home / "set"):
        assert (load_faces(source, 16).array == pixels).all()
    for name in ("set", "~/set", str(home / "set")):
        monkeypatch.setenv("ANIMEGAN_DATA", name)
        assert (load_faces(size=16).array == pixels).all()
        with pytest.raises(ValueError, match="set was prepared at 16 pixels, not 64"):
            load_faces()
    monkeypatch.delenv("ANIMEGAN_DATA")
    (home / "data" / "runs").mkdir(parents=True)
    (home / "data" / "runs" / "chosen.txt").write_text(str(home / "set"))
    assert (load_faces(size=16).array == pixels).all()


# ---- real faces ----


@pytest.mark.parametrize(
    "name, found, unique", [("animefacedataset", 18_000, 14_607), ("anime-faces", 4_500, 3_996)]
)
def test_real_sets_are_found_complete_and_their_duplicates_left_out(name, found, unique, tmp_path):
    folder = os.environ.get("ANIMEGAN_REAL_FACES")
    if not folder:
        pytest.skip("ANIMEGAN_REAL_FACES does not name the folder of the two zips")
    images = archives.unpack(Path(folder) / f"{name}.zip", tmp_path / name)
    report = prepare(images, tmp_path / "prepared").report
    assert (report.found, report.unique, len(report.unreadable)) == (found, unique, 0)
    assert len(report.duplicates) == found - unique
    assert len(report.unusual) == 16
    line = "the folder data/data repeats data: all its 500 images"
    if name == "anime-faces":
        assert report.repeated == {"data/data": "data"}
        assert line in str(report)
    else:
        assert report.repeated == {}
        assert line not in str(report)


# ---- what stays as it is ----


@pytest.mark.parametrize("name", ["report.json", "faces.npy", "names.txt", "notes.txt", "a/b.png"])
def test_a_folder_with_files_of_others_is_not_prepared_into(name, drawn_folder, tmp_path):
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}')
    foreign = f"own holds {Path(name).parts[0]}, which does not belong"
    with pytest.raises(FileExistsError, match=foreign):
        prepare(drawn_folder, tmp_path / "own", 16)
    assert path.read_text() == '{"mine": 1}'
    assert files_in(tmp_path) == [f"own/{name}"]


def test_a_file_is_not_prepared_into(drawn_folder, tmp_path):
    (tmp_path / "own").write_text("mine")
    with pytest.raises(FileExistsError, match="own is a file"):
        prepare(drawn_folder, tmp_path / "own", 16)


def test_another_prepared_set_is_replaced_and_one_in_use_stays_readable(drawn_folder, tmp_path):
    earlier = prepare(drawn_folder, tmp_path / "out", 16)
    pixels = np.array(earlier.array)
    later = prepare(drawn_folder, tmp_path / "out", 32)
    assert later.report.size == 32
    assert (np.asarray(earlier.array) == pixels).all()


def test_a_set_that_fails_leaves_the_one_before(drawn_folder, tmp_path):
    prepare(drawn_folder, tmp_path / "out", 16)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1 of 1 images in bad can't be read"):
        prepare(tmp_path / "bad", tmp_path / "out", 16)
    assert len(prepare(drawn_folder, tmp_path / "out", 16)) == 12
    assert (tmp_path / "out" / "unreadable.txt").exists()


def test_two_folders_of_the_same_name_are_prepared_apart(home):
    sets = []
    for i, parent in enumerate(("one", "two")):
        (home / parent / "faces").mkdir(parents=True)
        noise_image(i).save(home / parent / "faces" / "a.png")
        sets.append(prepare(home / parent / "faces", size=16))
    assert sets[0].folder != sets[1].folder
    for i, parent in enumerate(("one", "two")):
        again = prepare(home / parent / "faces", size=16)
        assert (again.array[0] == np.asarray(noise_image(i))).all()
        assert again.folder == sets[i].folder


def test_two_zips_of_the_same_name_become_two_sets(home):
    for i, parent in enumerate(("one", "two")):
        (home / parent).mkdir()
        write_zip(home / parent / "faces.zip", {"a.png": encoded(noise_image(i))})
    for _ in range(2):
        for i, parent in enumerate(("one", "two")):
            faces = load_faces(home / parent / "faces.zip", 16)
            assert (faces.array[0] == np.asarray(noise_image(i))).all()
    assert len(list((home / "data").glob("faces*"))) == 2
