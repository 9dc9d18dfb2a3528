"""Fixtures and settings of all tests: small sets of faces made here, a browser, and no network."""

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported, here and in subprocesses
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from common import missing

from animegan_helpers import drawn
from animegan_helpers.dataset import Faces

LOOPBACK = ("localhost", "127.0.0.1", "::1", "", None)


def pytest_addoption(parser):
    parser.addoption(
        "--thorough",
        action="store_true",
        help="inject faults as often as docs/promises.md says it was",
    )


# Tests that start many processes, train for long, or open a browser. `-m "not slow"` leaves them
# and the pages out.
SLOW_MODULES = (
    "test_alarms",
    "test_anywhere",
    "test_benchmarks",
    "test_browser",
    "test_distributed",
    "test_files",
    "test_gpu",
    "test_main",
    "test_page_10",
    "test_page_11",
    "test_pages_on_a_gpu",
    "test_pages_run",
    "test_promises",
    "test_site",
    "test_web_page",
)


INDEPENDENT_MODULES = ("test_pages_run", "test_pages_on_a_gpu")  # their tests may be separated


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 2`: a process gets a module's tests, or all pages, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = Path(nodeid.split("::")[0])
            if path.suffix == ".ipynb":
                return "pages"
            return nodeid if path.stem in INDEPENDENT_MODULES else path.stem

    return Scheduler(config, log)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb" or item.path.stem in SLOW_MODULES:
            item.add_marker(pytest.mark.slow)


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell started the tests with `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests interrupt their processes
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # `nohup`
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

if sys.platform == "win32":  # these measure memory or file limits as only Unix can
    collect_ignore = ["test_checkpoints.py", "test_images.py", "test_promises.py", "test_site.py"]

    def pytest_report_header() -> str:
        return f"not run on Windows: {', '.join(collect_ignore)}"


@pytest.fixture
def often(request):
    """-> a function that chooses how often a fault is injected.

    `often(30, 200)` is 200 with --thorough, else 30.
    """
    is_thorough = request.config.getoption("--thorough")
    return lambda usual, thorough: thorough if is_thorough else usual


# ---- no network, no data but the tests' own ----


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Only this machine can be reached. Notebook kernels use loopback, so that stays open."""

    def guarded(function, host_of):
        def call(*arguments, **named):
            host = host_of(*arguments)
            if host not in LOOPBACK:
                raise PermissionError(f"tests must not reach the network, but asked for {host}")
            return function(*arguments, **named)

        return call

    def peer(sock, address):
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return address[0]
        return "localhost"

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), peer))
        patch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *rest: host))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_set_named():
    """The data set and the folder that the developer's shell names are ignored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ANIMEGAN_DATA", raising=False)
        patch.delenv("ANIMEGAN_DATA_FOLDER", raising=False)
        yield


@pytest.fixture(autouse=True)
def torch_computes_as_before():
    """Scripts choose the number of threads, and flush tiny numbers; later tests compare bits."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def patient_processes(monkeypatch):
    """Threads of processes that a test starts sleep while they wait: they share the machine."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder, so that `data/` is made there and not in the project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- sets of faces ----


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory):
    """A folder of twelve synthetic faces. Read-only."""
    return drawn.write(tmp_path_factory.mktemp("faces") / "drawn", count=12, workers=1)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A prepared set of 16 random images of 16x16. Read-only."""
    folder = tmp_path_factory.mktemp("prepared")
    count = 16
    size = 16
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    np.save(folder / "faces.npy", pixels)
    (folder / "names.txt").write_text("\n".join(f"{i}.png" for i in range(count)))
    report = {
        "source": "noise",
        "fingerprint": "none",
        "size": size,
        "found": count,
        "unique": count,
    }
    (folder / "report.json").write_text(json.dumps(report))
    return Faces(folder)


# ---- a browser ----


@pytest.fixture(scope="module")  # not longer: while Playwright runs, nothing else can use asyncio
def chromium():
    """A browser without a window."""
    paths = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    paths = [path for path in paths if path]
    if not paths:
        missing("Chromium was not found")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed")
    options = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=paths[0], args=options)
        yield browser
        browser.close()
