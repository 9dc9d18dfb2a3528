"""download, the named sets: every place they can come from, against replicas on this machine."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kagglesdk.kaggle_env as kaggle_env
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants as hub
from PIL import Image

from animegan_helpers import __main__, download, preprocess

COMMIT = "852f24a" + "0" * 33
NAMES = [f"images/{i}.png" for i in range(40)]


def picture(seed, mode="RGB"):
    file, size = io.BytesIO(), 900 if seed == 39 else 32  # one of 2 MB: the tools write a MB at a time
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def a_zip(names=NAMES):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, picture(i))
    return file.getvalue()


def a_parquet(modes):
    rows = [{"bytes": picture(i, mode), "path": None} for i, mode in enumerate(modes)]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), file)
    return file.getvalue()


class Replica(BaseHTTPRequestHandler):
    """Kaggle and Hugging Face as far as the tools ask: their answers, redirects, ranges and checksums.

    The server's `faults` are taken one by one, each by one transfer of the zip: "cut", "html", or a status number.
    """

    protocol_version = "HTTP/1.1"

    def answer(self, body=b"", status=200, kind="application/json", cut=None, **headers):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut:
            self.close_connection = True

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        what, version = self.path.rpartition("/")[2], asked.get("datasetVersionNumber")
        self.server.log.append(f"{what} {version or ''}".strip())
        if what == "DownloadDataset" and self.server.kaggle and version in (None, self.server.version):
            place = f"http://127.0.0.1:{self.server.server_port}/files/archive.zip"
            self.answer(status=302, Location=place)
        elif what == "GetDataset" and self.server.kaggle:
            self.answer({"currentVersionNumber": self.server.version})
        elif what == "GetDatasetMetadata" and self.server.kaggle:
            self.answer({"info": {"licenses": [{"name": "unknown"}]}})
        else:
            self.answer({"code": 404, "message": "Not found"}, 404)

    def do_GET(self):
        if self.path == "/files/archive.zip":
            return self.send_zip()
        self.server.log.append(self.path)
        repo = f"/api/datasets/{download.HUB['hub']}"
        file = {"type": "file", "path": "data/train.parquet", "size": len(self.server.parquet), "oid": "1" * 40}
        if not self.server.hub:
            self.answer({"error": "Repository not found"}, 404)
        elif self.path.startswith(f"{repo}/commits"):
            commits = [{"id": commit, "title": "", "message": "", "date": "2024-01-01T00:00:00.000Z", "authors": []}
                       for commit in self.server.hub]  # fmt: skip
            self.answer(commits)
        elif self.path.startswith(f"{repo}/tree"):
            self.answer([file])
        elif self.path.startswith(repo):
            self.answer({"id": download.HUB["hub"], "sha": self.server.hub[0], "siblings": []})
        else:
            commit = self.path.partition("/resolve/")[2].partition("/")[0]
            self.answer(self.server.parquet, kind="application/octet-stream", ETag='"1"', X_Repo_Commit=commit)

    do_HEAD = do_GET

    def send_zip(self):
        content, asked = self.server.zip, self.headers.get("Range", "bytes=0-")
        self.server.log.append(f"zip {asked}")
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "html":
            return self.answer(b"<html>please log in</html>", kind="text/html")
        if isinstance(fault, int):
            return self.answer(b"slow down", fault, "text/plain")
        first = int(asked.removeprefix("bytes=").rstrip("-"))
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        headers = {"Accept_Ranges": "bytes", "X_Goog_Hash": f"md5={md5}", "ETag": '"1"'}
        headers |= {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
        cut = (len(content) - first) // 2 if fault == "cut" else None
        self.answer(content[first:], 206 if first else 200, "application/zip", cut, **headers)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def replica():
    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        server.log, server.faults, server.kaggle, server.version, server.hub = [], [], True, 3, [COMMIT]
        server.zip, server.parquet = a_zip(), a_parquet(["RGB", "RGBA", "L", "P"])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def fetch(replica, home, monkeypatch, capfd):
    """-> a function that runs `download NAME` where the tools know of no other servers than the replica."""
    here, sleep = f"http://127.0.0.1:{replica.server_port}", time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    for name in [name for name in os.environ if name.startswith(("KAGGLE", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(home / "kagglehub"))
    monkeypatch.setattr(hub, "ENDPOINT", here)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, here)
    (home / "site").mkdir()  # the kaggle command is a process of its own: it learns of the replica as it starts
    (home / "site" / "sitecustomize.py").write_text(f"""
import kagglesdk.kaggle_env as kaggle
kaggle._env_to_endpoint[kaggle.KaggleEnv.PROD] = "{here}"
""")
    monkeypatch.setenv("PYTHONPATH", str(home / "site"))

    def run(name):
        capfd.readouterr()
        code = __main__.main(["download", name])
        told = capfd.readouterr()
        return subprocess.CompletedProcess(name, code, told.out, told.err)

    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


# ---- from the network ----


def test_kagglehub_brings_the_pinned_version_and_a_manifest_and_the_second_time_nothing_is_asked(fetch, replica, home):
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    folder = home / "data" / "animefacedataset"
    assert files(folder) == sorted([*NAMES, "manifest.json"]) and "40 pictures are in" in done.stdout
    told = manifest(folder)
    assert told["source"] == "Kaggle, by kagglehub, version 3" and told["count"] == 40
    contents = [(folder / name).read_bytes() for name in sorted(NAMES)]
    assert told["bytes"] == sum(map(len, contents)) and told["sha256"] == hashlib.sha256(b"".join(contents)).hexdigest()
    asked = len(replica.log)
    assert fetch("splcher/animefacedataset").returncode == 0 and len(replica.log) == asked
    assert os.listdir(home / "data") == ["animefacedataset"]


def test_a_transfer_that_breaks_off_is_taken_up_where_it_stopped(fetch, replica, home):
    replica.faults[:] = ["cut", "cut"]
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["count"] == 40 and "trying again" in done.stdout
    ranges = [line for line in replica.log if line.startswith("zip")]
    assert ranges[:3] == ["zip bytes=0-", "zip bytes=0-", f"zip bytes={2**20}-"], "it asks again, then for the rest"


def test_a_busy_server_is_asked_again(fetch, replica, home):
    replica.faults[:] = [429, 429]
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["source"] == "Kaggle, by kagglehub, version 3"


def test_a_server_that_stays_busy_is_given_up_and_the_next_place_does(fetch, replica, home):
    replica.faults[:] = [429] * 30
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["source"].startswith("Hugging Face")


def test_a_login_page_in_place_of_a_zip_is_not_taken_for_a_set(fetch, replica, home):
    replica.faults[:] = ["html"] * 30
    replica.hub = []
    done = fetch("animefacedataset")
    assert done.returncode == 2 and files(home / "data") == []
    assert "Unsupported archive" in done.stderr


def test_a_pinned_version_that_is_gone_gives_way_to_the_newest_and_that_is_told(fetch, replica, home):
    replica.version = 7
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    assert "newest version" in done.stdout
    assert manifest(home / "data" / "animefacedataset")["source"] == "Kaggle, by kagglehub, newest version"
    assert [line for line in replica.log if line.startswith("Download")] == ["DownloadDataset 3", "DownloadDataset 7"]


def test_without_kagglehub_the_kaggle_command_does(fetch, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    done = fetch("animefacedataset")
    assert done.returncode == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["source"] == "animefacedataset.zip"
    assert os.listdir(home / "data") == ["animefacedataset"], "the zip is not kept beside its pictures"


def test_hugging_faces_rows_become_files_and_all_kinds_of_picture_become_rgb(fetch, home):
    done = fetch("anime-face-dataset")
    assert done.returncode == 0, done.stderr
    folder = home / "data" / "anime-face-dataset"
    assert files(folder) == [*(f"{i:06d}.png" for i in range(4)), "manifest.json"]
    assert COMMIT[:7] in manifest(folder)["source"]
    assert [Image.open(folder / f"{i:06d}.png").mode for i in range(4)] == ["RGB", "RGBA", "L", "P"]
    prepared = preprocess.prepare(folder, size=32)
    assert prepared.array.shape == (4, 32, 32, 3)
    assert (prepared.array[0] == np.asarray(Image.open(io.BytesIO(picture(0))))).all()


def test_the_pinned_commit_is_found_among_later_ones(fetch, replica, home):
    replica.hub = ["f" * 40, COMMIT]
    done = fetch("anime-face-dataset")
    assert done.returncode == 0, done.stderr
    assert any(f"/tree/{COMMIT}" in line for line in replica.log) and "newest" not in done.stdout


def test_a_pinned_commit_that_is_gone_gives_way_to_the_newest_and_that_is_told(fetch, replica, home):
    replica.hub = ["f" * 40]
    done = fetch("anime-face-dataset")
    assert done.returncode == 0, done.stderr
    assert "no commit 852f24a any more: taking the newest" in done.stdout
    assert manifest(home / "data" / "anime-face-dataset")["source"].endswith("commit fffffff")


def test_when_every_place_fails_each_reason_and_three_ways_out_are_told_and_nothing_is_drawn(fetch, replica, home):
    replica.kaggle, replica.hub = False, []
    done = fetch("animefacedataset")
    assert done.returncode == 2
    for text in ("version 3: ", "newest version: ", "its own command: ", "Hugging Face, ", "404"):
        assert text in done.stderr
    for text in ("1. try again", "2. download it in a browser from https://www.kaggle.com/", "3. go on with drawn"):
        assert text in done.stderr
    assert os.listdir(home / "data") == []


# ---- from where it lies already ----


def lay(folder, *names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(i))
    return folder


@pytest.mark.parametrize("place", ["anime-faces", "datasets/soumikrakshit/anime-faces", "some/where/anime-faces"])
def test_a_set_that_kaggle_has_mounted_is_found_in_old_and_new_layouts(place, home, monkeypatch):
    monkeypatch.setattr(download, "MOUNTS", home / "mounts")
    folder = lay(home / "mounts" / place, "data/1.png", "data/data/2.png")
    lay(home / "mounts" / "other-set", "1.png")
    assert download.get("anime-faces") == download.get("soumikrakshit/anime-faces") == folder
    assert files(folder) == ["data/1.png", "data/data/2.png"], "a mount is read only: nothing is written there"


def refuse(*arguments, **named):
    raise AssertionError("the network was asked")


@pytest.mark.parametrize("place", ["datasets/somebody/anime-faces", "anime-faces"])
def test_another_owners_set_or_an_empty_mount_is_not_taken(place, home, monkeypatch):
    monkeypatch.setattr(download, "MOUNTS", home / "mounts")
    lay(home / "mounts" / place, *(["1.png"] if "somebody" in place else ["1.txt"]))
    for name in ("_from_kagglehub", "_from_kagglehub_pinned", "_from_kaggle_command", "_from_hub"):
        monkeypatch.setattr(download, name, refuse)
    with pytest.raises(download.NotFetched, match="the network was asked"):
        download.get("anime-faces")


def test_what_lies_under_data_is_taken_without_the_network_as_folder_or_zip(home, monkeypatch):
    monkeypatch.setattr(download, "_check_room", refuse)  # it is asked before every fetch
    folder = lay(home / "data" / "animecharacterfaces", "deep/1.png")
    assert download.get("animecharacterfaces") == folder
    monkeypatch.undo()
    monkeypatch.chdir(home)
    (home / "data" / "anime-faces.zip").write_bytes(a_zip())
    assert download.get("anime-faces") == home / "data" / "anime-faces"
    assert manifest(home / "data" / "anime-faces")["count"] == 40


def test_a_folder_of_the_same_name_given_by_hand_comes_first(home):
    folder = lay(home / "anime-faces", "1.png")
    assert download.get("anime-faces").resolve() == folder


def test_a_full_disk_is_told_before_anything_is_fetched(home, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: type("usage", (), {"free": 10**9}))
    monkeypatch.setattr(download, "_from_kagglehub_pinned", refuse)
    with pytest.raises(OSError, match="0.9 GB free, and about 1.8 GB are needed"):
        download.get("animefacedataset")


@pytest.mark.parametrize(
    "name", ["Mckinsey666/Anime-Face-Dataset", "https://github.com/Mckinsey666/Anime-Face-Dataset"]
)
def test_the_original_set_is_told_as_withdrawn_with_what_stands_in(name, home, capsys):
    with pytest.raises(ValueError, match="withdrawn.*2022.*'animefacedataset'.*'anime-face-dataset'"):
        download.get(name)
    assert __main__.main(["download", name]) == 2 and "withdrawn" in capsys.readouterr().err


def test_every_pin_stands_in_the_table_and_the_help_lists_the_sets():
    for known in download.SETS.values():
        assert known.pictures > 1000 and known.page().startswith("https://")
        assert bool(known.kaggle) == bool(known.version) and bool(known.hub) == bool(known.commit)


# ---- links, limits, kills ----


def test_links_in_what_kagglehub_brings_are_not_followed(home, monkeypatch):
    cache = lay(home / "cache", "1.png", "2.png")
    secret = lay(home, "secret.png") / "secret.png"
    (cache / "3.png").symlink_to(secret)
    (cache / "deep").symlink_to(home)
    kagglehub = type("kagglehub", (), {"dataset_download": staticmethod(lambda handle: str(cache))})
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    assert files(download.fetch("anime-faces", home / "data" / "x")) == ["1.png", "2.png", "manifest.json"]


def test_a_bomb_is_refused_before_it_is_unpacked(home):
    with zipfile.ZipFile(home / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    with pytest.raises(ValueError, match="bomb.zip would unpack to 50,000,000 bytes, over 100 times"):
        download.get("bomb.zip")
    assert files(home) == ["bomb.zip"]


def test_a_bomb_that_claims_to_be_small_unpacks_to_no_more_than_it_claims(home):
    with zipfile.ZipFile(home / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    raw = (home / "bomb.zip").read_bytes()
    small = raw.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert small != raw
    (home / "bomb.zip").write_bytes(small)
    with pytest.raises(ValueError, match="bomb.zip can't be unpacked"):
        download.get("bomb.zip")
    assert files(home) == ["bomb.zip"]


@pytest.mark.parametrize("names", [["a.png", "a.png"], ["a.png", "a.png/b.png"]])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_holds_a_name_twice_is_refused(names, home):
    (home / "set.zip").write_bytes(a_zip(names))
    with pytest.raises(ValueError, match="set.zip holds a.png.* twice"):
        download.get("set.zip")
    assert files(home) == ["set.zip"]


@pytest.mark.parametrize("name", ["C:up.png", "C:\\up.png", "\\\\server\\up.png", "a/../../up.png", "..\\up.png"])
def test_names_that_climb_out_on_any_system_are_left_out(name, home):
    (home / "set.zip").write_bytes(a_zip(["ok.png", name]))
    assert files(download.get("set.zip")) == ["manifest.json", "ok.png"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_kill_during_extraction_leaves_no_half_set_20_times(home):
    """The child is killed when it has written so many files; the next one starts again and must not trip over it."""
    (home / "set.zip").write_bytes(a_zip())
    out = home / "data" / "set"
    for written in range(0, 40, 2):
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its progress bar
                die_after(written)
                download.unpack(home / "set.zip", out)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 9, "it was killed, not through"
        assert not out.exists(), f"a set of {written} files was taken for whole"
    assert files(download.unpack(home / "set.zip", out)) == sorted([*NAMES, "manifest.json"])
    assert os.listdir(home / "data") == ["set"]


def die_after(count):
    """Kill this process when `_keep` is about to ask for the file after so many."""
    tqdm = download.tqdm

    def counted(pictures, *arguments, **named):
        for i, item in enumerate(tqdm(pictures, *arguments, **named)):
            if i == count:
                os.kill(os.getpid(), 9)
            yield item

    download.tqdm = counted
