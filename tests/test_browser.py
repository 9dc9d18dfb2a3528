"""A real browser: Debian's Chromium opens JupyterLab, runs pages, and moves what a learner moves."""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
WITH_EXPLORER = ("00_start_here.ipynb", "06_explore_the_latent_space.ipynb")
PAGES = [name for name in WITH_EXPLORER if (ROOT / "notebooks" / name).exists()]
EXPLORER = """
from animegan_helpers import latent, widgets
G, directions = latent.ready()
widgets.Explorer(G, directions)
"""
LIVE = """
from animegan_helpers import preprocess, recipes, training, widgets
recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
game = training.train(recipe, preprocess.Prepared({faces!r}), "live", steps=8, watch=widgets.LiveView(0))
"""
# JupyterLab asks nothing about news, and keeps cells that are out of sight in the page.
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false"}, "notebook-extension/tracker": {}}
SETTINGS["notebook-extension/tracker"]["windowingMode"] = "none"
OPENED = "() => window.jupyterapp?.shell.currentWidget?.sessionContext && window.jupyterapp.restored"
READY = """async () => {
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info;
}"""
RUN_ALL = """async seconds => {
    const late = new Promise((_, fail) => setTimeout(() => fail(`not through after ${seconds} s`), 1000 * seconds));
    await Promise.race([jupyterapp.commands.execute("notebook:run-all-cells"), late]);
    return JSON.stringify(jupyterapp.shell.currentWidget.model.toJSON());
}"""
# From a key's press to the moment the picture that it caused can be seen, by the browser's own clock.
NEXT_PICTURE = """image => {
    let pressed = performance.now();
    addEventListener("keydown", () => pressed = performance.now(), {capture: true, once: true});
    window.changed = new Promise(done => image.addEventListener(
        "load", () => requestAnimationFrame(() => done(performance.now() - pressed)), {once: true}));
}"""
COUNT_PICTURES = """image => {
    window.pictures = 0;
    new MutationObserver(() => window.pictures++).observe(image, {attributeFilter: ["src"]});
}"""
COLLECT = """() => {
    window.seen = new Set();
    setInterval(() => document.querySelectorAll(".jp-RenderedImage img").forEach(i => seen.add(i.src)), 50);
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, so that no committed page is touched."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "animegan_helpers", root / "animegan_helpers")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    return root


@pytest.fixture(scope="module")
def jupyter(project, tmp_path_factory):
    """JupyterLab on a free port, with settings and a runtime folder of its own. -> its address."""
    own = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    folders |= {"JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_CONFIG_DIR": "config", "IPYTHONDIR": "ipython"}
    env = os.environ | {name: str(own / folder) for name, folder in folders.items()} | {"PYTHONPATH": str(project)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--expose-app-in-browser", f"--ServerApp.root_dir={project}"]
    log = open(own / "log.txt", "w", encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", *options], env=env, stdout=log, stderr=log, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, (own / "log.txt").read_text(encoding="utf-8")
            time.sleep(0.2)
    yield address
    server.send_signal(signal.SIGTERM)  # it ends its kernels, too
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    log.close()


@pytest.fixture(scope="module")
def window(chromium):
    """One for all tests: what JupyterLab is made of is loaded once. What can't be found within 30 s is not there."""
    window = chromium.new_context(
        viewport={"width": 1400, "height": 1000}, permissions=["clipboard-read", "clipboard-write"]
    )
    window.set_default_timeout(30_000)
    return window


@pytest.fixture
def page(window):
    """An empty tab."""
    tab = window.new_page()
    yield tab
    tab.close()


def opened(page, address, name):
    """Open a notebook, and wait for its kernel."""
    page.goto(f"{address}/lab/tree/notebooks/{name}?reset")
    page.wait_for_function(OPENED)
    page.evaluate(READY)


def run_all(page, seconds=120):
    """Run all cells to the last one; none may fail. -> the notebook as it would be saved."""
    notebook = nbformat.reads(page.evaluate(RUN_ALL, seconds), as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type == "error"] == []
    return notebook


def written(project, name, source):
    """A notebook of one cell -> its name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip())])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, project / "notebooks" / name)
    return name


def screenshot(shown, name):
    folder = os.environ.get("ANIMEGAN_SCREENSHOTS")
    if folder:
        shown.screenshot(path=Path(folder) / f"{name}.png")


class Shown:
    """The explorer in the page: its picture, its controls."""

    def __init__(self, page):
        self.page = page
        self.image = page.locator(".jp-OutputArea img.widget-image").first
        self.box = page.locator(".jp-OutputArea .widget-hbox", has=page.locator("img.widget-image")).first
        self.box.wait_for()
        self.box.scroll_into_view_if_needed()

    def handle(self, name):
        label = self.page.get_by_text(name, exact=True)
        return self.box.locator(".widget-slider", has=label).locator(".noUi-handle")

    def changes(self, act) -> float:
        """Do something after which the picture must change. -> the milliseconds that took, from a key's press on."""
        before = self.image.get_attribute("src")
        self.image.evaluate(NEXT_PICTURE)
        act()
        told = self.page.wait_for_function("() => window.changed").json_value()
        assert self.image.get_attribute("src") != before
        return told

    def press(self, name, key="ArrowRight") -> float:
        self.handle(name).focus()
        return self.changes(lambda: self.page.keyboard.press(key))

    def click(self, name):
        self.box.get_by_role("button", name=name).click()

    def line(self):
        return self.box.locator("textarea").input_value()


def test_every_control_of_the_explorer_changes_its_picture(page, jupyter, project, capsys):
    opened(page, jupyter, written(project, "tiny.ipynb", EXPLORER))
    run_all(page)
    shown = Shown(page)
    screenshot(shown.box, "1_start")

    shown.press("hair dark to light")
    took = [shown.press("hair cold to warm") for _ in range(10)]
    told = f"from key to picture: median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms"
    with capsys.disabled():
        print(f"\n{told}, load {os.getloadavg()[0]:.1f}")
    assert statistics.median(took) < 1500, told  # how fast it is, is a benchmark's business

    shown.press("truncation", "ArrowLeft")
    track = shown.box.locator(".widget-slider", has=page.get_by_text("skin dark to light", exact=True))
    where = track.locator(".noUi-target").bounding_box()
    shown.changes(lambda: page.mouse.click(where["x"] + 0.8 * where["width"], where["y"] + where["height"] / 2))
    shown.box.get_by_text("one by one").click()
    shown.handle("number 1").wait_for()
    shown.press("number 1")
    assert all(name in shown.line() for name in ("'hair cold to warm': 1.0", "'skin dark to light'", "'number 1': 0.1"))
    screenshot(shown.box, "2_moved")

    shown.click("Copy the code")
    shown.box.get_by_text("Copied").wait_for()
    page.wait_for_function("async line => await navigator.clipboard.readText() === line", arg=shown.line())
    shown.click("Save as PNG")
    saved = shown.box.get_by_text("Saved as").inner_text().removeprefix("Saved as ")
    assert Path(saved).parent == project / "data" / "pictures" and Path(saved).stat().st_size > 10_000
    screenshot(shown.box, "3_saved")

    seed = shown.box.locator("input[type=number]")
    seed.fill("7")
    shown.changes(lambda: seed.press("Enter"))
    for name in ("Reset", "Random"):
        shown.changes(lambda name=name: shown.click(name))
    first = shown.line()
    shown.image.evaluate(COUNT_PICTURES)
    shown.click("Walk")
    page.wait_for_function("first => document.querySelector('.jp-OutputArea textarea').value !== first", arg=first)
    assert page.evaluate("() => pictures") > 5
    screenshot(shown.box, "4_walked")
    page.set_viewport_size({"width": 900, "height": 1100})
    screenshot(shown.box, "5_narrow")


@pytest.mark.parametrize("name", PAGES)
def test_the_explorer_of_a_page_works_there(page, jupyter, name):
    opened(page, jupyter, name)
    run_all(page, seconds=600)
    shown = Shown(page)
    shown.box.locator(".noUi-handle").first.focus()
    shown.changes(lambda: page.keyboard.press("ArrowRight"))
    shown.changes(lambda: shown.click("Random"))
    screenshot(shown.box, name.removesuffix(".ipynb"))
    screenshot(page, name.removesuffix(".ipynb") + "_page")


def test_the_live_view_changes_while_training_runs_and_its_last_picture_is_kept(page, jupyter, project, faces):
    opened(page, jupyter, written(project, "live.ipynb", LIVE.format(faces=str(faces.folder))))
    page.evaluate(COLLECT)
    notebook = run_all(page)
    assert page.evaluate("() => seen.size") >= 3
    kept = [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]
    assert len(kept) == 1 and "Faces drawn from fixed codes" in kept[0].metadata["image/png"]["alt"]
    screenshot(page.locator(".jp-OutputArea").first, "live")
