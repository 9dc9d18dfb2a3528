"""locks: one process at a time holds the lock of a path."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import pytest

from animegan_helpers.locks import Locked, lock

HOLDER = """
import sys, time
from animegan_helpers.locks import lock

with lock(sys.argv[1], "training"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Each test has a temporary folder of its own, for this process and those it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_lock_that_another_process_holds_is_refused_with_that_process_named(holder, tmp_path):
    with pytest.raises(Locked, match=f"process {holder.pid} is training .*run"):
        with lock(tmp_path / "run", "training"):
            pass


@pytest.mark.skipif(os.name == "nt", reason="Windows seldom allows links")
def test_a_lock_belongs_to_the_real_path(holder, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path)
    for name in ("run", "link", "./run/../run", "run/"):
        with pytest.raises(Locked):
            with lock(name, "training"):
                pass
    with lock("other", "training"):
        pass


ENDS = ["kill", "end"] + ["interrupt"] * (os.name != "nt")  # Windows sends no SIGINT to a process


@pytest.mark.parametrize("end", ENDS)
def test_a_lock_ends_with_its_process(end, holder, tmp_path):
    if end == "kill":
        holder.kill()
    elif end == "interrupt":
        holder.send_signal(signal.SIGINT)
    else:
        holder.communicate("\n")
    holder.wait(timeout=60)
    with lock(tmp_path / "run", "training"):
        pass


def test_a_lock_can_be_waited_for(holder, tmp_path, capsys):
    threading.Timer(0.5, holder.kill).start()
    start = time.monotonic()
    with lock(tmp_path / "run", "training", wait=True):
        assert time.monotonic() - start > 0.3
    message = f"waiting for process {holder.pid}, which is training {tmp_path / 'run'}"
    assert message in capsys.readouterr().out


def test_a_process_does_not_lock_a_path_twice(tmp_path):
    with lock(tmp_path / "run", "training"):
        with pytest.raises(Locked, match="this process is training"):
            with lock(tmp_path / "run", "training"):
                pass
    with lock(tmp_path / "run", "training"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path):
    """As the workers of a DataLoader do for a while after their process was killed."""
    code = HOLDER.replace(
        'print("held"', 'import os\n    if os.fork() == 0: time.sleep(30)\n    print("held"'
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    try:
        with lock(tmp_path / "run", "training"):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_the_lock_file_of_another_user_is_opened_as_linux_allows_it(tmp_path, monkeypatch):
    """With fs.protected_regular, which Debian sets, O_CREAT is refused for another user's file."""
    with lock(tmp_path / "run", "training"):
        pass
    real_open = os.open

    def protected(path, flags, *mode):
        if flags & os.O_CREAT and os.path.exists(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, flags, *mode)

    monkeypatch.setattr(os, "open", protected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with lock(tmp_path / "run", "training"), lock(tmp_path / "new", "training"):
            pass


@pytest.mark.parametrize("fault", ["no folder", "a file in its place", "no locks"])
def test_where_nothing_can_be_locked_there_is_one_warning(
    fault, own_temporary_folder, tmp_path, monkeypatch
):
    if fault == "no folder":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    elif fault == "a file in its place":
        (own_temporary_folder / "animegan-locks").write_bytes(b"")
    else:
        fcntl = pytest.importorskip("fcntl")

        def refuse(*arguments):
            raise OSError("No locks available")

        monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match="run can't be locked") as warned:
        with lock(tmp_path / "run", "training"):
            pass
    assert len(warned) == 1
