"""__main__: what holds for every command: consoles, errors, and what works without torch."""

import io
import os
import subprocess
import sys
import time

import pytest
import torch
from common import encoded, noise_image

from animegan_helpers import __main__, __version__, commands


def console(encoding):
    """-> a text stream that fails, as a console does, for what its encoding lacks."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


NAMES = {"Japanese": "顔", "emoji": "\N{SMILING FACE WITH SUNGLASSES}", "not text": "\udcff"}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_console_cannot_show_is_escaped(name, encoding, home, monkeypatch):
    if sys.platform != "linux" and name == "not text":
        pytest.skip("names are text on this system")
    folder = home / NAMES[name]
    folder.mkdir()
    for i in range(3):
        (folder / f"{NAMES[name]}{i}.png").write_bytes(encoded(noise_image(i)))
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, console(encoding))
    assert __main__.main(["prepare", folder.name, "--size", "16", "--out", "out"]) == 0
    assert __main__.main(["train", "--data", "nowhere" + NAMES[name], "--run", "r"]) == 2
    sys.stdout.seek(0)
    sys.stderr.seek(0)
    assert "3  images found in" in sys.stdout.read()
    assert "no such folder or zip" in sys.stderr.read()


def test_a_command_works_without_a_console(monkeypatch):
    """As in a program without windows, or with closed descriptors."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert __main__.main(["recipes"]) == 0
    assert __main__.main(["sample", "--run", "nowhere"]) == 2


MEMORY_ERRORS = {
    "Python": MemoryError,
    "the CPU": lambda: torch.empty(2**50, dtype=torch.uint8),
    "a GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "Apple's GPU": lambda: RuntimeError("MPS backend out of memory (allocated: 9 GB)"),
}


@pytest.mark.parametrize("where", MEMORY_ERRORS)
def test_a_lack_of_memory_is_one_line_with_the_cure(where, monkeypatch, capsys):
    def fail(args):
        raise MEMORY_ERRORS[where]()

    monkeypatch.setitem(commands.COMMANDS, "recipes", fail)
    assert __main__.main(["recipes"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out of memory: choose smaller batches" in line


def test_another_error_of_torch_keeps_its_traceback(monkeypatch):
    def fail(args):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setitem(commands.COMMANDS, "recipes", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        __main__.main(["recipes"])


def test_a_warning_is_one_line(home, capsys):
    (home / "drawn").mkdir()
    (home / "data" / "drawn").mkdir(parents=True)
    (home / "data" / "drawn" / "labels.csv").write_text("file")
    (home / "data" / "drawn" / "a.png").write_bytes(encoded(noise_image()))
    assert __main__.main(["download", "drawn"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "animegan_helpers: warning: 'drawn' stands for the synthetic faces; the folder of that"
        " name is './drawn'"
    ]


# ---- without torch ----


@pytest.fixture
def without_torch(tmp_path):
    """-> a function that runs a command in a Python that has neither torch nor Pillow."""
    for name in ("torch", "PIL"):
        code = f"raise ImportError(\"No module named '{name}'\", name='{name}')"
        (tmp_path / f"{name}.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *sys.path])

    def run(*words):
        command = [sys.executable, "-m", "animegan_helpers", *words]
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    "words, printed",
    [
        (("--version",), __version__),
        (("--help",), "draw synthetic anime faces"),
        (("train", "--help"), "--recipe"),
        (("download", "--help"), "animefacedataset"),
    ],
)
def test_version_and_help_need_neither_torch_nor_pillow(words, printed, without_torch):
    result = without_torch(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert printed in result.stdout


@pytest.mark.parametrize(
    "words", [("recipes",), ("sample", "--run", "r"), ("draw", "--count", "1")]
)
def test_a_command_without_torch_names_it_in_one_line(words, without_torch):
    result = without_torch(*words)
    assert result.returncode == 2
    assert result.stderr == (
        "animegan_helpers: torch can't be imported (No module named 'torch'):"
        " pip install -r requirements.txt\n"
    )


def test_help_is_quick():
    """Half a second on a quiet machine; importing torch alone takes two."""
    command = [sys.executable, "-m", "animegan_helpers", "--help"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


# ---- how threads wait ----


PRINT_SETTING = "import os; from animegan_helpers.__main__ import main; main(['recipes']);"
PRINT_SETTING += " print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    "variable, expected",
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_a_command_lets_threads_sleep_early_unless_the_user_says_how_they_wait(variable, expected):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: text for name, text in os.environ.items() if name not in names}
    result = subprocess.run(
        [sys.executable, "-c", PRINT_SETTING],
        env=environment | variable,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split()[-1] == expected


# ---- a console that is gone ----


class Gone(io.StringIO):
    """A pipe whose reader has ended, or a log on a full disk."""

    def write(self, text):
        raise BrokenPipeError("Broken pipe")

    def flush(self):
        raise OSError("No space left on device")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words, code", [(["recipes"], 0), (["--help"], 0), (["no-command"], 2)])
def test_a_console_on_a_full_disk_does_not_change_the_exit_code(words, code):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "animegan_helpers", *words]
        result = subprocess.run(command, stdout=full, stderr=full, env=environment)
    assert result.returncode == code


@pytest.mark.parametrize("names", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_console_that_is_gone_does_not_end_a_training(names, faces, home, monkeypatch):
    for name in names:
        monkeypatch.setattr(sys, name, Gone(""))
    sizes = ["--width", "4", "--z-dim", "8", "--batch", "4", "--size", "16"]
    words = ["train", "--data", str(faces.folder), "--run", "r", "--steps", "3", *sizes]
    assert __main__.main(words) == 0
    assert (home / "r" / "G.pth").exists()
    assert (home / "r" / "film.gif").exists()


def test_a_folder_whose_name_begins_like_a_home_is_found(home, capsys):
    folder = home / "~nobody-of-this-name"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(noise_image()))
    assert __main__.main(["prepare", folder.name, "--size", "16", "--out", "out"]) == 0
    assert "1  images found" in capsys.readouterr().out
