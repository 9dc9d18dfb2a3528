"""A zip becomes a folder of images with a manifest: complete, or not at all. See appendix A."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from PIL import Image

from .files import sha256
from .image_files import formats, is_own_file, no_images, select_in_archive
from .storage import generated_name, read_manifest, store_images

MAX_RATIO = 100  # unpacked size / archive size; only zips that unpack to more than this can harm:
HARMLESS_BYTES = 2**30

CHUNK = 2**20  # bytes in memory at a time
UTF_8_NAME = 0x800  # flags of a zip's entry
ENCRYPTED = 0x1
OTHER_ARCHIVES = {  # the first bytes of a file -> what it is
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
}
UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    lzma.LZMAError,
    RuntimeError,
)


def unpack(archive: Path, out: Path) -> Path:
    """The images (and labels.csv) of a zip -> the folder `out`, with manifest.json.

    Nothing is written outside `out`. Links and other files are left out. A zip that was
    unpacked before is not unpacked again. Raises ValueError that names the zip, the reason and
    the cure if it is damaged, encrypted, too large, not a zip, or holds no images.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, NotImplementedError):
        raise ValueError(f"{archive} {_why_not_a_zip(archive)}") from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{archive} holds a name that is not valid UTF-8: unpack it with another program, then"
            " name the folder of its images"
        ) from None
    with opened:
        with open(archive, "rb") as file:
            digest = sha256(file).hex()
        if read_manifest(out).get("zip") == digest:
            return out
        entries, passed_over = _wanted_entries(archive, opened)
        size = sum(entry.file_size for entry in entries.values())  # no entry unpacks to more
        _check_ratio(archive, size)
        images = _read_entries(archive, opened, entries)
        origin = {"source": archive.name, "zip": digest}
        if passed_over:
            origin["passed_over"] = passed_over
        return store_images(images, len(entries), size, out, origin)


def is_inside(name: str) -> bool:
    """-> whether an archive's name stays inside the folder that it is unpacked to."""
    path = PureWindowsPath(name)  # it knows both slashes, and drives
    return not path.anchor and ".." not in path.parts


# ---- what is in a zip ----


def _why_not_a_zip(path: Path) -> str:
    """-> what a file is in place of a zip, and the cure."""
    with open(path, "rb") as file:
        start = file.read(512)
    instead = "unpack it, then name the folder of its images"
    for first_bytes, what in OTHER_ARCHIVES.items():
        if start.startswith(first_bytes):
            return f"is {what}, not a zip: {instead}"
    if tarfile.is_tarfile(path):
        return f"is a tar archive, not a zip: {instead}"
    if start.startswith(b"PK"):
        return "is a zip that is cut short: download it again"
    if start[:100].lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page, not a zip: sign in to the site, then download it again"
    try:
        with Image.open(path, formats=formats()):
            return "is a single image: name the folder that holds thousands of them"
    except Exception:  # Pillow raises many types for what is no image
        return "is not a zip: name a zip, or a folder of images"


def _wanted_entries(
    archive: Path, opened: zipfile.ZipFile
) -> tuple[dict[str, zipfile.ZipInfo], dict[str, int]]:
    """-> the entries to unpack, by the name that the file gets; what is passed over, by reason.

    Raises ValueError if there is no image.
    """
    entries = {}
    repeated = []
    for entry in opened.infolist():
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        name = _decoded_name(entry, len(entries))
        if entry.is_dir() or is_link or not is_inside(name):
            continue
        if name in entries:
            repeated.append(name)
        entries[name] = entry
    if any(entry.flag_bits & ENCRYPTED for entry in entries.values()):
        raise ValueError(
            f"{archive} is protected by a password: unpack it with the program that made it, then"
            " name the folder of its images"
        )
    selection = select_in_archive(entries, lambda name: opened.open(entries[name]))
    if not selection.names:
        raise ValueError(no_images(archive, selection))
    images = set(selection.names)
    repeated_images = [name for name in repeated if name in images]
    if repeated_images:
        raise ValueError(
            f"{archive} holds {repeated_images[0]} twice: it is damaged, or not a set of images"
        )
    wanted = {*selection.names, *(name for name in entries if is_own_file(name))}
    entries = {name: entry for name, entry in entries.items() if name in wanted}
    return entries, selection.passed_over


def _decoded_name(entry: zipfile.ZipInfo, number: int) -> str:
    """-> an entry's name; a generated one if its encoding is not known."""
    name = entry.filename.replace("\\", "/")
    if name.isascii() or entry.flag_bits & UTF_8_NAME:
        return name
    try:
        return name.encode("cp437").decode("utf-8")  # as macOS writes it
    except UnicodeError:
        return generated_name(name, number)


def _check_ratio(archive: Path, size: int) -> None:
    """Raises ValueError if a zip would unpack to far more bytes than it has."""
    if size > HARMLESS_BYTES and size > MAX_RATIO * archive.stat().st_size:
        raise ValueError(
            f"{archive} would unpack to {size:,} bytes, over {MAX_RATIO} times its size:"
            " it looks like a zip bomb. If you trust it, unpack it yourself, then name the folder"
        )


def _read_entries(
    archive: Path, opened: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    for name, entry in entries.items():
        yield name, _read_chunks(archive, opened, entry)


def _read_chunks(archive, opened, entry) -> Iterator[bytes]:
    """Yield the content of an entry. Raises ValueError if it is damaged."""
    try:
        with opened.open(entry) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except NotImplementedError as error:
        raise ValueError(
            f"{archive} can't be unpacked ({entry.filename} is compressed by method"
            f" {entry.compress_type}, which Python can't read): unpack it with another program,"
            " then name the folder of its images"
        ) from error
    except (OSError, *UNPACKING_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive: damaged bzip2 data raise OSError, too
        raise ValueError(
            f"{archive} can't be unpacked ({entry.filename}: {error}): download it again"
        ) from error
