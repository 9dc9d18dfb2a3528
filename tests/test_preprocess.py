"""preprocess: pictures on disk become batches, and back."""

import io
import itertools
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
import torch
from PIL import Image

from animegan_helpers import download, preprocess

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def noise(seed=0, size=16):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8))


def bands(*widths, height):
    """Red, green and blue, side by side."""
    return Image.fromarray(np.repeat([[RED, GREEN, BLUE]], widths, axis=1).repeat(height, 0).astype(np.uint8))


# ---- pixels and tensors ----


def test_the_way_to_tensors_and_back_is_lossless():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    pictures = preprocess.to_tensor(pixels)
    assert pictures.dtype == torch.float32 and pictures.shape == (2, 3, 16, 16)
    assert (pictures.min(), pictures.max()) == (-1, 1)
    back = preprocess.to_pixels(pictures)
    assert back.dtype == torch.uint8 and torch.equal(back, pixels)


def test_rows_columns_and_colours_keep_their_places():
    pixels = np.zeros((1, 4, 6, 3), np.uint8)
    pixels[0, 1, 2] = (255, 0, 255)
    picture = preprocess.to_tensor(pixels)[0]
    assert picture.shape == (3, 4, 6)
    assert picture[:, 1, 2].tolist() == [1, -1, 1] and picture[:, 0, 0].tolist() == [-1, -1, -1]


def test_a_picture_outside_the_range_is_cut_to_it():
    assert preprocess.to_pixels(torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1)).flatten().tolist() == [0, 128, 255]


def test_half_precision_with_gradients_becomes_pixels_too():
    picture = torch.ones(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    assert preprocess.to_pixels(picture).unique().tolist() == [255]


# ---- one picture ----


def test_a_wide_picture_is_cut_in_the_centre():
    square = np.asarray(preprocess.to_square(bands(32, 64, 32, height=64), 64))
    assert square.shape == (64, 64, 3) and (square == GREEN).all()


def test_a_tall_picture_is_cut_in_the_centre():
    square = np.asarray(preprocess.to_square(bands(32, 64, 32, height=64).transpose(Image.Transpose.ROTATE_90), 64))
    assert square.shape == (64, 64, 3) and (square == GREEN).all()


def test_the_shorter_side_is_scaled_and_nothing_is_squeezed():
    square = np.asarray(preprocess.to_square(bands(48, 96, 48, height=128), 64)).astype(int)
    middle_row = square[32]
    assert (middle_row[12:52] == GREEN).all()  # 96 of 128 are green: 48 of 64, from 8 to 56
    assert (middle_row[:5] == RED).all() and (middle_row[-5:] == BLUE).all()


def test_a_small_picture_is_enlarged():
    assert preprocess.to_square(noise(size=10), 64).size == (64, 64)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (63, 65), (64, 64)])
def test_any_shape_becomes_square(size):
    assert preprocess.to_square(Image.new("RGB", size), 64).size == (64, 64)


def test_transparent_pixels_become_white():
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (255, 0, 0, 0))
    assert np.asarray(preprocess.to_rgb(picture)).tolist() == [[list(RED), [255, 255, 255]]]


def test_half_transparent_red_becomes_pink():
    pixel = preprocess.to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).getpixel((0, 0))
    assert pixel == pytest.approx((255, 127, 127), abs=1)


def test_a_palette_with_transparency_becomes_white_there(tmp_path):
    picture = Image.new("P", (64, 64), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(1, (0, 0, 64, 32))
    picture.save(tmp_path / "p.png", transparency=1)
    pixels = preprocess.read_picture(tmp_path / "p.png")
    assert (pixels[:32] == 255).all() and (pixels[32:] == RED).all()


@pytest.mark.parametrize("mode, colour, name, expected", [
    ("L", 100, "a.png", (100, 100, 100)),
    ("LA", (100, 255), "a.png", (100, 100, 100)),
    ("1", 1, "a.png", (255, 255, 255)),
    ("P", 0, "a.png", (0, 0, 0)),
    ("I;16", 100 * 257, "a.png", (100, 100, 100)),
    ("CMYK", (0, 255, 255, 0), "a.jpg", RED),
    ("RGBA", (0, 0, 255, 255), "a.webp", BLUE),
])  # fmt: skip
def test_other_kinds_of_picture_become_rgb(tmp_path, mode, colour, name, expected):
    Image.new(mode, (64, 64), colour).save(tmp_path / name)
    pixels = preprocess.read_picture(tmp_path / name)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 4


def test_a_turned_photo_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored left is seen at the top
    bands(32, 0, 32, height=64).save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    pixels = preprocess.read_picture(tmp_path / "turned.jpg").astype(int)
    assert np.abs(pixels[:28] - RED).max() < 30 and np.abs(pixels[36:] - BLUE).max() < 30


def test_a_cut_picture_is_not_read(tmp_path):
    noise(size=64).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(OSError):
        preprocess.read_picture(tmp_path / "a.jpg")


# ---- flips ----


def test_flips_only_mirror_and_about_half_of_the_pictures():
    pixels = torch.randint(0, 256, (400, 4, 4, 3), dtype=torch.uint8)
    flipped = preprocess.flip(pixels, torch.Generator().manual_seed(0))
    same = (flipped == pixels).all((1, 2, 3))
    mirrored = (flipped == pixels.flip(2)).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


# ---- folders and batches ----


def test_pictures_are_found_in_folders_below_in_order(tmp_path):
    for name in ("b/c/2.PNG", "a.jpeg", "b/1.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in preprocess.find_pictures(tmp_path)]
    assert names == ["a.jpeg", "b/1.webp", "b/c/2.PNG"]


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_pictures_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / name)):
        preprocess.find_pictures(tmp_path / name)


def first(count, *arguments):
    return list(itertools.islice(preprocess.BatchOrder(*arguments), count))


def test_every_epoch_shows_each_picture_once_in_another_order():
    epochs = np.reshape(first(9, 12, 4), (3, 12))
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3


def test_what_is_left_of_an_epoch_makes_no_small_batch():
    epochs = first(6, 14, 4)
    assert all(len(set(itertools.chain(*epochs[i : i + 3]))) == 12 for i in (0, 3))


def test_another_seed_gives_another_order_and_the_same_seed_the_same():
    assert first(3, 12, 4, 1) == first(3, 12, 4, 1) != first(3, 12, 4, 2)


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_the_order_goes_on_where_it_was_cut(start):
    assert first(4, 12, 4, 0, start) == first(start + 4, 12, 4, 0)[start:]


def test_fewer_pictures_than_a_batch_are_told():
    with pytest.raises(ValueError, match="3 pictures are fewer than one batch of 4"):
        preprocess.BatchOrder(3, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_where_they_were_cut_with_workers_too(faces, workers):
    def take(count, **named):
        batches = iter(preprocess.batches(faces, 4, seed=5, **named))
        return [next(batches) for _ in range(count)]

    whole, rest = take(7), take(2, start=5, workers=workers)
    assert whole[0].shape == (4, 16, 16, 3) and whole[0].dtype == torch.uint8
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], rest))
    assert not torch.equal(whole[0], whole[4]), "the second epoch has another order"


def test_a_lazy_batch_opens_its_own_pictures_and_no_other(drawn_folder, monkeypatch):
    opened, read = [], preprocess.read_picture
    monkeypatch.setattr(preprocess, "read_picture", lambda path, size: opened.append(path) or read(path, size))
    lazy = preprocess.PictureFolder(drawn_folder)
    assert len(lazy) == 12 and opened == []
    for rows, batch in zip(preprocess.BatchOrder(12, 4), itertools.islice(preprocess.batches(lazy, 4), 3)):
        assert opened == [lazy.paths[row] for row in rows] and batch.shape == (4, 64, 64, 3)
        opened.clear()


def test_lazy_and_prepared_give_the_same_pixels(drawn_folder, tmp_path):
    lazy, prepared = preprocess.PictureFolder(drawn_folder, 32), preprocess.prepare(drawn_folder, tmp_path, 32)
    for one, other in itertools.islice(zip(preprocess.batches(lazy, 4), preprocess.batches(prepared, 4)), 4):
        assert torch.equal(one, other)


# ---- preparing ----


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    """230 pictures: 2 can't be read, 2 are copies, 3 are not RGB; never to be written to."""
    folder = tmp_path_factory.mktemp("mixed")
    for i in range(223):
        noise(i).save(folder / f"{i:03d}.png")
    for i, mode in enumerate(("L", "RGBA", "CMYK")):
        noise(i).convert(mode).save(folder / f"kind{i}.{'jpg' if mode == 'CMYK' else 'png'}")
    (folder / "deep").mkdir()
    for name in ("deep/copy.png", "zcopy.png"):
        shutil.copy(folder / "007.png", folder / name)
    (folder / "text.jpg").write_text("I am not a picture")
    noise(size=64).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:2000])
    (folder / "whole.jpg").unlink()
    (folder / "labels.csv").write_text("no picture either")
    return folder


def test_preparing_counts_and_names_what_it_leaves_out(mixed_folder, tmp_path):
    prepared = preprocess.prepare(mixed_folder, tmp_path / "out", 16)
    report = prepared.report
    assert (report.found, report.unique) == (230, 226)
    assert report.not_rgb == {"kind0.png": "L", "kind1.png": "RGBA", "kind2.jpg": "CMYK"} and not report.tiny
    assert set(report.unreadable) == {"text.jpg", "cut.jpg"}
    assert report.duplicates == {"deep/copy.png": "007.png", "zcopy.png": "007.png"} or report.duplicates == {
        "007.png": "deep/copy.png", "zcopy.png": "deep/copy.png"}  # fmt: skip
    assert report.sizes == {"16x16": 228}
    assert len(report.unusual) == len(set(report.unusual)) == 16 and set(report.unusual) < set(prepared.names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "faces.npy", "names.txt", "report.json", "unreadable.txt"]  # fmt: skip
    for text in ("230  pictures found", "2  can't be read", "3  are not RGB", "2  are exact copies", "226  unique"):
        assert text in str(report)


def test_the_prepared_array_holds_the_named_pictures(mixed_folder, tmp_path):
    prepared = preprocess.prepare(mixed_folder, tmp_path, 16)
    assert prepared.array.shape == (226, 16, 16, 3) and prepared.array.dtype == np.uint8
    assert isinstance(prepared.array, np.memmap) and not prepared.array.flags.writeable
    assert len(prepared) == len(prepared.names) == len(set(prepared.names)) == 226
    for row in (0, 100, 225):
        assert (prepared.array[row] == preprocess.read_picture(mixed_folder / prepared.names[row], 16)).all()


def test_a_folder_prepared_before_is_not_prepared_again_unless_it_changed(drawn_folder, tmp_path):
    folder = shutil.copytree(drawn_folder, tmp_path / "in")

    def prepare(size=16):
        preprocess.prepare(folder, tmp_path / "out", size)
        return (tmp_path / "out" / "faces.npy").stat().st_mtime_ns

    first = prepare()
    assert prepare() == first
    noise().save(folder / "images" / "000003.png")
    second = prepare()
    assert second != first
    (folder / "images" / "000004.png").unlink()
    third = prepare()
    assert third != second and len(preprocess.Prepared(tmp_path / "out")) == 11
    assert prepare(size=32) != third, "another size is another set"


def test_more_than_1_percent_unreadable_stops_and_names_one(drawn_folder, tmp_path):
    folder = shutil.copytree(drawn_folder, tmp_path / "in")
    (folder / "bad.png").write_text("no picture")
    listed = tmp_path / "out" / "unreadable.txt"
    for _ in range(2):  # and what was begun is not taken for a prepared set the next time
        with pytest.raises(ValueError, match=f"1 of 13 pictures .*bad.png.*{re.escape(str(listed))} names them all"):
            preprocess.prepare(folder, tmp_path / "out")
    assert listed.read_text() == "bad.png: it is no picture\n"
    (folder / "bad.png").unlink()
    assert len(preprocess.prepare(folder, tmp_path / "out")) == 12 and not listed.exists()


def test_what_was_not_prepared_to_its_end_is_prepared_again(drawn_folder, tmp_path):
    preprocess.prepare(drawn_folder, tmp_path, 16)
    (tmp_path / "report.json").unlink()  # it is written last
    (tmp_path / "faces.npy").write_bytes(b"cut")
    assert len(preprocess.prepare(drawn_folder, tmp_path, 16)) == 12


def test_a_set_of_an_older_version_is_prepared_again(drawn_folder, tmp_path):
    report = preprocess.prepare(drawn_folder, tmp_path, 16).report
    old = {"source": "drawn", "fingerprint": "of the old kind", "size": 16, "found": 12, "unique": 12, "not_rgb": 0}
    (tmp_path / "report.json").write_text(json.dumps(old))
    with pytest.raises(ValueError, match="holds no whole prepared set .*: prepare its pictures again"):
        preprocess.Prepared(tmp_path)
    assert preprocess.prepare(drawn_folder, tmp_path, 16).report == report


DAMAGES = {
    "cut": lambda raw: raw[: len(raw) // 2],
    "emptied": lambda raw: b"",
    "garbage": lambda raw: b"\x93\x00{[\xff" * 30,
    "a zip": lambda raw: b"PK\x03\x04" + raw,
    "another kind of text": lambda raw: b"[1, 2]",
    "a line more": lambda raw: raw + b"\nmore",
}


UNTOLD = {("faces.npy", "a line more"), ("names.txt", "a zip")}  # as many pictures and names as before


@pytest.mark.parametrize("name, damage", [
    pair for pair in itertools.product(["report.json", "names.txt", "faces.npy"], DAMAGES) if pair not in UNTOLD
])  # fmt: skip
def test_a_damaged_set_is_told_or_prepared_again(drawn_folder, tmp_path, name, damage):
    whole = preprocess.prepare(drawn_folder, tmp_path, 16)
    pixels = np.array(whole.array)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()  # a mapped file must not be cut
    (tmp_path / name).write_bytes(DAMAGES[damage](raw))
    for read in (preprocess.Prepared, lambda folder: preprocess.ready(folder, 16)):
        with pytest.raises(
            ValueError, match=f"{re.escape(str(tmp_path))} holds no whole .*: prepare its pictures again"
        ):
            read(tmp_path)
    assert (preprocess.prepare(drawn_folder, tmp_path, 16).array == pixels).all()
    assert (whole.array == pixels).all(), "what was open stays as it was"


@pytest.mark.parametrize("name", ["report.json", "names.txt", "faces.npy"])
def test_a_set_with_a_file_missing_is_told(drawn_folder, tmp_path, name):
    preprocess.prepare(drawn_folder, tmp_path, 16)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="holds no whole prepared set"):
        preprocess.ready(tmp_path, 16)


# ---- data health ----


def claiming(width, height):
    """-> a PNG of a few bytes that claims to be of this size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


UNREADABLE = {  # why, and how
    "empty": ("no picture", lambda path, i: path.write_bytes(b"")),
    "html": ("no picture", lambda path, i: path.write_text(f"<!DOCTYPE html><title>404</title>{i}")),
    "cut": ("truncated", lambda path, i: path.write_bytes(jpeg(noise(i, 64))[:-400])),
    "text": ("no picture", lambda path, i: path.write_text(f"I am text, {i}")),
    "bomb": ("decompression bomb", lambda path, i: path.write_bytes(claiming(10_000 * (1 + i % 2), 12_000 + i))),
    "link": ("link that leads to no file", lambda path, i: path.symlink_to(path.name if i % 2 else "nowhere.jpg")),
}
READABLE = {
    "cmyk": ("CMYK", lambda path, i: noise(i).convert("CMYK").save(path)),
    "deep": ("I;16B", lambda path, i: Image.fromarray(np.full((16, 16), i, np.uint16)).save(path, "PNG")),
}


def spoil(folder, count):
    """-> the names of `count` damaged files put into a folder, in the eight ways by turns: name -> way."""
    ways = {way: make for way, (_, make) in (UNREADABLE | READABLE).items()}
    names = {f"{i:03d}_{way}.jpg": way for i, way in zip(range(count), itertools.cycle(ways))}
    for i, (name, way) in enumerate(names.items()):
        ways[way](folder / name, i)
    return names


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_of_a_thousand_files_exactly_the_hundred_damaged_ones_are_told(tmp_path, no_warning):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "folder.png").mkdir(parents=True)  # no picture
    for i in range(900):
        noise(1000 + i).save(folder / f"good{i}.bmp")
    (tmp_path / "elsewhere.bmp").write_bytes((folder / "good0.bmp").read_bytes())
    (folder / "good0.bmp").unlink()
    (folder / "good0.bmp").symlink_to(tmp_path / "elsewhere.bmp")  # a link to a picture is fine
    damaged = spoil(folder, 100)
    with pytest.raises(ValueError, match="76 of 1,000 pictures .*unreadable.txt names them all"):
        preprocess.prepare(folder, out, 16)
    told = dict(line.split(": ", 1) for line in (out / "unreadable.txt").read_text().splitlines())
    assert set(told) == {name for name, way in damaged.items() if way in UNREADABLE}
    assert [name for name, reason in told.items() if UNREADABLE[damaged[name]][0] not in reason] == []
    for name in told:
        (folder / name).unlink()
    report = preprocess.prepare(folder, out, 16).report
    assert (report.found, report.unique, report.unreadable) == (924, 924, {})
    assert report.not_rgb == {name: READABLE[way][0] for name, way in damaged.items() if way in READABLE}


def test_16_bits_a_colour_are_told_too(tmp_path):
    data = zlib.compress(b"".join(b"\0" + b"\x80\x00" * 3 * 16 for _ in range(16)))
    head = b"IHDR" + struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, b"IDAT" + data)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    prepared = preprocess.prepare(tmp_path / "in", tmp_path / "out", 16)
    assert prepared.report.not_rgb == {"deep.png": "RGB;16B"} and (prepared.array == 128).all()


def test_tiny_pictures_are_kept_and_told(tmp_path):
    (tmp_path / "in").mkdir()
    for width, height in ((31, 64), (64, 31), (32, 64), (5, 5)):
        noise(size=64).crop((0, 0, width, height)).save(tmp_path / "in" / f"{width}x{height}.png")
    prepared = preprocess.prepare(tmp_path / "in", tmp_path / "out", 64)
    assert prepared.report.tiny == {"31x64.png": "31x64", "5x5.png": "5x5", "64x31.png": "64x31"} and len(prepared) == 4
    assert "3  are tiny, under half of 64 pixels (kept)" in str(prepared.report)


@pytest.mark.parametrize("first", ["0", "z"])  # data/data sorts after the pictures of data, or before them
@pytest.mark.parametrize("inner", [21, 7])
def test_a_set_that_comes_twice_is_named_whichever_half_sorts_first(tmp_path, first, inner):
    folder = tmp_path / "in"
    (folder / "data" / "data").mkdir(parents=True)
    for i in range(21):
        noise(i).save(folder / "data" / f"{first}{i}.png")
    for path in sorted((folder / "data").glob("*.png"))[:inner]:
        shutil.copy(path, folder / "data" / "data")
    report = preprocess.prepare(folder, tmp_path / "out", 16).report
    assert (report.found, report.unique, len(report.duplicates)) == (21 + inner, 21, inner)
    assert report.repeated == {"data/data": "data"}
    assert f"the folder data/data repeats data: {inner} of {inner} pictures" in str(report)


def test_folders_that_share_only_some_pictures_repeat_nothing(tmp_path):
    names = {"a": (0, 1, 2), "b": (2, 3), "c": (3, 4), "d": (0, 1, 2), "d/e": (2, 1)}
    for folder, seeds in names.items():
        (tmp_path / "in" / folder).mkdir(parents=True)
        for seed in seeds:
            noise(seed).save(tmp_path / "in" / folder / f"{seed}.png")
    assert preprocess.prepare(tmp_path / "in", tmp_path / "out", 16).report.repeated == {"d": "a", "d/e": "a"}


def prepared_of(pixels, tmp_path):
    (tmp_path / "in").mkdir()
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "in" / f"{i:04d}.bmp")
    return preprocess.prepare(tmp_path / "in", tmp_path / "out", pixels.shape[1])


def test_the_pictures_unlike_the_rest_are_named_the_oddest_first(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 150, (200, 16, 16, 3), np.uint8)
    pixels[17], pixels[40, :8], pixels[99, ..., 0] = 255, 30, 250  # white; half of it black; red
    unusual = preprocess.Prepared(prepared_of(pixels, tmp_path).folder).report.unusual
    assert set(unusual[:3]) == {"0017.bmp", "0040.bmp", "0099.bmp"} and len(unusual) == 16


@pytest.mark.parametrize("size", [1, 18])
def test_pictures_all_of_one_colour_are_nothing_unusual(tmp_path, size):
    report = prepared_of(np.full((150, size, size, 3), 77, np.uint8), tmp_path).report
    assert (report.unique, report.unusual) == (1, [])
    assert preprocess._unusual(np.full((150, size, size, 3), 77, np.uint8), list("a" * 150)) == []


def test_few_pictures_have_no_rest_to_be_unlike(drawn_folder, tmp_path):
    assert preprocess.prepare(drawn_folder, tmp_path, 16).report.unusual == []


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_odd_names_are_no_trouble(tmp_path):
    (tmp_path / "in").mkdir()
    for name in (b"a\nb.png", b"\xff.png", "\u2028顔\u3000.png".encode()):
        noise(len(name)).save(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
    for _ in range(2):
        prepared = preprocess.prepare(tmp_path / "in", tmp_path / "out", 16)
        assert sorted(prepared.names) == ["\\udcff.png", "a\\nb.png", "\u2028顔\u3000.png"]


def test_a_lazy_loader_goes_through_bad_files_and_warns_of_each_once(tmp_path):
    for i in range(40):
        noise(i).save(tmp_path / f"{i:03d}_good.bmp")
    damaged = spoil(tmp_path, 24)
    lazy = preprocess.PictureFolder(tmp_path, 16)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        two_epochs = list(itertools.islice(preprocess.batches(lazy, 8), 16))
    unreadable = {name for name, way in damaged.items() if way in UNREADABLE}
    assert len(warned) == len(unreadable) == 18
    assert {str(one.message).split(" ")[0] for one in warned} == unreadable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = list(itertools.islice(preprocess.batches(preprocess.PictureFolder(tmp_path, 16), 8, workers=2), 16))
    assert all(torch.equal(one, other) for one, other in zip(two_epochs, again))
    names = [path.name for path in lazy.paths]
    last = max(names.index(name) for name in unreadable)
    following = next(path for path in lazy.paths[last:] if path.name not in unreadable)
    assert (lazy[[last]][0].numpy() == preprocess.read_picture(following, 16)).all()


@pytest.mark.filterwarnings("ignore")
def test_a_lazy_loader_with_nothing_to_read_says_so(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("no picture")
    with pytest.raises(ValueError, match="neither .*1.png nor the 100 after it can be read: preprocess.prepare tells"):
        preprocess.PictureFolder(tmp_path)[[1]]


FRUGAL = """
import itertools, sys, threading, time, warnings
from animegan_helpers import preprocess

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
prepared = preprocess.prepare(*sys.argv[1:])
for batch in itertools.islice(preprocess.batches(prepared, 128), 50):
    assert batch.shape == (128, 64, 64, 3)
print(len(prepared), prepared.array.nbytes / 2**30, start, peak)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by Linux's /proc")
def test_the_whole_of_a_large_set_is_never_in_memory(tmp_path):
    folder, count = tmp_path / "in", 63_632
    folder.mkdir()
    empty, random = io.BytesIO(), np.random.default_rng(0)
    Image.new("RGB", (32, 32)).save(empty, "BMP")
    head = empty.getvalue()[:54]
    for i in range(count):
        (folder / f"{i:05d}.bmp").write_bytes(head + random.bytes(32 * 32 * 3))
    try:
        done = subprocess.run(
            [sys.executable, "-c", FRUGAL, str(folder), str(tmp_path / "out")],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    finally:
        for made in (folder, tmp_path / "out"):
            shutil.rmtree(made, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    unique, gigabytes, start, peak = map(float, done.stdout.split())
    print(
        f"{unique:.0f} pictures, {gigabytes:.2f} GB of pixels; in memory {start:.2f} GB before, {peak:.2f} GB at most"
    )
    assert unique == count and gigabytes > 0.7
    assert peak < 2 and peak - start < gigabytes / 2


def test_any_source_becomes_ready(drawn_folder, home):
    prepared = preprocess.ready(drawn_folder, 16)
    assert prepared.folder == home / "data" / "prepared" / "drawn_16"
    again = preprocess.ready(prepared.folder, 16)
    assert (again.array == prepared.array).all()
    with pytest.raises(ValueError, match="at 16 pixels, not 64"):
        preprocess.ready(prepared.folder, 64)


# ---- real faces ----


@pytest.mark.parametrize("name, found, unique", [("animefacedataset", 18_000, 14_607), ("anime-faces", 4_500, 3_996)])
def test_the_real_sets_are_found_whole_and_their_copies_left_out(name, found, unique, tmp_path):
    folder = os.environ.get("ANIMEGAN_REAL_FACES")
    if not folder:
        pytest.skip("ANIMEGAN_REAL_FACES names no folder with animefacedataset.zip and anime-faces.zip")
    pictures = download.unpack(Path(folder) / f"{name}.zip", tmp_path / name)
    report = preprocess.prepare(pictures, tmp_path / "prepared").report
    assert (report.found, report.unique, len(report.unreadable)) == (found, unique, 0)
    assert len(report.duplicates) == found - unique and len(report.unusual) == 16
    assert report.repeated == ({"data/data": "data"} if name == "anime-faces" else {})
    assert ("the folder data/data repeats data: 500 of 500 pictures" in str(report)) == (name == "anime-faces")


# ---- the standard protocols ----


@pytest.fixture(params=["prepared", "lazy"])
def either(request, drawn_folder, tmp_path):
    """The same twelve faces, prepared and read from their folder."""
    if request.param == "lazy":
        return preprocess.PictureFolder(drawn_folder, 16)
    return preprocess.prepare(drawn_folder, tmp_path / "prepared", size=16)


def test_one_face_a_slice_and_a_list_of_rows_are_what_they_are_for_every_dataset(either):
    everything = either[:]
    assert everything.shape == (12, 16, 16, 3) and everything.dtype == torch.uint8 and len(either) == 12
    assert torch.equal(either[3], everything[3]) and either[3].shape == (16, 16, 3)
    assert torch.equal(either[-1], everything[11]) and torch.equal(either[np.int64(2)], everything[2])
    assert torch.equal(either[2:5], everything[2:5]) and torch.equal(either[::4], everything[::4])
    for rows in ([7, 1, 2], range(7, 9), np.array([7, 1]), torch.tensor([7, 1, 1])):
        assert torch.equal(either[rows], everything[list(map(int, rows))])
    with pytest.raises(IndexError):
        either[12]


def test_a_plain_data_loader_and_a_subset_take_every_dataset(either):
    batches = list(torch.utils.data.DataLoader(either, batch_size=4))
    assert [tuple(batch.shape) for batch in batches] == [(4, 16, 16, 3)] * 3
    assert torch.equal(torch.cat(batches), either[:])
    part = torch.utils.data.Subset(either, [5, 0, 9])
    assert torch.equal(part[[2, 0]], either[[9, 5]])
    (shuffled,) = torch.utils.data.DataLoader(part, batch_size=3, shuffle=True)
    assert shuffled.shape == (3, 16, 16, 3)


def test_pixels_that_are_taken_out_are_copies(either):
    before = either[:]
    for taken in (either[0], either[:2], either[[0, 1]]):
        taken.zero_()
    assert torch.equal(either[:], before) and before.any()
