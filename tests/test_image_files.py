"""image_files: which files are images, by one rule for folders, zips and downloads."""

import os
import shutil
import zipfile

import pytest
from common import encoded, noise_image, write_broken_link
from PIL import features

from animegan_helpers import archives
from animegan_helpers.image_files import find_images, holds_images, select_in_folder
from animegan_helpers.prepare import prepare

APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f532058")
links = pytest.mark.skipif(os.name == "nt", reason="Windows seldom allows links")


def write(folder, files):
    """Names and contents -> files in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def as_zip(folder, path):
    """A folder -> a zip of all that is in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def names_in(folder):
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


# ---- what is found, in folders and zips alike ----


MIXED = {
    "a.jpg": encoded(noise_image(1), "JPEG"),
    "._a.jpg": APPLE_DOUBLE,
    "deep/er/b.png": encoded(noise_image(2)),
    "deep/.c.png": encoded(noise_image(3)),
    ".thumbnails/d.png": encoded(noise_image(4)),
    "__MACOSX/e.jpg": APPLE_DOUBLE,
    "@eaDir/f.png": encoded(noise_image(5)),
    "notes.txt": b"no image",
    "labels.csv": b"file",
    "empty.jpg": b"",
    "run/recipe.json": b"{}",
    "run/history.jsonl": b"",
    "run/grids/step_00000016.png": encoded(noise_image(6)),
    "shared/generator.safetensors": b"",
    "shared/faces.html": b"",
    "shared/samples.png": encoded(noise_image(7)),
}


def test_a_folder_a_zip_and_a_download_hold_the_same_images(home):
    folder = write(home / "set", MIXED)
    expected = ["a.jpg", "deep/er/b.png", "empty.jpg"]
    assert names_in(folder) == expected
    unpacked = archives.unpack(as_zip(folder, home / "set.zip"), home / "out")
    assert names_in(unpacked) == expected
    assert not (unpacked / "run").exists()
    assert (unpacked / "labels.csv").exists()


def test_what_is_passed_over_is_counted_by_reason(home):
    folder = write(home / "set", MIXED)
    assert select_in_folder(folder).passed_over == {
        "hidden": 5,  # three files, two folders as a whole
        "written by a run": 2,
        ".txt": 1,
    }
    (folder / "empty.jpg").unlink()
    text = str(prepare(folder, home / "out", 16).report)
    assert "2  images found in set" in text
    assert "8  other files passed over: hidden (5), written by a run (2), .txt (1)" in text


def test_forty_images_with_their_macos_companions_are_forty(tmp_path):
    for i in range(40):
        content = encoded(noise_image(i), "JPEG")
        write(tmp_path / "set", {f"{i:03d}.jpg": content, f"._{i:03d}.jpg": APPLE_DOUBLE})
    report = prepare(tmp_path / "set", tmp_path / "out", 16).report
    assert (report.found, report.unique, report.unreadable) == (40, 40, {})
    assert report.passed_over == {"hidden": 40}


CONTENTS = {
    "photo.jfif": "JPEG",
    "animation.gif": "GIF",
    "scan.tif": "TIFF",
    "scan.TIFF": "TIFF",
    "noending": "PNG",
    "photo.jpg?17": "JPEG",
    "image.2024": "WEBP",
    "image.txt": "PNG",
    "image.ppm": "PPM",
    "image.avif": "AVIF",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_an_image_is_known_by_its_content_whatever_its_name(name, home):
    if CONTENTS[name] == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    folder = write(home / "set", {name: encoded(noise_image(), CONTENTS[name])})
    assert names_in(folder) == [name]
    assert prepare(folder, home / "prepared", 16).report.unique == 1
    assert names_in(archives.unpack(as_zip(folder, home / "set.zip"), home / "out")) == [name]


@pytest.mark.parametrize("content", [b"", b"text", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_what_pillow_does_not_decode_is_passed_over(content, tmp_path):
    write(tmp_path, {"a.png": encoded(noise_image()), "b.pdf": content})
    selection = select_in_folder(tmp_path)
    assert (selection.names, selection.passed_over) == (["a.png"], {".pdf": 1})


# ---- links ----


@links
def test_links_to_class_folders_are_followed(tmp_path):
    write(tmp_path / "elsewhere", {"red/1.png": b"", "blue/2.png": b""})
    write(tmp_path / "set", {"green/3.png": b""})
    for name in ("red", "blue"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert names_in(tmp_path / "set") == ["blue/2.png", "green/3.png", "red/1.png"]


@links
@pytest.mark.parametrize("target", [".", "..", "../set", "a", "a/b", "loop"])
def test_links_that_make_a_loop_end(target, tmp_path):
    folder = write(tmp_path / "set", {"a/b/1.png": b""})
    (folder / "loop").symlink_to(target)
    (folder / "a" / "b" / "up").symlink_to(folder)
    assert names_in(folder) == ["a/b/1.png"]


@links
def test_a_folder_that_is_linked_twice_counts_once(tmp_path):
    write(tmp_path / "faces", {"1.png": b""})
    (tmp_path / "set").mkdir()
    for name in ("one", "two"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "faces")
    assert len(names_in(tmp_path / "set")) == 1


@links
def test_a_broken_link_with_the_name_of_an_image_is_reported_later(tmp_path):
    write_broken_link(tmp_path / "a.png", 0)
    write_broken_link(tmp_path / "b", 1)
    selection = select_in_folder(tmp_path)
    assert (selection.names, selection.passed_over) == (["a.png"], {"not files": 1})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_opened(tmp_path):
    write(tmp_path, {"a.png": b""})
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "c")
    assert select_in_folder(tmp_path).names == ["a.png"]


# ---- a run's own output ----


def test_a_run_inside_its_data_is_never_data(folder_with_a_run):
    folder, run = folder_with_a_run
    assert names_in(folder) == ["1.png", "2.png"]
    with pytest.raises(FileNotFoundError, match="holds no images.*written by a run"):
        find_images(run)


@pytest.fixture
def folder_with_a_run(tmp_path):
    """A folder of two images, and a run in it, with grids and finished images."""
    folder = write(tmp_path / "data", {"1.png": b"", "2.png": b""})
    run = folder / "runs" / "first"
    write(run, {"recipe.json": b"{}", "history.jsonl": b"", "faces.png": b"", "grids/0.png": b""})
    return folder, run


# ---- no images ----


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "set holds no images"),
        ({"a.txt": b"x", "b.txt": b"y"}, r"set holds no images.* \.txt \(2\)"),
        ({"IMG_1.HEIC": b"x"}, "HEIC images, as phones make them, must be converted"),
        ({"in.zip": b"PK"}, r"Passed over: \.zip \(1\)"),
    ],
)
def test_a_folder_without_images_is_named_with_what_it_holds(files, message, tmp_path):
    folder = write(tmp_path / "set", files)
    folder.mkdir(exist_ok=True)
    assert not holds_images(folder)
    with pytest.raises(FileNotFoundError, match=message):
        find_images(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="set: there is no such folder"):
        find_images(folder)
