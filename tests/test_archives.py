"""archives: a zip becomes a folder of images, complete or not at all."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile

import pytest
from common import encoded, files_in, noise_image, write_zip
from PIL import Image

from animegan_helpers import archives, download, storage
from animegan_helpers.prepare import load_faces

NAMES = [f"images/{i}.png" for i in range(40)]


def png(seed=0):
    return encoded(noise_image(seed))


@pytest.fixture
def out(home):
    """The folder to unpack to; it does not exist yet."""
    return home / "data" / "set"


# ---- what is unpacked ----


def test_a_zip_becomes_its_images_and_labels_and_a_manifest(home, out):
    entries = {"a.png": png(1), "deep/er/b.JPG": png(2), "notes.txt": b"no", "labels.csv": b"x"}
    archive = write_zip(home / "set.zip", entries)
    assert archives.unpack(archive, out) == out
    assert files_in(out) == ["a.png", "deep/er/b.JPG", "labels.csv", "manifest.json"]
    assert (out / "a.png").read_bytes() == png(1)
    assert files_in(home / "data") == [f"set/{name}" for name in files_in(out)]


def test_the_manifest_names_the_zip_and_counts_and_hashes_its_files(home, out):
    archive = write_zip(home / "set.zip", {"b.png": png(1), "a.png": png(2)})
    archives.unpack(archive, out)
    assert json.loads((out / "manifest.json").read_text()) == {
        "source": "set.zip",
        "zip": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(png(1) + png(2)).hexdigest(),
        "count": 2,
        "bytes": len(png(1)) + len(png(2)),
    }


def test_the_same_zip_is_not_unpacked_twice(home, out):
    archive = write_zip(home / "set.zip", {"a.png": png()})
    archives.unpack(archive, out)
    before = (out / "a.png").stat()
    assert archives.unpack(archive, out) == out
    after = (out / "a.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_another_zip_of_that_name_does_not_overwrite_the_first(home, out):
    archive = write_zip(home / "set.zip", {"a.png": png(1)})
    archives.unpack(archive, out)
    write_zip(archive, {"a.png": png(2)})
    with pytest.raises(FileExistsError, match="set holds something other than set.zip"):
        archives.unpack(archive, out)
    assert (out / "a.png").read_bytes() == png(1)


def test_an_empty_folder_is_no_obstacle(home, out):
    out.mkdir(parents=True)
    archives.unpack(write_zip(home / "set.zip", {"a.png": png()}), out)
    assert files_in(out) == ["a.png", "manifest.json"]


# ---- damaged zips ----


@pytest.mark.parametrize("content", [b"", b"this is not a zip" * 100])
def test_a_file_that_is_not_a_zip_is_named(home, out, content):
    (home / "set.zip").write_bytes(content)
    with pytest.raises(ValueError, match="set.zip is not a zip"):
        archives.unpack(home / "set.zip", out)
    assert files_in(home) == ["set.zip"]


def test_a_truncated_zip_is_named(home, out):
    archive = write_zip(home / "set.zip", {"a.png": png()})
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(ValueError, match="set.zip .* cut short"):
        archives.unpack(archive, out)


def test_a_zip_with_a_damaged_image_is_named_and_leaves_nothing(home, out):
    archive = write_zip(home / "set.zip", {"a.png": png(1), "b.png": png(2)})
    content = bytearray(archive.read_bytes())
    content[content.index(png(2)) + 100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="set.zip can't be unpacked .b.png: .*download it again"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_named_whatever_the_compression(method, home, out):
    with zipfile.ZipFile(home / "set.zip", "w", method) as archive:
        archive.writestr("a.png", png(1))
        entry = archive.getinfo("a.png")
    start = entry.header_offset + 30 + len("a.png")
    whole = (home / "set.zip").read_bytes()
    for place in range(start + 15, start + entry.compress_size - 15, 3):
        content = bytearray(whole)
        content[place] ^= 0xFF
        (home / "set.zip").write_bytes(content)
        with pytest.raises(ValueError, match="set.zip can't be unpacked .a.png: .*download"):
            archives.unpack(home / "set.zip", out)
    assert files_in(home) == ["set.zip"]


def test_a_failing_disk_is_not_called_a_damaged_zip(home, out, monkeypatch):
    archive = write_zip(home / "set.zip", {"a.png": png()})

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        archives.unpack(archive, out)


def test_a_name_that_is_not_utf_8_although_the_zip_says_so_is_refused(home, out):
    archive = write_zip(home / "set.zip", {"é.png": png()})
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xff\xff"))
    with pytest.raises(ValueError, match="set.zip holds a name that is not valid UTF-8"):
        archives.unpack(archive, out)


def test_a_zip_without_images_is_named(home, out):
    archive = write_zip(home / "set.zip", {"notes.txt": b"nothing here"})
    with pytest.raises(ValueError, match="set.zip holds no images"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


REPEATED = [
    ["a.png", "a.png"],
    ["a.png", "b.png", "a.png"],
    ["notes.txt", "notes.txt", "a.png", "a.png"],
    ["a.png", "notes.txt", "notes.txt", "a.png"],
]


@pytest.mark.parametrize("names", REPEATED)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_holds_the_name_of_an_image_twice_is_refused(names, home, out):
    with zipfile.ZipFile(home / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png() if name.endswith(".png") else b"no image")
    with pytest.raises(ValueError, match="set.zip holds a.png.* twice"):
        archives.unpack(home / "set.zip", out)
    assert files_in(home) == ["set.zip"]


# ---- hostile zips ----


def test_a_hostile_zip_writes_nothing_outside_its_folder_and_no_link(home):
    entries = {"faces/a.png": png()}
    for name in ("../up.png", "in/../../up2.png", "/root.png", "..\\up3.png"):
        entries[name] = b"/etc/passwd"
    for name in ("__MACOSX/._a.png", "run.py", "link.png -> /etc"):
        entries[name] = b"/etc/passwd"
    archive = write_zip(home / "set.zip", entries)
    out = archives.unpack(archive, home / "in" / "out")
    assert files_in(home) == ["in/out/faces/a.png", "in/out/manifest.json", "set.zip"]
    assert not any(path.is_symlink() for path in out.rglob("*"))


@pytest.mark.parametrize(
    "name", ["C:up.png", "C:\\up.png", "\\\\server\\up.png", "a/../../up.png", "..\\up.png"]
)
def test_names_that_leave_the_folder_on_any_system_are_left_out(name, home, out):
    assert not archives.is_inside(name)
    archive = write_zip(home / "set.zip", {"ok.png": png(), name: png(1)})
    assert files_in(archives.unpack(archive, out)) == ["manifest.json", "ok.png"]


def test_a_zip_that_would_fill_the_disk_is_refused_before_it_is_unpacked(home, out, monkeypatch):
    archive = write_zip(home / "set.zip", {"a.png": png()})
    monkeypatch.setattr(storage, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="too much"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


def test_a_zip_of_too_many_images_is_refused(home, out, monkeypatch):
    archive = write_zip(home / "set.zip", {"a.png": png(1), "b.png": png(2)})
    monkeypatch.setattr(storage, "MAX_IMAGES", 1)
    with pytest.raises(ValueError, match="would unpack to 2 files.*too much.*Name a folder"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


@pytest.fixture
def strict(monkeypatch):
    """Zips are bombs from 10 MB on, in place of 1 GB, which would take long to write."""
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 10_000_000)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    return path


def test_a_zip_bomb_is_refused_before_it_is_unpacked(home, out, strict):
    bomb = zip_bomb(home / "bomb.zip")
    message = "bomb.zip would unpack to 50,000,000 bytes, over 100 .*unpack it yourself"
    with pytest.raises(ValueError, match=message):
        archives.unpack(bomb, out)
    assert files_in(home) == ["bomb.zip"]


def test_a_bomb_that_claims_to_be_small_unpacks_to_no_more_than_it_claims(home, out):
    bomb = zip_bomb(home / "bomb.zip")
    content = bomb.read_bytes()
    true_size = (50_000_000).to_bytes(4, "little")
    small = content.replace(true_size, (1000).to_bytes(4, "little"))
    assert small != content
    bomb.write_bytes(small)
    with pytest.raises(ValueError, match="bomb.zip can't be unpacked"):
        archives.unpack(bomb, out)
    assert files_in(home) == ["bomb.zip"]


def test_a_full_disk_is_reported_before_anything_is_unpacked(home, out, monkeypatch):
    archive = write_zip(home / "set.zip", {"a.png": png()})
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="0.0 GB free, and about 0.0 GB are needed: free some space"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


# ---- kills ----


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_kill_during_extraction_leaves_no_incomplete_set_20_times(home, out):
    """Each child is killed after some files; the next one starts over and must not trip on it."""
    archive = write_zip(home / "set.zip", {name: png(i) for i, name in enumerate(NAMES)})
    for count in range(0, 40, 2):
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its progress bar
                die_after(count)
                archives.unpack(archive, out)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 9, "it was killed before it finished"
        assert not out.exists(), f"{count} files were taken for a complete set"
    assert files_in(archives.unpack(archive, out)) == sorted([*NAMES, "manifest.json"])
    leftovers = [path for path in (home / "data").iterdir() if path.name != "set"]
    assert len(leftovers) == 20, "another process may still be writing what is this new"
    for path in leftovers:
        os.utime(path, (0, 0))
    archives.unpack(write_zip(home / "set2.zip", {"a.png": png()}), home / "data" / "set2")
    assert len(os.listdir(home / "data")) == 22, "what is left of another set is not touched"
    shutil.rmtree(out)
    archives.unpack(archive, out)
    assert sorted(os.listdir(home / "data")) == ["set", "set2"]


def die_after(count):
    """Kill this process when `store_images` asks for the file after `count` files."""
    tqdm = storage.tqdm

    def counted(images, *arguments, **named):
        for i, image in enumerate(tqdm(images, *arguments, **named)):
            if i == count:
                os.kill(os.getpid(), 9)
            yield image

    storage.tqdm = counted


# ---- names that a system or a program can't read ----


def legacy_zip(path, raw_names):
    """Names as bytes -> a zip whose names have these bytes, and no encoding is stated."""
    placeholders = {f"{i:0{len(raw)}d}": raw for i, raw in enumerate(raw_names)}
    with zipfile.ZipFile(path, "w") as archive:
        for i, placeholder in enumerate(placeholders):
            archive.writestr(placeholder, png(i))
    content = path.read_bytes()
    for placeholder, raw in placeholders.items():
        content = content.replace(placeholder.encode(), raw)
    path.write_bytes(content)
    return path


def test_a_name_that_is_too_long_gets_a_generated_one(home, out):
    names = ["a.png", "顔" * 120 + ".png", "b/" + "x" * 300 + ".png", "c" * 300 + "/d.png"]
    archive = write_zip(home / "set.zip", {name: png(i) for i, name in enumerate(names)})
    with pytest.warns(UserWarning, match="3 names in set.zip can.t be used here .too long"):
        archives.unpack(archive, out)
    renamed = [f"renamed/{i:06d}.png" for i in (1, 2, 3)]
    assert files_in(out) == ["a.png", "manifest.json", *renamed]
    assert (out / "renamed" / "000002.png").read_bytes() == png(2)


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp", "gbk"])
def test_a_name_in_a_legacy_encoding_gets_a_generated_one(encoding, home, out):
    raw = ["日本語の顔.png".encode(encoding), b"plain.png"]
    with pytest.warns(UserWarning, match="unknown encoding"):
        archives.unpack(legacy_zip(home / "set.zip", raw), out)
    assert files_in(out) == ["manifest.json", "plain.png", "renamed/000000.png"]


def test_generated_names_never_collide(home, out):
    names = ["renamed/000001.png", "x" * 300 + ".png"]
    archive = write_zip(home / "set.zip", {name: png(i) for i, name in enumerate(names)})
    with pytest.warns(UserWarning, match="names in set.zip can.t be used"):
        archives.unpack(archive, out)
    assert files_in(out) == ["manifest.json", "renamed/000001.png", "renamed/000002.png"]
    assert (out / "renamed" / "000002.png").read_bytes() == png(1)


def test_a_name_in_utf_8_is_kept_even_if_the_zip_does_not_say_so(home, out):
    archives.unpack(legacy_zip(home / "set.zip", ["日本語の顔.png".encode()]), out)
    assert files_in(out) == ["manifest.json", "日本語の顔.png"]


# ---- what is no zip that can be unpacked: the reason and its cure ----


def tar(path, mode):
    with tarfile.open(path, mode) as archive:
        entry = tarfile.TarInfo("a.png")
        entry.size = len(png())
        archive.addfile(entry, io.BytesIO(png()))


NOT_ZIPS = {
    "tar": (lambda path: tar(path, "w"), "is a tar archive, not a zip: unpack it"),
    "tar.gz": (lambda path: tar(path, "w:gz"), "is a gzip archive, not a zip: unpack it"),
    "tar.xz": (lambda path: tar(path, "w:xz"), "is an xz archive, not a zip: unpack it"),
    "7z": (lambda path: path.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(99)), "is a 7z archive"),
    "rar": (lambda path: path.write_bytes(b"Rar!\x1a\x07" + bytes(99)), "is a RAR archive"),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html>" * 9), "is a web page.*sign in"),
    "image": (lambda path: path.write_bytes(png()), "is a single image: name the folder"),
    "text": (lambda path: path.write_text("text" * 99), "is not a zip: name a zip, or a folder"),
    "empty": (lambda path: path.write_bytes(b""), "is not a zip: name a zip, or a folder"),
    "cut": (
        lambda path: path.write_bytes(b"PK\3\4" + bytes(99)),
        "is a zip that is cut short: download",
    ),
}


@pytest.mark.parametrize("kind", NOT_ZIPS)
def test_what_is_no_zip_is_named_with_its_cure(kind, home, out):
    write, message = NOT_ZIPS[kind]
    write(home / "set.zip")
    with pytest.raises(ValueError, match=f"set.zip {message}") as caught:
        archives.unpack(home / "set.zip", out)
    assert ("download it again" in str(caught.value)) == (kind in ("cut", "page"))


def test_a_zip_with_a_password_says_so(home, out):
    archive = write_zip(home / "set.zip", {"a.png": png(), "b.png": png(1)})
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = content.find(signature)
        content[position + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="set.zip is protected by a password: unpack it with"):
        archives.unpack(archive, out)


@pytest.mark.parametrize("method", [9, 98, 6])
def test_a_zip_that_is_compressed_in_a_rare_way_says_so(method, home, out):
    archive = write_zip(home / "set.zip", {"a.png": png()})
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.find(signature) + offset] = method
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=f"method {method}, which Python can't read.*unpack it"):
        archives.unpack(archive, out)
    assert files_in(home) == ["set.zip"]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_flat_images_are_no_bomb_however_well_they_compress(kind, home, out):
    flat = encoded(Image.new("RGB", (512, 512), "pink"), kind)
    with zipfile.ZipFile(home / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(20):
            archive.writestr(f"{i}.{kind.lower()}", flat)
    assert (home / "set.zip").stat().st_size * 100 < 20 * len(flat)
    archives.unpack(home / "set.zip", out)
    assert len(files_in(out)) == 21


def test_what_is_passed_over_in_a_zip_is_counted_when_it_is_prepared(home):
    entries = {"a.png": png(), "b.heic": b"x", "c.heic": b"x", "__MACOSX/._a.png": b"x"}
    faces = load_faces(write_zip(home / "set.zip", entries), 16)
    assert faces.report.passed_over == {".heic": 2, "hidden": 1}


@pytest.mark.parametrize("name", ["drawn", "runs", "prepared"])
def test_a_zip_named_like_a_folder_of_the_pages_gets_another_folder(name, home):
    folder = download.get(write_zip(home / f"{name}.zip", {"a.png": png()}))
    assert folder.parent == home / "data"
    assert folder.name.startswith(f"{name}-")


@pytest.mark.parametrize("names", [("A.png", "a.png"), ("a.png", "a.png/b.png")])
def test_images_whose_names_can_not_stand_beside_each_other_are_both_kept(names, home, out):
    archive = write_zip(home / "set.zip", {names[0]: png(1), names[1]: png(2)})
    archives.unpack(archive, out)
    assert sorted(path.read_bytes() for path in out.rglob("*.png")) == sorted([png(1), png(2)])
