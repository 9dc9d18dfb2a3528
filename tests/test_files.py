"""files: a new folder appears whole or not at all, and two processes may make it at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import encoded, files_in, noise_image, write_zip

from animegan_helpers.files import new_folder


def never(folder):
    return False


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "out", never) as hidden:
        (hidden / "a").write_bytes(b"1")
        assert not (tmp_path / "out").exists()
    assert files_in(tmp_path) == ["out/a"]
    assert os.listdir(tmp_path) == ["out"]


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with new_folder(tmp_path / "out", never) as hidden:
            (hidden / "a").write_bytes(b"1")
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_the_result_of_a_faster_process_stays(tmp_path):
    with new_folder(tmp_path / "out", lambda folder: (folder / "a").exists()) as hidden:
        (hidden / "a").write_bytes(b"mine")
        with new_folder(tmp_path / "out", never) as other:
            (other / "a").write_bytes(b"theirs")
    assert (tmp_path / "out" / "a").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["out"]


def test_another_folder_is_replaced_only_on_request(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"")
    with pytest.raises(FileExistsError, match="out is not empty: move it away"):
        with new_folder(tmp_path / "out", never):
            pass
    assert files_in(tmp_path) == ["out/old"]
    with new_folder(tmp_path / "out", never, replace=True) as hidden:
        (hidden / "new").write_bytes(b"")
    assert files_in(tmp_path) == ["out/new"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_in_use_stays_and_the_error_says_what_to_do(tmp_path, monkeypatch):
    """Windows renames no folder of which a file is open."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"")

    def refuse(*arguments):
        raise PermissionError(13, "Access is denied")

    with pytest.raises(PermissionError, match="out can't be replaced .*restart its kernel"):
        with new_folder(tmp_path / "out", never, replace=True) as hidden:
            (hidden / "new").write_bytes(b"")
            monkeypatch.setattr(Path, "rename", refuse)
    assert files_in(tmp_path) == ["out/old"]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="Windows seldom allows links")
def test_a_link_to_an_empty_folder_stays_a_link(tmp_path):
    (tmp_path / "drive").mkdir()
    (tmp_path / "out").symlink_to("drive")
    with new_folder(tmp_path / "out", never) as hidden:
        (hidden / "a").write_bytes(b"")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "drive" / "a").exists()


# ---- two processes at once ----


WAYS = {  # what two processes do at once, and where the result is
    "prepare a folder": ("prepare('set', size=16)", "data/prepared"),
    "prepare into a folder": ("prepare('set', 'out', 16)", "out"),
    "unpack a zip": ("download.get('set.zip')", "data/set"),
    "draw": ("drawn.write('out', 60, workers=1)", "out"),
    "train on a zip": ("load_faces('set.zip', 16)", "data/prepared"),
}
TOGETHER = """
import os, time
from animegan_helpers import download, drawn
from animegan_helpers.prepare import load_faces, prepare

open(f"ready{os.getpid()}", "w").close()
while not os.path.exists("go"):
    time.sleep(0.001)
WAY
"""


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_that_make_the_same_set_at_once_end_well(way, home):
    files = {f"{i:03d}.png": encoded(noise_image(i, 64)) for i in range(200)}
    write_zip(home / "set.zip", files)
    (home / "set").mkdir()
    for name, content in files.items():
        (home / "set" / name).write_bytes(content)
    code, out = WAYS[way]
    command = [sys.executable, "-c", TOGETHER.replace("WAY", code)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    while len(list(home.glob("ready*"))) < 2:
        assert all(process.poll() is None for process in processes)
    (home / "go").touch()
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert files_in(home / out) != []
    hidden = [path for path in home.rglob(".*") if ".part" in path.name]
    assert hidden == []
