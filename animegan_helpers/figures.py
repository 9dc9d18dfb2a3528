"""(N, 3, H, W) images become one image with labels, a caption and alt text. Used on all pages.

`plotting` has the figures that the pages show; this module composes them.
"""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .images import to_pixels

GAP = 2  # white pixels between two images
FONT_SIZE = 14
LINE_HEIGHT = 19  # pixels
MIN_WIDTH = 420  # pixels: room for a caption

Images = torch.Tensor | np.ndarray  # (N, 3, H, W) in [-1, 1], or (N, H, W, 3) uint8


class Figure:
    """An image with its caption below it, and an alt text. Jupyter shows it; `save` writes it."""

    def __init__(self, image: Image.Image, caption: str, alt: str = ""):
        self.image = _with_caption(image, caption)
        self.caption = caption
        self.alt = alt or caption

    def png(self) -> bytes:
        """-> the bytes of a PNG of 256 colors: a third of the size, with no visible difference."""
        file = io.BytesIO()
        self.image.quantize(256).save(file, "PNG", optimize=True)
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure as a PNG; -> its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png())
        return path

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {
            "image/png": base64.b64encode(self.png()).decode(),
            "text/plain": f"[figure: {self.alt}]",
        }
        metadata = {"image/png": {"alt": self.alt}}
        return data, metadata


def _with_caption(image: Image.Image, caption: str) -> Image.Image:
    """An image -> the same above its caption, at least `MIN_WIDTH` wide."""
    font = ImageFont.load_default(FONT_SIZE)
    width = max(image.width, MIN_WIDTH)
    lines = _wrap(caption, font, width - 8)
    height = image.height
    if lines:
        height += LINE_HEIGHT * len(lines) + 10
    page = Image.new("RGB", (width, height), "white")
    page.paste(image, (0, 0))
    draw = ImageDraw.Draw(page)
    top = image.height + 5
    for line in lines:
        draw.text((4, top), line, "#333333", font)
        top += LINE_HEIGHT
    return page


def _wrap(text, font, width) -> list[str]:
    """A text -> its lines, each at most `width` pixels wide, unless one word is wider."""
    lines = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def grid(images: Images, columns: int | None = None, zoom: int = 1) -> Image.Image:
    """Images -> one image of all of them, `GAP` apart.

    Without `columns` the grid is about a square. `zoom` turns each pixel into a square of pixels.
    """
    if images.ndim == 4 and images.shape[1] == 3:
        images = to_pixels(torch.as_tensor(images))
    if isinstance(images, torch.Tensor):
        images = images.cpu()
    pixels = np.asarray(images)
    count, height, width, _ = pixels.shape
    if columns is None:
        columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    step_right = width + GAP
    step_down = height + GAP
    page_size = (columns * step_right + GAP, rows * step_down + GAP)
    page = Image.new("RGB", page_size, "white")
    for i, image in enumerate(pixels):
        row, column = divmod(i, columns)
        left = column * step_right + GAP
        top = row * step_down + GAP
        page.paste(Image.fromarray(image), (left, top))
    return ImageOps.scale(page, zoom, Image.Resampling.NEAREST)


def strip(
    grids: Iterable[Image.Image],
    labels: Iterable[str],
    faces: int = 8,
) -> Image.Image:
    """Sample grids, 8 x 8 faces each -> one image: a labeled row of each grid's first faces.

    Of a grid of 64 faces, the first row has 8; `faces` says how many of them to show.
    """
    rows = []
    for image in grids:
        face_width = (image.width - GAP) // 8
        face_height = (image.height - GAP) // 8
        right = min(image.width, faces * face_width + GAP)
        bottom = face_height + GAP
        rows.append(image.crop((0, 0, right, bottom)))
    return label_rows(rows, labels)


def label_rows(rows: Iterable[Image.Image], labels: Iterable[str]) -> Image.Image:
    """Images and a label for each -> one image: a row for each, to the right of its label."""
    rows = list(rows)
    labels = list(labels)
    font = ImageFont.load_default(FONT_SIZE)
    margin = _label_width(labels, font) + 14
    height = sum(row.height for row in rows)
    width = max(row.width for row in rows)
    page = Image.new("RGB", (margin + width, height), "white")
    draw = ImageDraw.Draw(page)
    top = 0
    for row, label in zip(rows, labels):
        middle = top + row.height / 2
        draw.text((margin - 8, middle), label, "black", font, anchor="rm", align="right")
        page.paste(row, (margin, top))
        top += row.height
    return page


def label_columns(row: Image.Image, labels: Sequence[str]) -> Image.Image:
    """One row of images and a label for each -> the row, with the labels above its images."""
    page = Image.new("RGB", (row.width, LINE_HEIGHT + row.height), "white")
    page.paste(row, (0, LINE_HEIGHT))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(FONT_SIZE)
    for i, label in enumerate(labels):
        middle = (i + 0.5) * row.width / len(labels)
        draw.text((middle, LINE_HEIGHT - 3), label, "black", font, anchor="ms")
    return page


def _label_width(labels, font) -> int:
    """Labels of one or more lines -> the pixels of the longest line."""
    widths = []
    for label in labels:
        widths += [font.getlength(line) for line in label.split("\n")]
    return int(max(widths))


def stack(top: Image.Image, bottom: Image.Image) -> Image.Image:
    """Two images -> one, the first centered above the second."""
    width = max(top.width, bottom.width)
    page = Image.new("RGB", (width, top.height + bottom.height), "white")
    page.paste(top, ((width - top.width) // 2, 0))
    page.paste(bottom, (0, top.height))
    return page


def from_matplotlib(canvas: Any, caption: str, alt: str = "") -> Figure:
    """A matplotlib figure -> a figure with a caption and alt text."""
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=100, facecolor="white")
    image = Image.open(file).convert("RGB")
    return Figure(image, caption, alt)
