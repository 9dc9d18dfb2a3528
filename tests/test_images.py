"""images: files become pixels and tensors, and back."""

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from common import (
    NOT_RGB,
    UNREADABLE,
    encoded,
    noise_image,
    png_of_chunks,
    png_that_claims,
    write_broken_link,
)
from PIL import Image, ImageOps

from animegan_helpers import images
from animegan_helpers.image_files import find_images
from animegan_helpers.images import (
    decompression_bombs_raise,
    flip,
    inspect_image,
    read_image,
    resize_and_crop,
    stack,
    to_pixels,
    to_rgb,
    to_tensor,
)

RED = (255, 0, 0)
GREEN = (0, 255, 0)
BLUE = (0, 0, 255)


def bands(*widths, height):
    """Red, green and blue, side by side."""
    row = np.repeat([[RED, GREEN, BLUE]], widths, axis=1)
    return Image.fromarray(row.repeat(height, 0).astype(np.uint8))


# ---- pixels and tensors ----


def test_the_way_to_tensors_and_back_is_lossless():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    images = to_tensor(pixels)
    assert images.dtype == torch.float32
    assert images.shape == (2, 3, 16, 16)
    assert (images.min(), images.max()) == (-1, 1)
    back = to_pixels(images)
    assert back.dtype == torch.uint8
    assert torch.equal(back, pixels)


def test_rows_columns_and_colors_keep_their_places():
    pixels = np.zeros((1, 4, 6, 3), np.uint8)
    pixels[0, 1, 2] = (255, 0, 255)
    image = to_tensor(pixels)[0]
    assert image.shape == (3, 4, 6)
    assert image[:, 1, 2].tolist() == [1, -1, 1]
    assert image[:, 0, 0].tolist() == [-1, -1, -1]


def test_values_outside_the_range_are_clipped():
    images = torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1)
    assert to_pixels(images).flatten().tolist() == [0, 128, 255]


def test_half_precision_with_gradients_becomes_pixels_too():
    image = torch.ones(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    assert to_pixels(image).unique().tolist() == [255]


def test_images_and_arrays_are_stacked():
    image = noise_image()
    stacked = stack([image, np.asarray(image)])
    assert stacked.shape == (2, 16, 16, 3)
    assert stacked.dtype == torch.uint8
    assert torch.equal(stacked[0], stacked[1])


# ---- one image ----


def test_a_wide_image_is_cropped_at_the_center():
    square = np.asarray(resize_and_crop(bands(32, 64, 32, height=64), 64))
    assert square.shape == (64, 64, 3)
    assert (square == GREEN).all()


def test_a_tall_image_is_cropped_at_the_center():
    tall = bands(32, 64, 32, height=64).transpose(Image.Transpose.ROTATE_90)
    square = np.asarray(resize_and_crop(tall, 64))
    assert square.shape == (64, 64, 3)
    assert (square == GREEN).all()


def test_the_shorter_side_is_scaled_and_nothing_is_squeezed():
    square = np.asarray(resize_and_crop(bands(48, 96, 48, height=128), 64)).astype(int)
    middle_row = square[32]
    assert (middle_row[12:52] == GREEN).all()  # 96 of 128 are green: 48 of 64, from 8 to 56
    assert (middle_row[:5] == RED).all()
    assert (middle_row[-5:] == BLUE).all()


def test_a_small_image_is_enlarged():
    assert resize_and_crop(noise_image(size=10), 64).size == (64, 64)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (63, 65), (64, 64)])
def test_any_shape_becomes_square(size):
    assert resize_and_crop(Image.new("RGB", size), 64).size == (64, 64)


def test_transparent_pixels_become_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    assert np.asarray(to_rgb(image)).tolist() == [[list(RED), [255, 255, 255]]]


def test_half_transparent_red_becomes_pink():
    pixel = to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).getpixel((0, 0))
    assert pixel == pytest.approx((255, 127, 127), abs=1)


def test_a_palette_with_transparency_becomes_white_there(tmp_path):
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 64, 32))
    image.save(tmp_path / "p.png", transparency=1)
    pixels = read_image(tmp_path / "p.png")
    assert (pixels[:32] == 255).all()
    assert (pixels[32:] == RED).all()


@pytest.mark.parametrize(
    "mode, color, name, expected",
    [
        ("L", 100, "a.png", (100, 100, 100)),
        ("LA", (100, 255), "a.png", (100, 100, 100)),
        ("1", 1, "a.png", (255, 255, 255)),
        ("P", 0, "a.png", (0, 0, 0)),
        ("I;16", 100 * 257, "a.png", (100, 100, 100)),
        ("CMYK", (0, 255, 255, 0), "a.jpg", RED),
        ("RGBA", (0, 0, 255, 255), "a.webp", BLUE),
    ],
)
def test_images_of_other_modes_become_rgb(tmp_path, mode, color, name, expected):
    Image.new(mode, (64, 64), color).save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 4


def test_floating_point_pixels_are_refused_and_not_made_black(tmp_path):
    Image.new("F", (64, 64), 0.5).save(tmp_path / "a.tiff")
    with pytest.raises(OSError, match="floating-point numbers: save it with 8 bits"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_the_mode_of_a_16_bit_tiff_is_a_string(tmp_path, mode):
    Image.new(mode, (64, 64), 1000).save(tmp_path / "a.tiff")
    assert inspect_image(tmp_path / "a.tiff").mode == mode


def test_a_rotated_photo_becomes_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the left of the file is the top of the image
    image = bands(32, 0, 32, height=64)
    image.save(tmp_path / "rotated.jpg", exif=exif, quality=95, subsampling=0)
    pixels = read_image(tmp_path / "rotated.jpg").astype(int)
    assert np.abs(pixels[:28] - RED).max() < 30
    assert np.abs(pixels[36:] - BLUE).max() < 30


# ---- files ----


def test_a_truncated_image_is_not_read(tmp_path):
    content = encoded(noise_image(size=64), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="a.jpg can't be read: .*truncated"):
        read_image(tmp_path / "a.jpg")


def test_an_inspection_tells_digest_mode_shape_and_pixels(tmp_path):
    path = tmp_path / "a.png"
    noise_image(size=20).convert("L").resize((20, 10)).save(path)
    image = inspect_image(path, 8)
    assert image.error == ""
    assert image.digest == hashlib.sha256(path.read_bytes()).digest()
    assert (image.mode, image.width, image.height) == ("L", 20, 10)
    assert image.pixels.shape == (8, 8, 3)
    assert (image.pixels == read_image(path, 8)).all()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_the_inspection_of_an_unreadable_file_says_why(tmp_path, kind):
    reason, write = UNREADABLE[kind]
    write(tmp_path / "a.jpg", 0)
    with decompression_bombs_raise():
        image = inspect_image(tmp_path / "a.jpg", 16)
    assert reason in image.error
    assert str(tmp_path) not in image.error
    assert image.pixels is None
    with pytest.raises(OSError, match=f"a.jpg can't be read: .*{reason}"):
        read_image(tmp_path / "a.jpg", 16)


@pytest.mark.parametrize("kind", NOT_RGB)
def test_an_inspection_names_the_mode_of_the_file(tmp_path, kind):
    mode, write = NOT_RGB[kind]
    write(tmp_path / "a.jpg", 7)
    assert inspect_image(tmp_path / "a.jpg", 16).mode == mode


def test_an_image_with_too_many_pixels_raises_where_pillow_only_warns(tmp_path):
    (tmp_path / "a.png").write_bytes(png_that_claims(10_000, 12_000))
    reason = "it has 120,000,000 pixels, more than 64 million"
    with pytest.raises(OSError, match=f"a.png can't be read: {reason}"):
        read_image(tmp_path / "a.png")


def test_images_are_found_in_all_folders_below_in_order(tmp_path):
    for name in ("b/c/2.PNG", "a.jpeg", "b/1.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert names == ["a.jpeg", "b/1.webp", "b/c/2.PNG"]


@pytest.mark.skipif(os.name == "nt", reason="Windows seldom allows links")
def test_a_broken_link_is_found_so_that_it_can_be_reported(tmp_path):
    write_broken_link(tmp_path / "a.png", 0)
    assert find_images(tmp_path) == [tmp_path / "a.png"]


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_images_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / name)):
        find_images(tmp_path / name)


# ---- flips ----


def test_flips_only_mirror_and_about_half_of_the_images():
    pixels = torch.randint(0, 256, (400, 4, 4, 3), dtype=torch.uint8)
    flipped = flip(pixels, torch.Generator().manual_seed(0))
    same = (flipped == pixels).all((1, 2, 3))
    mirrored = (flipped == pixels.flip(2)).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


# ---- metadata: broken ones never cost an image ----


def jpeg_with_exif(exif):
    """-> a JPEG whose metadata are these bytes."""
    file = io.BytesIO()
    noise_image(size=64).save(file, "JPEG", exif=exif)
    return file.getvalue()


def tiff_entries(*entries):
    """Entries (tag, type, count, value) -> the bytes of EXIF metadata."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return b"Exif\0\0" + start + table + bytes(4)


def png_with(*chunks):
    """-> a PNG of 16x16 with these chunks between its header and its pixels."""
    content = encoded(noise_image())
    parts = png_of_chunks(*chunks)[8:]
    return content[:33] + parts + content[33:]


ORIENTATION = (0x0112, 3, 1, 6)
BROKEN_METADATA = {
    "EXIF: not TIFF": lambda: jpeg_with_exif(b"Exif\0\0garbage"),
    "EXIF: outside the file": lambda: jpeg_with_exif(b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "EXIF: a tag of a wrong type": lambda: jpeg_with_exif(
        tiff_entries((0x0101, 2, 4, 0x41414141), ORIENTATION)
    ),
    "EXIF: words for an orientation": lambda: jpeg_with_exif(
        tiff_entries((0x0112, 2, 4, 0x41414141))
    ),
    "PNG: a long compressed text": lambda: png_with(
        b"zTXtprompt\0\0" + zlib.compress(bytes(5_000_000))
    ),
    "PNG: a long international text": lambda: png_with(
        b"iTXtprompt\0\1\0\0\0" + zlib.compress(bytes(5_000_000))
    ),
    "PNG: texts of 70 MB": lambda: png_with(*[b"tEXta\0" + b"x" * 7_000_000] * 10),
    "PNG: a text with a wrong checksum": lambda: png_with(b"tEXta\0b").replace(b"a\0b", b"a\0c"),
    "PNG: a huge color profile": lambda: png_with(
        b"iCCPname\0\0" + zlib.compress(bytes(70_000_000))
    ),
    "PNG: broken EXIF": lambda: png_with(b"eXIfgarbage"),
}


@pytest.mark.parametrize("kind", BROKEN_METADATA)
@pytest.mark.filterwarnings("ignore")
def test_broken_metadata_never_cost_an_image(kind, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(BROKEN_METADATA[kind]())
    image = inspect_image(path, 16)
    assert image.error == ""
    with Image.open(io.BytesIO(encoded(noise_image()))) as expected:
        if kind.startswith("PNG"):
            assert (image.pixels == np.asarray(expected)).all()


def test_an_orientation_survives_another_tag_that_is_broken(tmp_path):
    left_is_top = bands(32, 0, 32, height=64)
    broken = tiff_entries((0x0101, 2, 4, 0x41414141), ORIENTATION)
    left_is_top.save(tmp_path / "a.jpg", exif=broken, quality=95, subsampling=0)
    pixels = read_image(tmp_path / "a.jpg").astype(int)
    assert np.abs(pixels[:28] - RED).max() < 30


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(orientation, tmp_path):
    image = noise_image(size=16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        expected = ImageOps.exif_transpose(stored)
        assert (read_image(tmp_path / "a.png", 16) == np.asarray(expected)).all()


# ---- transparency that means nothing ----


def bmp_with_alpha(alpha):
    """-> a 32-bit BMP of one color, of 4x4 pixels, with a mask for alpha."""
    masks = struct.pack("<IIII", 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, 4, 1, 32, 3, 64, 0, 0, 0, 0) + masks
    header += bytes(108 - len(header))
    pixels = bytes([30, 20, 10, alpha]) * 16
    file = struct.pack("<2sIHHI", b"BM", 14 + 108 + 64, 0, 0, 14 + 108)
    return file + header + pixels


@pytest.mark.parametrize("alpha, expected", [(0, (10, 20, 30)), (255, (10, 20, 30))])
def test_a_bmp_with_an_empty_alpha_channel_is_opaque(alpha, expected, tmp_path):
    (tmp_path / "a.bmp").write_bytes(bmp_with_alpha(alpha))
    assert inspect_image(tmp_path / "a.bmp", 16).mode == "RGBA"
    assert (read_image(tmp_path / "a.bmp", 16) == expected).all()


def test_a_bmp_that_is_partly_transparent_and_an_empty_png_stay_so(tmp_path):
    content = bytearray(bmp_with_alpha(0))
    content[-1] = 255
    (tmp_path / "a.bmp").write_bytes(content)
    assert (read_image(tmp_path / "a.bmp", 16) == 255).any()
    Image.new("RGBA", (16, 16), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 16) == 255).all()


# ---- large images ----


@pytest.mark.parametrize("size", [(8001, 8000), (1, 64_000_001), (20_000, 20_000)])
def test_an_image_of_more_than_64_million_pixels_is_refused_with_its_size(size, tmp_path):
    (tmp_path / "huge.png").write_bytes(png_that_claims(*size))
    with pytest.raises(OSError, match="huge.png can't be read: it has .*64 million") as caught:
        read_image(tmp_path / "huge.png")
    numbers = re.findall(r"[\d,]+", str(caught.value))
    shown = [int(number.replace(",", "")) for number in numbers if number.strip(",")]
    assert shown[:2] == list(size) or shown[0] == size[0] * size[1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_a_large_image_has_the_pixels_of_the_same_image_read_at_once(mode, tmp_path, monkeypatch):
    smooth = Image.linear_gradient("L").resize((3000, 2100))
    image = Image.merge("RGB", (smooth, smooth.transpose(Image.Transpose.ROTATE_180), smooth))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(smooth).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    banded = read_image(tmp_path / "a.png").astype(int)
    monkeypatch.setattr(images, "LARGE", 10**9)
    whole = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(banded - whole).max() <= 3


MEMORY = """
import resource, sys
from pathlib import Path
from animegan_helpers.images import inspect_image

inspect_image(Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = inspect_image(Path(sys.argv[1]))
print(image.error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
LARGE_IMAGES = {
    "1 x 1,500,000": ("RGB", (1, 1_500_000), "png", {}),
    "1,500,000 x 1": ("RGBA", (1_500_000, 1), "png", {}),
    "8000 x 8000 with alpha": ("RGBA", (8000, 8000), "png", {"compress_level": 1}),
    "16 bits": ("I;16", (8000, 8000), "png", {"compress_level": 1}),
    "a BMP": ("RGB", (8000, 8000), "bmp", {}),
    "a TIFF": ("CMYK", (8000, 8000), "tif", {}),
    "a progressive JPEG": ("RGB", (8000, 8000), "jpg", {"progressive": True, "subsampling": 0}),
    "a WebP": ("RGB", (4000, 4000), "webp", {"method": 0}),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows can't tell the most memory of a process")
@pytest.mark.parametrize("kind", LARGE_IMAGES)
def test_no_image_needs_more_than_500_mb(kind, tmp_path):
    mode, size, suffix, options = LARGE_IMAGES[kind]
    path = tmp_path / f"large.{suffix}"
    Image.new(mode, size).save(path, **options)
    noise_image().save(tmp_path / "small.png")
    command = [sys.executable, "-c", MEMORY, path, tmp_path / "small.png"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    error, megabytes = printed.split("\n")[:2]
    assert error == ""
    assert int(megabytes) < 500
