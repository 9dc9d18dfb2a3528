"""Images on disk become (N, 3, 64, 64) tensors in [-1, 1], and back. Built on page 02."""

import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


# ---- files ----


def find_images(folder: str | Path) -> list[Path]:
    """-> the images in a folder and the folders below it, sorted.

    A broken link counts as an image, so that it is reported later.
    Raises FileNotFoundError if there are no images.
    """
    folder = Path(folder)
    paths = []
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.is_file() or is_broken_link(path):
                paths.append(path)
    if not paths:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise FileNotFoundError(f"no images ({suffixes}) in {folder}: is it the right folder?")
    return sorted(paths)


def is_broken_link(path: Path) -> bool:
    """-> whether the path is a link to a file that does not exist."""
    return path.is_symlink() and not path.exists()


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is in an image file; or in `error` why it can't be read, and the rest is empty."""

    error: str = ""
    digest: bytes = b""  # SHA-256 of the file's bytes
    mode: str = ""  # the file's own mode, as Pillow names it
    width: int = 0  # of the image in the file
    height: int = 0
    pixels: np.ndarray | None = None  # (size, size, 3) uint8


def inspect_image(path: Path, size: int = 64) -> Inspection:
    """A file -> its digest, mode, width, height and pixels; or the reason why it can't be read."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            mode = _mode_in_file(image)
            width, height = image.size
            pixels = np.asarray(resize_and_crop(to_rgb(image), size))
    except Exception as error:  # Pillow raises many types: in every case the file is unusable
        return Inspection(error=_reason(path, error))
    return Inspection("", hashlib.sha256(content).digest(), mode, width, height, pixels)


def _mode_in_file(image: Image.Image) -> str:
    """-> the image's mode, or "RGB;16B" for 16 bits per channel, which Pillow reports as RGB."""
    if ";16B" in str(image.tile):
        return image.tile[0][3]
    return image.mode


def _reason(path: Path, error: Exception) -> str:
    """-> on one line, why a file can't be read."""
    if is_broken_link(path):
        return "a link to a file that does not exist"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    text = str(error) or type(error).__name__
    return " ".join(text.replace(str(path), path.name).split())


def read_image(path: str | Path, size: int = 64) -> np.ndarray:
    """A file -> (size, size, 3) uint8.

    Raises OSError, with the reason, if the file can't be read to its last byte.
    """
    path = Path(path)
    with decompression_bombs_raise():
        inspection = inspect_image(path, size)
    if inspection.error:
        raise OSError(f"{path.name} can't be read: {inspection.error}")
    return inspection.pixels


@contextmanager
def decompression_bombs_raise() -> Iterator[None]:
    """Inside it, a file that claims too many pixels raises an error before it is decoded.

    Without it, Pillow may only warn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


# ---- one image ----


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image -> RGB, upright, with white where it was transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def resize_and_crop(image: Image.Image, size: int = 64) -> Image.Image:
    """(W, H) -> (size, size): scale the shorter side to `size` pixels, then crop the center."""
    scale = size / min(image.size)
    width = max(size, round(image.width * scale))
    height = max(size, round(image.height * scale))
    if scale != 1:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left = (width - size) // 2
    top = (height - size) // 2
    return image.crop((left, top, left + size, top + size))


# ---- batches ----


def stack(images: Iterable[Image.Image | np.ndarray]) -> torch.Tensor:
    """Pillow images or arrays of one size, (H, W, 3) each -> (N, H, W, 3) uint8."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def to_tensor(pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 in 0..255 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8 in 0..255, the inverse of `to_tensor`."""
    images = images.detach().float().clamp(-1, 1)
    pixels = ((images + 1) * 127.5).round().byte()
    return pixels.permute(0, 2, 3, 1).cpu()


def flip(pixels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """(N, H, W, 3) -> the same, with about half of the images mirrored left to right."""
    mirrored = torch.rand(len(pixels), generator=rng) < 0.5
    mirrored = mirrored.to(pixels.device)
    return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
