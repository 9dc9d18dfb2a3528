"""download: every kind of source becomes a folder of images.

The network is a replica of Kaggle and Hugging Face on this machine.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import kagglesdk.kaggle_env as kaggle_env
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from common import encoded, files_in, noise_image, write_zip
from huggingface_hub import HfApi
from huggingface_hub import constants as hub
from PIL import Image

from animegan_helpers import __main__, archives, download, drawn, sources, storage
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.transfer import with_retries

COMMIT = "852f24a" + "0" * 33
NAMES = [f"images/{i}.png" for i in range(40)]


def png(seed, mode="RGB"):
    size = 32
    if seed == 39:
        size = 900  # 2 MB: the tools write a MB at a time
    return encoded(noise_image(seed, size).convert(mode))


def write_images(folder, *names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(i))
    return folder


def write_zip_of_40(path):
    return write_zip(path, {name: png(i) for i, name in enumerate(NAMES)})


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


# ---- folders, zips and synthetic faces ----


def test_a_folder_is_returned_as_it_is(drawn_folder):
    assert download.get(drawn_folder) == drawn_folder
    assert download.get(str(drawn_folder)) == drawn_folder


def test_a_zip_is_unpacked_under_data_with_a_manifest(home):
    entries = {"a.png": png(1), "deep/er/b.JPG": png(2), "notes.txt": b"no", "labels.csv": b"x"}
    out = download.get(write_zip(home / "set.zip", entries))
    assert out == home / "data" / "set"
    assert files_in(out) == ["a.png", "deep/er/b.JPG", "labels.csv", "manifest.json"]
    assert (manifest(out)["source"], manifest(out)["count"]) == ("set.zip", 3)


def test_a_zip_is_unpacked_to_another_folder_on_request(home):
    archive = write_zip(home / "set.zip", {"a.png": png(1)})
    assert download.get(archive, home / "out") == home / "out"
    assert files_in(home / "out") == ["a.png", "manifest.json"]


def test_the_environment_names_the_set(drawn_folder, home, monkeypatch):
    monkeypatch.setenv("ANIMEGAN_DATA", str(drawn_folder))
    assert download.get() == drawn_folder
    (home / "mine").mkdir()
    assert download.get("mine").resolve() == home / "mine", "a set named by hand comes first"


def test_a_missing_set_is_named_and_synthetic_faces_do_not_replace_it(home, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere.zip"):
        download.get("nowhere.zip")
    monkeypatch.setenv("ANIMEGAN_DATA", "elsewhere")
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        download.get()
    assert files_in(home) == []


def test_synthetic_faces_are_the_default_and_drawn_once(home, monkeypatch):
    counts = []
    write = drawn.write

    def write_few(folder, count):
        counts.append(count)
        return write(folder, 2, workers=1)

    monkeypatch.setattr(drawn, "write", write_few)  # 4,096 take half a minute
    assert download.get() == download.get("drawn") == home / "data" / "drawn"
    assert counts == [4096]
    assert len(drawn.read_labels(home / "data" / "drawn")) == 2


@pytest.mark.parametrize("name", ["faces.npy", "report.json"])
def test_a_prepared_set_is_refused_where_images_are_needed(home, monkeypatch, name):
    (home / "data" / "drawn").mkdir(parents=True)
    (home / "data" / "drawn" / "labels.csv").write_bytes(b"")
    (home / "prepared").mkdir()
    (home / "prepared" / name).write_bytes(b"")
    message = "prepared holds a prepared array, not images: open it with load_faces"
    with pytest.raises(ValueError, match=message):
        download.get("prepared")
    assert download.choose("prepared").resolve() == home / "prepared", "some pages need no images"
    with pytest.raises(ValueError, match=message):
        download.get()
    download.choose(None)
    monkeypatch.setenv("ANIMEGAN_DATA", "prepared")
    with pytest.raises(ValueError, match=message):
        download.get()
    assert files_in(home) == ["data/drawn/labels.csv", f"prepared/{name}"]


def test_images_beside_their_prepared_array_can_still_be_had(drawn_folder, tmp_path):
    folder = shutil.copytree(drawn_folder, tmp_path / "in")
    with pytest.raises(
        FileExistsError, match="in holds images, which does not belong to a prepared set"
    ):
        prepare(folder, folder, 16)  # it would replace the folder
    shutil.copytree(prepare(folder, tmp_path / "out", 16).folder, folder, dirs_exist_ok=True)
    assert download.get(folder) == folder


# ---- a choice that is kept ----


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


def test_a_choice_that_fails_does_not_replace_the_one_before(drawn_folder, home):
    download.choose(drawn_folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        download.choose("nowhere")
    assert download.get() == drawn_folder.resolve()


@pytest.mark.parametrize("source", ["anime-faces", "drawn"])
def test_a_name_that_means_two_things_causes_one_warning(drawn_folder, home, source):
    shutil.copytree(drawn_folder, home / source)
    shutil.copytree(drawn_folder, home / "data" / "drawn")
    for use in (lambda: load_faces(source, 16), lambda: download.choose(source)):
        with pytest.warns(UserWarning, match=source) as warned:
            use()
        assert len(warned) == 1


def test_a_tilde_in_the_folder_to_make_stands_for_the_home_folder(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "me"))
    monkeypatch.setenv("USERPROFILE", str(home / "me"))
    monkeypatch.setattr(drawn, "write", lambda folder, count: None)
    monkeypatch.setattr(download, "fetch", lambda name, out: out)
    write_zip_of_40(home / "set.zip")
    for source in ("drawn", "anime-faces", "set.zip"):
        assert download.get(source, "~/out") == home / "me" / "out"
    assert files_in(home / "me" / "out") == sorted([*NAMES, "manifest.json"])
    assert not (home / "~").exists()


# ---- a replica of the network ----


class Replica(BaseHTTPRequestHandler):
    """Kaggle and Hugging Face as far as the tools ask: answers, redirects, ranges, checksums.

    The server's `faults` are used one by one, each by one transfer of the zip: "cut", "html" or
    an HTTP status.
    """

    protocol_version = "HTTP/1.1"

    def answer(self, body=b"", status=200, kind="application/json", cut=None, **headers):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(body), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut:
            self.close_connection = True

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(length) or "{}")
        version = request.get("datasetVersionNumber")
        action = self.path.rpartition("/")[2]
        self.server.log.append(f"{action} {version or ''}".strip())
        if not self.server.kaggle:
            self.answer({"code": 404, "message": "Not found"}, 404)
        elif action == "DownloadDataset" and version in (None, self.server.version):
            location = f"http://127.0.0.1:{self.server.server_port}/files/archive.zip"
            self.answer(status=302, Location=location)
        elif action == "GetDataset":
            self.answer({"currentVersionNumber": self.server.version})
        elif action == "GetDatasetMetadata":
            self.answer({"info": {"licenses": [{"name": "unknown"}]}})
        else:
            self.answer({"code": 404, "message": "Not found"}, 404)

    def do_GET(self):
        if self.path == "/files/archive.zip":
            self.send_zip()
            return
        self.server.log.append(self.path)
        repo = f"/api/datasets/{sources.HUB['hub']}"
        if not self.server.hub:
            self.answer({"error": "Repository not found"}, 404)
        elif self.path.startswith(f"{repo}/commits"):
            self.answer([self.commit(name) for name in self.server.hub])
        elif self.path.startswith(f"{repo}/tree"):
            size = len(self.server.parquet)
            self.answer(
                [{"type": "file", "path": "data/train.parquet", "size": size, "oid": "1" * 40}]
            )
        elif self.path.startswith(repo):
            self.answer({"id": sources.HUB["hub"], "sha": self.server.hub[0], "siblings": []})
        else:
            commit = self.path.partition("/resolve/")[2].partition("/")[0]
            headers = {"ETag": '"1"', "X_Repo_Commit": commit}
            self.answer(self.server.parquet, kind="application/octet-stream", **headers)

    do_HEAD = do_GET

    def commit(self, name):
        date = "2024-01-01T00:00:00.000Z"
        return {"id": name, "title": "", "message": "", "date": date, "authors": []}

    def send_zip(self):
        content = self.server.zip
        wanted = self.headers.get("Range", "bytes=0-")
        self.server.log.append(f"zip {wanted}")
        fault = None
        if self.server.faults:
            fault = self.server.faults.pop(0)
        if fault == "html":
            self.answer(b"<html>please log in</html>", kind="text/html")
            return
        if isinstance(fault, int):
            self.answer(b"slow down", fault, "text/plain")
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        headers = {"Accept_Ranges": "bytes", "X_Goog_Hash": f"md5={md5}", "ETag": '"1"'}
        status = 200
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            status = 206
        cut = None
        if fault == "cut":
            cut = (len(content) - first) // 2
        self.answer(content[first:], status, "application/zip", cut, **headers)

    def log_message(self, *arguments):
        pass


def parquet(modes):
    rows = [{"bytes": png(i, mode), "path": None} for i, mode in enumerate(modes)]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), file)
    return file.getvalue()


@pytest.fixture
def replica(tmp_path_factory):
    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        server.log = []
        server.faults = []
        server.kaggle = True
        server.version = 3
        server.hub = [COMMIT]
        server.zip = write_zip_of_40(tmp_path_factory.mktemp("server") / "set.zip").read_bytes()
        server.parquet = parquet(["RGB", "RGBA", "L", "P"])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def tools(replica, home, monkeypatch):
    """The tools know of no other servers than the replica, and never wait for long."""
    server = f"http://127.0.0.1:{replica.server_port}"
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    for name in list(os.environ):
        if name.startswith(("KAGGLE", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(home / "kagglehub"))
    file_url = server + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub, "ENDPOINT", server)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", file_url)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_DISABLE_XET", True, raising=False)  # not in all versions
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server)
    (home / "site").mkdir()  # the kaggle command is another process: it is told as it starts
    (home / "site" / "sitecustomize.py").write_text(f"""
import kagglesdk.kaggle_env as kaggle
kaggle._env_to_endpoint[kaggle.KaggleEnv.PROD] = "{server}"
""")
    monkeypatch.setenv("PYTHONPATH", str(home / "site"))


@pytest.fixture
def shell(tools, capfd):
    """-> a function that runs the command `download NAME`; -> its code, stdout and stderr."""

    def run(name):
        capfd.readouterr()
        code = __main__.main(["download", name])
        output = capfd.readouterr()
        return SimpleNamespace(code=code, stdout=output.out, stderr=output.err)

    return run


# ---- from the network ----


def test_kagglehub_downloads_the_pinned_version_once(shell, replica, home):
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    folder = home / "data" / "animefacedataset"
    assert files_in(folder) == sorted([*NAMES, "manifest.json"])
    assert "40 images are in" in done.stdout
    assert manifest(folder)["source"] == "Kaggle, by kagglehub, version 3"
    requests = len(replica.log)
    assert shell("splcher/animefacedataset").code == 0
    assert len(replica.log) == requests, "the second time, nothing is asked"
    assert os.listdir(home / "data") == ["animefacedataset"]


def test_the_manifest_counts_and_hashes_what_was_downloaded(tools, home):
    folder = download.get("animefacedataset")
    contents = [(folder / name).read_bytes() for name in sorted(NAMES)]
    assert manifest(folder)["count"] == 40
    assert manifest(folder)["bytes"] == sum(len(content) for content in contents)
    assert manifest(folder)["sha256"] == hashlib.sha256(b"".join(contents)).hexdigest()


def test_an_interrupted_transfer_resumes_where_it_stopped(shell, replica, home):
    replica.faults[:] = ["cut", "cut"]
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["count"] == 40
    assert "trying again" in done.stdout
    ranges = [line for line in replica.log if line.startswith("zip")]
    expected = ["zip bytes=0-", "zip bytes=0-", f"zip bytes={2**20}-"]
    assert ranges[:3] == expected, "it asks again, then for the rest"


def test_a_busy_server_is_asked_again(shell, replica, home):
    replica.faults[:] = [429, 429]
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    source = manifest(home / "data" / "animefacedataset")["source"]
    assert source == "Kaggle, by kagglehub, version 3"


def test_a_server_that_stays_busy_is_given_up_for_the_next_place(shell, replica, home):
    replica.faults[:] = [429] * 30
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["source"].startswith("Hugging Face")


def test_a_login_page_in_place_of_a_zip_is_not_taken_for_a_set(shell, replica, home):
    replica.faults[:] = ["html"] * 30
    replica.hub = []
    done = shell("animefacedataset")
    assert done.code == 2
    assert files_in(home / "data") == []
    assert "Unsupported archive" in done.stderr


def test_a_pinned_version_that_is_gone_gives_way_to_the_newest_one(shell, replica, home):
    replica.version = 7
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    assert "newest version" in done.stdout
    source = manifest(home / "data" / "animefacedataset")["source"]
    assert source == "Kaggle, by kagglehub, newest version"
    downloads = [line for line in replica.log if line.startswith("Download")]
    assert downloads == ["DownloadDataset 3", "DownloadDataset 7"]


@pytest.mark.skipif(
    find_spec("kaggle") is None, reason="the kaggle command is installed on Python 3.11 and newer"
)
def test_without_kagglehub_the_kaggle_command_is_used(shell, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    done = shell("animefacedataset")
    assert done.code == 0, done.stderr
    assert manifest(home / "data" / "animefacedataset")["source"] == "animefacedataset.zip"
    assert os.listdir(home / "data") == ["animefacedataset"], "the zip is not kept"


@pytest.mark.parametrize(
    "error, is_kept", [(OSError("disk full"), True), (ValueError("cut"), False)]
)
def test_a_zip_that_can_not_be_unpacked_is_kept_unless_it_is_damaged(
    home, monkeypatch, error, is_kept
):
    def fake_download(arguments, **named):
        write_zip_of_40(Path(arguments[-1]) / "animefacedataset.zip")
        return SimpleNamespace(returncode=0, stdout=b"")

    def fail(archive, out):
        raise error

    monkeypatch.setattr(download.shutil, "which", lambda name, path: name)
    monkeypatch.setattr(download.subprocess, "run", fake_download)
    public = sources.PUBLIC_SETS["animefacedataset"]
    with monkeypatch.context() as fault:
        fault.setattr(archives, "unpack", fail)
        with pytest.raises(type(error)):
            download._from_kaggle_command(public, home / "set", "Kaggle")
    downloaded = [".set.kaggle/animefacedataset.zip"]
    assert files_in(home) == (downloaded if is_kept else [])
    download._from_kaggle_command(public, home / "set", "Kaggle")
    assert os.listdir(home) == ["set"], "the zip is not kept"


TRANSFER_ERRORS = {
    "requests": ["ChunkedEncodingError", "ConnectTimeout", "ReadTimeout", "Timeout"],
    "httpx": ["ConnectTimeout", "ReadTimeout", "WriteTimeout", "RemoteProtocolError", "ReadError"],
    "httpx2": ["ConnectTimeout", "ReadTimeout", "RemoteProtocolError", "ReadError"],
}


@pytest.mark.parametrize("library", TRANSFER_ERRORS)
def test_a_broken_transfer_is_tried_again_whichever_library_reports_it(library, monkeypatch):
    errors = pytest.importorskip(library)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setitem(sys.modules, "requests", None)  # Hugging Face does without
    faults = []

    def call():
        if faults:
            raise faults.pop()("broken")
        return "done"

    for name in TRANSFER_ERRORS[library]:
        faults[:] = [getattr(errors, name, None) or getattr(errors.exceptions, name)] * 2
        assert with_retries(call) == "done"


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ConnectionRefusedError])
def test_what_would_fail_again_is_tried_once(error):
    calls = []

    def call():
        calls.append(1)
        raise error("no")

    with pytest.raises(error):
        with_retries(call)
    assert len(calls) == 1


@pytest.mark.parametrize("what", ["commits", "info"])
def test_hugging_face_is_asked_again_for_the_commit_if_it_is_busy(
    shell, replica, home, monkeypatch, what
):
    replica.hub = ["f" * 40, COMMIT]
    busy = OSError("busy")
    busy.response = SimpleNamespace(status_code=503)
    name = {"commits": "list_repo_commits", "info": "dataset_info"}[what]
    answer = getattr(HfApi, name)
    faults = [busy, busy]

    def ask(*arguments, **named):
        if faults:
            raise faults.pop()
        return answer(*arguments, **named)

    monkeypatch.setattr(HfApi, name, ask)
    done = shell("anime-face-dataset")
    assert done.code == 0, done.stderr
    assert faults == []


def test_rows_from_hugging_face_become_files_and_every_mode_becomes_rgb(shell, home):
    done = shell("anime-face-dataset")
    assert done.code == 0, done.stderr
    folder = home / "data" / "anime-face-dataset"
    names = [f"{i:06d}.png" for i in range(4)]
    assert files_in(folder) == [*names, "manifest.json"]
    assert COMMIT[:7] in manifest(folder)["source"]
    modes = [Image.open(folder / name).mode for name in names]
    assert modes == ["RGB", "RGBA", "L", "P"]
    faces = prepare(folder, size=32)
    assert faces.array.shape == (4, 32, 32, 3)
    assert (faces.array[0] == np.asarray(noise_image(0, 32))).all()


def test_the_pinned_commit_is_found_among_later_ones(shell, replica, home):
    replica.hub = ["f" * 40, COMMIT]
    done = shell("anime-face-dataset")
    assert done.code == 0, done.stderr
    assert any(f"/tree/{COMMIT}" in line for line in replica.log)
    assert "newest" not in done.stdout


def test_a_pinned_commit_that_is_gone_gives_way_to_the_newest_one(shell, replica, home):
    replica.hub = ["f" * 40]
    done = shell("anime-face-dataset")
    assert done.code == 0, done.stderr
    assert "no longer has commit 852f24a: taking the newest" in done.stdout
    source = manifest(home / "data" / "anime-face-dataset")["source"]
    assert source.endswith("commit fffffff")


def test_when_every_place_fails_all_reasons_and_three_ways_out_are_listed(shell, replica, home):
    replica.kaggle = False
    replica.hub = []
    done = shell("animefacedataset")
    assert done.code == 2
    for text in (
        "version 3: ",
        "newest version: ",
        "its own command: ",
        "Hugging Face, ",
        "404",
        "1. try again",
        "2. download it in a browser from https://www.kaggle.com/",
        "3. continue with synthetic faces",
    ):
        assert text in done.stderr
    assert os.listdir(home / "data") == [], "no synthetic faces were drawn"
    with pytest.raises(download.DownloadError, match="404"):
        download.get("animefacedataset")


def test_a_set_without_a_zip_names_a_similar_one_and_no_place_for_it():
    archive = Path("data/anime-face-dataset.zip")
    message = download._what_to_do("anime-face-dataset", archive, "Hugging Face: 404")
    assert "2. download a similar set in a browser from https://www.kaggle.com/" in message
    assert str(archive) not in message, "a set with other images would get this name"


def test_the_shell_reports_the_withdrawn_set(home, capsys):
    assert __main__.main(["download", sources.WITHDRAWN]) == 2
    assert "withdrawn" in capsys.readouterr().err


# ---- found on this machine ----


@pytest.mark.parametrize(
    "place", ["anime-faces", "datasets/soumikrakshit/anime-faces", "some/where/anime-faces"]
)
def test_a_set_mounted_by_kaggle_is_found_in_old_and_new_layouts(place, home, monkeypatch):
    monkeypatch.setattr(download, "MOUNTS", home / "mounts")
    names = ["data/1.png", "data/data/2.png"]
    folder = write_images(home / "mounts" / place, *names)
    write_images(home / "mounts" / "other-set", "1.png")
    assert download.get("anime-faces") == download.get("soumikrakshit/anime-faces") == folder
    assert files_in(folder) == names, "a mount is read-only: nothing is written there"


def refuse(*arguments, **named):
    raise AssertionError("the network was asked")


@pytest.mark.parametrize(
    "place, name", [("datasets/somebody/anime-faces", "1.png"), ("anime-faces", "deep/.1.png")]
)
def test_another_owners_set_or_an_empty_mount_is_not_used(place, name, home, monkeypatch):
    monkeypatch.setattr(download, "MOUNTS", home / "mounts")
    write_images(home / "mounts" / place, name)
    (home / "mounts" / place / "1.txt").write_text("no image")
    for function in ("_from_kagglehub", "_from_kagglehub_pinned", "_from_kaggle_command"):
        monkeypatch.setattr(download, function, refuse)
    monkeypatch.setattr(download, "_from_hub", refuse)
    with pytest.raises(download.DownloadError, match="the network was asked"):
        download.get("anime-faces")


def test_a_folder_or_zip_under_data_is_used_without_the_network(home, monkeypatch):
    monkeypatch.setattr(storage, "check_free_space", refuse)  # it comes before every download
    folder = write_images(home / "data" / "animecharacterfaces", "deep/1.png")
    assert download.get("animecharacterfaces") == folder
    monkeypatch.undo()
    monkeypatch.chdir(home)
    write_zip_of_40(home / "data" / "anime-faces.zip")
    assert download.get("anime-faces") == home / "data" / "anime-faces"
    assert manifest(home / "data" / "anime-faces")["count"] == 40


def test_a_folder_with_the_name_of_a_public_set_comes_first(home):
    folder = write_images(home / "anime-faces", "1.png")
    assert download.get("anime-faces").resolve() == folder


def test_a_full_disk_is_reported_before_anything_is_downloaded(home, monkeypatch):
    usage = type("usage", (), {"free": 10**9})
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(download, "_from_kagglehub_pinned", refuse)
    with pytest.raises(OSError, match="0.9 GB free, and about 1.8 GB are needed"):
        download.get("animefacedataset")


def test_links_in_what_kagglehub_downloads_are_not_followed(home, monkeypatch):
    cache = write_images(home / "cache", "1.png", "2.png")
    secret = write_images(home, "secret.png") / "secret.png"
    (cache / "3.png").symlink_to(secret)
    (cache / "deep").symlink_to(home)
    kagglehub = SimpleNamespace(dataset_download=lambda handle: str(cache))
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    folder = download.fetch("anime-faces", home / "data" / "x")
    assert files_in(folder) == ["1.png", "2.png", "manifest.json"]
