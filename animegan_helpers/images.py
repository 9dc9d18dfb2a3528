"""Images on disk become (N, 3, 64, 64) tensors in [-1, 1], and back. Built on page 02."""

import errno
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .device import move
from .files import expand, sha256
from .image_files import formats, is_broken_link
from .image_metadata import without_metadata

MAX_PIXELS = 64_000_000  # of an image; Pillow needs 4 bytes for each
MAX_PIXELS_OF = {"WEBP": 16_000_000, "AVIF": 16_000_000, "JPEG2000": 16_000_000}  # they need more
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
LARGE = 4_000_000  # pixels; of the images above it, one at a time is in memory
MACHINE_FAILS = {errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
_one_large_image = threading.Lock()
UPRIGHT = {  # the orientation in an image's metadata -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# ---- files ----


class TooLarge(ValueError):
    """An image has more pixels than are read."""


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
    """A file -> its digest, mode, width, height and pixels; or the reason why it can't be read.

    Metadata that Pillow can't read are ignored. One large image at a time is in memory. Raises
    OSError if the machine fails and not the file, such as a network disk.
    """
    try:
        with open(path, "rb") as file:
            digest = sha256(file)
            try:
                return _inspect(file, digest, size)
            except (TooLarge, *BOMBS):
                raise
            except Exception:
                copy = without_metadata(file)
                if copy is None:
                    raise
                with copy:
                    return _inspect(copy, digest, size)
    except Exception as error:  # Pillow raises many types for an unusable file
        if getattr(error, "errno", None) in MACHINE_FAILS:
            raise OSError(error.errno, f"{error.strerror}; try again later", str(path)) from error
        return Inspection(error=_reason(path, error))


def _inspect(file, digest, size) -> Inspection:
    file.seek(0)
    with Image.open(file, formats=formats()) as image:
        width, height = image.size
        _check_pixels(image)
        mode = _mode_in_file(image)
        is_large = width * height > LARGE
        with _one_large_image if is_large else nullcontext():
            if is_large:
                image.draft("RGB", (4 * size, 4 * size))  # a JPEG decodes to a smaller image
            image.load()
            _fill_empty_alpha(image)
            image = _reduced(image, size) if is_large else to_rgb(image)
            pixels = np.asarray(resize_and_crop(image, size))
    return Inspection("", digest, mode, width, height, pixels)


def _check_pixels(image) -> None:
    limit = MAX_PIXELS_OF.get(image.format, MAX_PIXELS)
    if image.width * image.height > limit:
        raise TooLarge(
            f"it has {image.width:,} x {image.height:,} pixels, and a {image.format} of more than"
            f" {limit // 10**6} million pixels is not read: make it smaller"
        )


def _mode_in_file(image: Image.Image) -> str:
    """-> the image's mode, or "RGB;16B" for 16 bits per channel, which Pillow reports as RGB."""
    raw_mode = re.search(r"\w+;16\w*", str(image.tile))
    return raw_mode[0] if raw_mode else image.mode


def _fill_empty_alpha(image: Image.Image) -> None:
    """Make a BMP opaque, in place, if all of it is transparent: its writer left alpha unused."""
    if image.format == "BMP" and image.mode == "RGBA" and image.getextrema()[3] == (0, 0):
        image.putalpha(255)


def _reason(path: Path, error: Exception) -> str:
    """-> on one line, why a file can't be read."""
    if is_broken_link(path):
        return "a link to a file that does not exist"
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() == ".avif" and "AVIF" not in formats():
            return "this Pillow reads no AVIF: update it"
        return "it is not an image"
    if isinstance(error, BOMBS):
        count = int(re.search(r"\d+", str(error))[0])
        return f"it has {count:,} pixels, more than {MAX_PIXELS // 10**6} million: make it smaller"
    text = str(error) or type(error).__name__
    return " ".join(text.replace(str(path), path.name).split())


def read_image(path: str | Path, size: int = 64) -> np.ndarray:
    """A file -> (size, size, 3) uint8.

    Raises OSError, with the reason, if the file can't be read to its last byte.
    """
    path = expand(path)
    with decompression_bombs_raise():
        inspection = inspect_image(path, size)
    if inspection.error:
        raise OSError(f"{path.name} can't be read: {inspection.error}")
    return inspection.pixels


@contextmanager
def decompression_bombs_raise() -> Iterator[None]:
    """Inside it, what claims too many pixels raises an error where Pillow would only warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


# ---- one image ----


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image -> RGB, upright, with white where it was transparent."""
    image.load()
    return _upright(_opaque(image), _orientation(image))


def _orientation(image: Image.Image) -> int:
    """-> the orientation in the image's metadata: 1 to 8, or 0 if there is none to be read."""
    try:
        return int(image.getexif().get(0x0112, 0))
    except Exception:  # an image with broken metadata is still read
        return 0


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    if orientation in UPRIGHT:
        return image.transpose(UPRIGHT[orientation])
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """Any image -> RGB, with white where it was transparent."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers: save it with 8 bits per channel")
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def _reduced(image: Image.Image, size: int) -> Image.Image:
    """A large image -> its central square, as `to_rgb`, of at least 4 * size pixels if it can be.

    It is converted in bands, so that there is no second copy of it in memory.
    """
    left, top, right, bottom = _central_square(image)
    side = right - left
    factor = max(1, side // (4 * size))
    square = Image.new("RGB", [-(-side // factor)] * 2)  # rounded up
    rows = factor * max(1, 256 // factor)
    for y in range(0, side, rows):
        band = image.crop((left, top + y, right, min(top + y + rows, bottom)))
        square.paste(_opaque(band).reduce(factor), (0, y // factor))
    return _upright(square, _orientation(image))


def _central_square(image: Image.Image) -> tuple[int, int, int, int]:
    """-> the left, top, right and bottom edge of the largest square at the center."""
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    return left, top, left + side, top + side


def resize_and_crop(image: Image.Image, size: int = 64) -> Image.Image:
    """(W, H) -> (size, size): crop the central square, then scale it.

    In this order an image of any shape needs little memory.
    """
    square = image.crop(_central_square(image))
    if square.size == (size, size):
        return square
    return square.resize((size, size), Image.Resampling.LANCZOS)


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
    mirrored = move(torch.rand(len(pixels), generator=rng) < 0.5, pixels.device)
    return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
