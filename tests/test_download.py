"""download: a folder, a zip or a seed becomes a folder of pictures."""

import io
import json
import shutil
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from animegan_helpers import download, drawn


def png(seed=0):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def zipped(path, entries):
    """Entries, name -> bytes, become a zip; a name that ends in " -> somewhere" becomes a link."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            name, arrow, _ = name.partition(" -> ")
            info = zipfile.ZipInfo(name)
            if arrow:
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return path


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_folder_is_taken_as_it_is(drawn_folder):
    assert download.get(drawn_folder) == drawn_folder
    assert download.get(str(drawn_folder)) == drawn_folder


def test_a_zip_is_unpacked_under_data_with_a_manifest(home):
    archive = zipped(
        home / "set.zip", {"a.png": png(1), "deep/er/b.JPG": png(2), "notes.txt": b"no", "labels.csv": b"x"}
    )
    out = download.get(archive)
    assert out == home / "data" / "set"
    assert files(out) == ["a.png", "deep/er/b.JPG", "labels.csv", "manifest.json"]
    assert (out / "a.png").read_bytes() == png(1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["source"], manifest["count"]) == ("set.zip", 3)
    assert files(home / "data") == [f"set/{name}" for name in files(out)], "the temporary folder is gone"


def test_the_same_zip_is_not_unpacked_twice(home):
    archive = zipped(home / "set.zip", {"a.png": png()})
    out = download.get(archive)
    before = (out / "a.png").stat()
    assert download.get(archive) == out
    after = (out / "a.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_another_zip_of_that_name_does_not_overwrite_the_first(home):
    archive = zipped(home / "set.zip", {"a.png": png(1)})
    out = download.get(archive)
    zipped(archive, {"a.png": png(2)})
    with pytest.raises(FileExistsError, match="set"):
        download.get(archive)
    assert (out / "a.png").read_bytes() == png(1)


def test_a_hostile_zip_writes_nothing_outside_its_folder_and_no_link(home):
    names = [
        "../up.png",
        "in/../../up2.png",
        "/root.png",
        "..\\up3.png",
        "__MACOSX/._a.png",
        "run.py",
        "link.png -> /etc",
    ]
    archive = zipped(home / "set.zip", {"faces/a.png": png()} | {name: b"/etc/passwd" for name in names})
    out = download.unpack(archive, home / "in" / "out")
    assert files(home) == ["in/out/faces/a.png", "in/out/manifest.json", "set.zip"]
    assert not any(path.is_symlink() for path in out.rglob("*"))


@pytest.mark.parametrize("content", [b"", b"this is no zip" * 100])
def test_what_is_no_zip_is_named(home, content):
    (home / "set.zip").write_bytes(content)
    with pytest.raises(ValueError, match="set.zip is not a zip"):
        download.get(home / "set.zip")
    assert files(home) == ["set.zip"]


def test_a_zip_cut_short_is_named(home):
    archive = zipped(home / "set.zip", {"a.png": png()})
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(ValueError, match="set.zip .* cut short"):
        download.get(archive)


def test_a_zip_with_a_damaged_picture_is_named_and_leaves_nothing(home):
    archive = zipped(home / "set.zip", {"a.png": png(1), "b.png": png(2)})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(png(2)) + 100] ^= 1
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match="set.zip"):
        download.get(archive)
    assert files(home) == ["set.zip"]


def test_a_zip_without_pictures_is_named(home):
    archive = zipped(home / "set.zip", {"notes.txt": b"nothing here"})
    with pytest.raises(ValueError, match="set.zip holds no pictures"):
        download.get(archive)
    assert files(home) == ["set.zip"]


def test_a_zip_that_would_fill_the_disk_is_refused_before_it_is_unpacked(home, monkeypatch):
    archive = zipped(home / "set.zip", {"a.png": png()})
    monkeypatch.setattr(download, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="too much"):
        download.get(archive)
    assert files(home) == ["set.zip"]


def test_the_environment_names_the_set(drawn_folder, home, monkeypatch):
    monkeypatch.setenv("ANIMEGAN_DATA", str(drawn_folder))
    assert download.get() == drawn_folder
    (home / "mine").mkdir()
    assert download.get("mine").resolve() == home / "mine", "a set named by hand comes first"


def test_a_set_that_is_missing_is_named_and_drawn_faces_do_not_stand_in(home, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere.zip"):
        download.get("nowhere.zip")
    monkeypatch.setenv("ANIMEGAN_DATA", "elsewhere")
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        download.get()
    assert files(home) == []


def test_drawn_faces_are_the_default_and_drawn_once(home, monkeypatch):
    asked = []

    def few(folder, count):
        asked.append(count)
        return write(folder, 2, workers=1)

    write = drawn.write
    monkeypatch.setattr(drawn, "write", few)  # 4,096 take half a minute
    assert download.get() == download.get("drawn") == home / "data" / "drawn"
    assert asked == [4096]
    assert len(drawn.read_labels(home / "data" / "drawn")) == 2


def test_a_chosen_set_stays_chosen_until_none_is(drawn_folder, home):
    assert download.choose(drawn_folder) == drawn_folder
    assert download.get() == drawn_folder.resolve()
    shutil.copytree(drawn_folder, home / "data" / "drawn")
    assert download.choose(None) == download.get() == home / "data" / "drawn"


def test_a_chosen_set_that_is_gone_is_named(drawn_folder, home):
    (home / "data").mkdir()
    shutil.rmtree(download.choose(shutil.copytree(drawn_folder, home / "mine")))
    with pytest.raises(FileNotFoundError, match="mine"):
        download.get()
