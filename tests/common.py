"""What several test files use: images, archives, damaged files, a state made flat."""

import io
import itertools
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


def flat(state, path=""):
    """A nested state -> its leaves by path, tensors as bytes: equal only if all bits are."""
    if isinstance(state, torch.Tensor):
        return {path: (str(state.dtype), tuple(state.shape), state.numpy().tobytes())}
    if isinstance(state, dict):
        pairs = state.items()
    elif isinstance(state, (list, tuple)):
        pairs = enumerate(state)
    else:
        return {path: state}
    leaves = {}
    for name, part in pairs:
        leaves |= flat(part, f"{path}/{name}")
    return leaves


def noise_image(seed=0, size=16):
    """-> a Pillow image of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image, file_format="PNG"):
    """-> the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def write_zip(path, entries):
    """Entries, name: content, become a zip. A name such as "a.png -> target" becomes a link."""
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            name, arrow, _ = entry.partition(" -> ")
            info = zipfile.ZipInfo(name)
            if arrow:
                info.create_system = 3  # Unix
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return path


def files_in(folder):
    """-> the names of all files in a folder and below, sorted."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def png_of_chunks(*chunks):
    """Chunks, each a type of four letters and its data -> the bytes of a PNG."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for chunk in chunks:
        parts.append(struct.pack(">I", len(chunk) - 4))
        parts.append(chunk)
        parts.append(struct.pack(">I", zlib.crc32(chunk)))
    return b"".join(parts)


def png_that_claims(width, height):
    """-> a PNG of a few bytes that claims to be of this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_of_chunks(header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")


# ---- damaged images: each function writes one that is unlike that of any other number ----


def write_empty(path, number):
    path.write_bytes(b"")


def write_html(path, number):
    path.write_text(f"<!DOCTYPE html><title>404</title>{number}")


def write_cut(path, number):
    path.write_bytes(encoded(noise_image(number, 64), "JPEG")[:-400])


def write_text(path, number):
    path.write_text(f"I am text, {number}")


def write_bomb(path, number):
    path.write_bytes(png_that_claims(10_000 * (1 + number % 2), 12_000 + number))


def write_broken_link(path, number):
    if number % 2:
        path.symlink_to(path.name)
    else:
        path.symlink_to("nowhere.jpg")


def write_cmyk(path, number):
    noise_image(number).convert("CMYK").save(path)


def write_16_bit_gray(path, number):
    Image.fromarray(np.full((16, 16), number, np.uint16)).save(path, "PNG")


UNREADABLE = {  # kind -> part of the reason, and how to write one
    "empty": ("not an image", write_empty),
    "html": ("not an image", write_html),
    "cut": ("truncated", write_cut),
    "text": ("not an image", write_text),
    "bomb": ("pixels, more than 64 million", write_bomb),
    "link": ("link to a file that does not exist", write_broken_link),
}
NOT_RGB = {  # kind -> mode, and how to write one
    "cmyk": ("CMYK", write_cmyk),
    "deep": ("I;16B", write_16_bit_gray),
}


def write_damaged(folder: Path, count: int) -> dict[str, str]:
    """Put `count` unusual files into a folder, of the eight kinds in turn. -> name: kind."""
    writers = {kind: write for kind, (_, write) in (UNREADABLE | NOT_RGB).items()}
    kinds = {}
    for i, kind in zip(range(count), itertools.cycle(writers)):
        name = f"{i:03d}_{kind}.jpg"
        writers[kind](folder / name, i)
        kinds[name] = kind
    return kinds


def missing(reason):
    """Skip the test, or fail where a browser is required."""
    message = f"{reason}: tests need it (apt-get install chromium nodejs; pip install playwright)"
    if os.environ.get("ANIMEGAN_NEEDS_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)
