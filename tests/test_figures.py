"""figures: images become one image with labels, a caption and alt text."""

import base64
import io

import numpy as np
import torch
from PIL import Image, ImageFont

from animegan_helpers import figures
from animegan_helpers.figures import Figure


def grays(count, size=4):
    """-> (count, size, size, 3) uint8, each image of its own gray: 10, 20, 30 ..."""
    values = np.arange(1, count + 1, dtype=np.uint8) * 10
    return values.repeat(size * size * 3).reshape(count, size, size, 3)


# ---- grids ----


def test_a_grid_shows_the_images_row_by_row_two_pixels_apart():
    page = np.asarray(figures.grid(grays(5), columns=3))
    assert page.shape == (2 * 6 + 2, 3 * 6 + 2, 3)
    for i in range(5):
        top = 2 + 6 * (i // 3)
        left = 2 + 6 * (i % 3)
        assert (page[top : top + 4, left : left + 4] == 10 * (i + 1)).all()
    assert (page[:2] == 255).all(), "the border"
    assert (page[6:8] == 255).all(), "between two rows"
    assert (page[8:, 14:] == 255).all(), "where the sixth image would be"


def test_without_a_number_of_columns_a_grid_is_about_a_square():
    assert figures.grid(grays(9)).size == (20, 20)
    assert figures.grid(grays(5)).size == (20, 14)
    assert figures.grid(grays(1)).size == (8, 8)


def test_tensors_give_the_same_grid_as_pixels():
    pixels = grays(4)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = figures.grid(pixels).tobytes()
    assert figures.grid(images).tobytes() == expected
    assert figures.grid(torch.from_numpy(pixels)).tobytes() == expected
    assert figures.grid(images.numpy()).tobytes() == expected
    assert figures.grid(images.double().numpy()).tobytes() == expected


def test_zoom_turns_each_pixel_into_a_square():
    small = np.asarray(figures.grid(grays(4)))
    large = np.asarray(figures.grid(grays(4), zoom=3))
    assert large.shape == (42, 42, 3)
    for down in range(3):
        for right in range(3):
            assert (large[down::3, right::3] == small).all()


# ---- rows ----


def test_a_row_may_be_wider_than_the_first():
    rows = [figures.grid(grays(1, 40)), figures.grid(grays(3, 40), columns=3)]
    page = np.asarray(figures.label_rows(rows, ["a", "b"]))
    assert (page[44:, -42:-2] == 30).all(axis=2).any(), "the third image of the second row"


def test_each_label_of_a_column_is_above_its_image():
    row = figures.grid(grays(3, 60), columns=3)
    page = np.asarray(figures.label_columns(row, ["left", "", "right"]))
    assert (page[-row.height :] == np.asarray(row)).all()
    above = page[: -row.height].min(axis=(0, 2)) < 128  # columns with dark pixels
    assert above[:62].any() and above[-62:].any() and not above[62:124].any()


def test_a_strip_has_a_row_for_each_grid():
    shades = (25, 125, 225)
    grids = [Image.new("RGB", (8 * 6 + 2, 8 * 6 + 2), (shade, 0, 0)) for shade in shades]
    strip = figures.strip(grids, ["step 0", "step 16", "step 81"], faces=4)
    label = figures.strip(grids, ["step 0", "step 16", "step 81"], faces=8).width - (8 * 6 + 2)
    assert strip.size == (label + 4 * 6 + 2, 3 * 8)
    reds = [strip.getpixel((strip.width - 1, 8 * row))[0] for row in range(3)]
    assert reds == list(shades)


def test_a_label_stands_before_its_row():
    rows = [Image.new("RGB", (10, 40), "white")] * 3
    page = np.asarray(figures.label_rows(rows, ["one", "", "two\nlines"]))
    dark = page.min(axis=(1, 2)) < 128
    assert dark[:40].any()
    assert not dark[40:80].any(), "an empty label"
    assert dark[80:].any()
    assert (page[:, -10:] == 255).all(), "no label covers its row"


def test_two_images_are_stacked_with_the_upper_one_centered():
    page = figures.stack(Image.new("RGB", (4, 2), "red"), Image.new("RGB", (10, 3), "blue"))
    assert page.size == (10, 5)
    top_row = [page.getpixel((x, 0)) for x in (2, 3, 6, 7)]
    assert top_row == [(255, 255, 255), (255, 0, 0), (255, 0, 0), (255, 255, 255)]
    assert page.getpixel((0, 2)) == page.getpixel((9, 4)) == (0, 0, 255)


# ---- figures ----


def test_a_figure_carries_its_alt_text_and_its_image():
    figure = Figure(figures.grid(grays(4)), "Four grays.", alt="Four gray squares.")
    data, metadata = figure._repr_mimebundle_()
    assert metadata == {"image/png": {"alt": "Four gray squares."}}
    assert "Four gray squares." in data["text/plain"]
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.size == figure.image.size


def test_without_an_alt_text_the_caption_serves_as_one():
    assert Figure(figures.grid(grays(4)), "Four grays.").alt == "Four grays."


def test_a_caption_adds_height_and_is_visible():
    image = Image.new("RGB", (500, 50), "white")
    bare = Figure(image, "", "alt").image
    one_line = Figure(image, "One line.", "alt").image
    two_lines = Figure(image, "Many words " * 10, "alt").image
    assert bare.height == 50
    assert bare.height < one_line.height < two_lines.height
    assert np.asarray(one_line)[50:].min() < 128


def test_lines_of_a_caption_keep_all_words_and_fit():
    font = ImageFont.load_default(14)
    text = "Generators and discriminators   play a game, " * 5 + "x" * 100
    lines = figures._wrap(text, font, 200)
    assert " ".join(lines).split() == text.split()
    assert lines[-1] == "x" * 100, "a word that is too long has a line of its own"
    assert all(font.getlength(line) <= 200 for line in lines[:-1])
    assert figures._wrap("", font, 200) == []


def test_a_figure_is_saved_as_a_png(tmp_path):
    figure = Figure(figures.grid(grays(4)), "Four grays.")
    path = figure.save(tmp_path / "new" / "a.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.convert("RGB").tobytes() == figure.image.tobytes()
