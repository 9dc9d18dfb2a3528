"""A PNG or JPEG becomes the same image without metadata, which may be broken. Used by images."""

import struct
import tempfile
import zlib
from typing import BinaryIO

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
IN_MEMORY = 2**24  # bytes; a larger copy goes to a temporary file


def without_metadata(file: BinaryIO) -> BinaryIO | None:
    """A file -> a copy without texts, color profiles, previews; None if it is no PNG or JPEG.

    A JPEG's copy has no orientation, either.
    """
    file.seek(0)
    start = file.read(8)
    if start == PNG:
        copy_parts = _copy_png
    elif start.startswith(JPEG):
        copy_parts = _copy_jpeg
    else:
        return None
    copy = tempfile.SpooledTemporaryFile(IN_MEMORY)
    copy_parts(file, copy)
    copy.seek(0)
    return copy


def _copy_png(file: BinaryIO, copy: BinaryIO) -> None:
    """Copy the chunks that make the image, and an orientation (eXIf) that is whole."""
    file.seek(len(PNG))
    copy.write(PNG)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        body = file.read(length)
        checksum = file.read(4)
        is_whole = checksum == struct.pack(">I", zlib.crc32(kind + body))
        is_image = kind[:1].isupper() or kind == b"tRNS"
        if is_image or (kind == b"eXIf" and is_whole):
            copy.write(header + body + checksum)


def _copy_jpeg(file: BinaryIO, copy: BinaryIO) -> None:
    """Copy all segments but comments and those of applications.

    Adobe's is kept: it says how colors are stored.
    """
    file.seek(len(JPEG))
    copy.write(JPEG)
    while len(header := file.read(4)) == 4:
        mark, kind, length = struct.unpack(">BBH", header)
        if mark != 0xFF or kind == 0xDA:  # the image itself, up to the end
            copy.write(header)
            break
        body = file.read(max(0, length - 2))
        is_application = 0xE1 <= kind <= 0xEF and kind != 0xEE
        is_comment = kind == 0xFE
        if not is_application and not is_comment:
            copy.write(header + body)
    while rest := file.read(2**20):
        copy.write(rest)
