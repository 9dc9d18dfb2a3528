"""What the tests share: small sets of faces made here, and no network."""

import json
import os
import shutil
import socket

import numpy as np
import pytest
import torch

from animegan_helpers import drawn, preprocess

LOOPBACK = ("localhost", "127.0.0.1", "::1", "", None)


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="inject faults as often as the README's table says it was")


@pytest.fixture
def often(request):
    """-> a function that chooses how often a fault is injected: `often(30, 200)` is 200 with --thorough, else 30."""
    return lambda usual, thorough: thorough if request.config.getoption("--thorough") else usual


def flat(state, path=""):
    """A nested state -> its leaves by path, tensors as bytes: equal only if all bits are."""
    if isinstance(state, torch.Tensor):
        return {path: (str(state.dtype), tuple(state.shape), state.numpy().tobytes())}
    if isinstance(state, (dict, list, tuple)):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {key: leaf for name, part in pairs for key, leaf in flat(part, f"{path}/{name}").items()}
    return {path: state}


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Only this machine can be reached; notebooks' kernels talk to us through loopback, so that stays open."""

    def guarded(function, host_of):
        def call(*arguments, **named):
            host = host_of(*arguments)
            if host not in LOOPBACK:
                raise PermissionError(f"tests must not reach the network, but {host} was asked for")
            return function(*arguments, **named)

        return call

    def peer(sock, address):
        return address[0] if sock.family in (socket.AF_INET, socket.AF_INET6) else "localhost"

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), peer))
        patch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *rest: host))
        yield


@pytest.fixture(autouse=True)
def no_set_named(monkeypatch):
    """What the developer's shell names as data plays no part."""
    monkeypatch.delenv("ANIMEGAN_DATA", raising=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder, so that `data/` is made there and not in the project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory):
    """A folder of twelve drawn faces. To be read only."""
    return drawn.write(tmp_path_factory.mktemp("faces") / "drawn", count=12, workers=1)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A prepared set of 16 random pictures of 16x16. To be read only."""
    folder, size, count = tmp_path_factory.mktemp("prepared"), 16, 16
    np.save(folder / "faces.npy", np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))
    (folder / "names.txt").write_text("\n".join(f"{i}.png" for i in range(count)))
    report = {"source": "noise", "fingerprint": "none", "size": size, "found": count, "unique": count}
    (folder / "report.json").write_text(json.dumps(report))
    return preprocess.Prepared(folder)


def missing(what):
    told = f"{what}: the browser's tests need it (apt-get install chromium; pip install playwright)"
    (pytest.fail if os.environ.get("ANIMEGAN_NEEDS_BROWSER") else pytest.skip)(told)


@pytest.fixture(scope="module")  # not longer: while Playwright runs, nothing else can use asyncio
def chromium():
    """A browser without a window."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        missing("no Chromium was found")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()
