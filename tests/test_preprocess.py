"""preprocess: pictures on disk become batches, and back."""

import itertools
import os
import shutil
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
    assert (report.found, report.unique, report.not_rgb) == (230, 226, 3)
    assert set(report.unreadable) == {"text.jpg", "cut.jpg"}
    assert report.duplicates == {"deep/copy.png": "007.png", "zcopy.png": "007.png"} or report.duplicates == {
        "007.png": "deep/copy.png", "zcopy.png": "deep/copy.png"}  # fmt: skip
    assert report.sizes == {"16x16": 228}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["faces.npy", "names.txt", "report.json"]
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
    for _ in range(2):  # and what was begun is not taken for a prepared set the next time
        with pytest.raises(ValueError, match="1 of 13 pictures .*bad.png"):
            preprocess.prepare(folder, tmp_path / "out")


def test_what_was_not_prepared_to_its_end_is_prepared_again(drawn_folder, tmp_path):
    preprocess.prepare(drawn_folder, tmp_path, 16)
    (tmp_path / "report.json").unlink()  # it is written last
    (tmp_path / "faces.npy").write_bytes(b"cut")
    assert len(preprocess.prepare(drawn_folder, tmp_path, 16)) == 12


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
    assert len(report.duplicates) == found - unique
