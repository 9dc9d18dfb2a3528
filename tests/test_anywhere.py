"""Colab, Kaggle and other machines, simulated: what the first cell of a page does there.

Sessions are processes that can't see the installed package, with the platform's variables, folders
in place of its mounts, and a pip that only records its calls. Colab's and Kaggle's own front ends
are not tested here.
"""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import address
import ipywidgets
import nbformat
import pytest
from pages import PAGES, page_id

import animegan_helpers

PACKAGE = Path(animegan_helpers.__file__).parent
ROOT = PACKAGE.parent


def read(path):
    return nbformat.read(path, as_version=4)


def first_cell():
    """The source of a page's bootstrap cell."""
    return next(cell.source for cell in read(PAGES[3]).cells if address.is_bootstrap(cell))


# ---- one address in every page


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_badges_and_first_cell_are_made_from_the_one_address(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in notebook.cells if address.is_bootstrap(cell)] == code[:1]
    repository, tag = address.address()
    assert f'"git+{repository}@{tag}"' in code[0].source
    assert len(code[0].source.splitlines()) <= 15
    name = repository.removeprefix("https://github.com/")
    for site in (
        "colab.research.google.com/github/",
        "kaggle.com/kernels/welcome?src=https://github.com/",
    ):
        link = f"{site}{name}/blob/{tag}/notebooks/{path.name}"
        assert notebook.cells[0].source.count(link) == 1
    before = nbformat.writes(notebook)
    address.apply(notebook, path.name)
    assert nbformat.writes(notebook) == before, "run: python notebooks/address.py"


def test_the_tag_is_the_version_of_the_package():
    assert address.address()[1] == f"v{importlib.metadata.version('animegan_helpers')}"


def test_the_version_is_the_same_in_all_three_places():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [version]
    assert animegan_helpers.__version__ == version


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A folder with two pages and the files that hold the address; `address` works on these."""
    (tmp_path / "notebooks").mkdir()
    pages = [tmp_path / path.relative_to(ROOT) for path in PAGES[3:5]]
    for path in [tmp_path / "pyproject.toml", tmp_path / "README.md", *pages]:
        shutil.copy(ROOT / path.relative_to(tmp_path), path)
    link = f"[page 03]({address.SITES['Colab']}SOMEBODY/else/blob/v0/notebooks/{PAGES[3].name})"
    with open(tmp_path / "README.md", "a", encoding="utf-8") as readme:
        readme.write(link)
    monkeypatch.setattr(address, "PAGES", pages)
    monkeypatch.setattr(address, "README", tmp_path / "README.md")
    monkeypatch.setattr(address, "PROJECT", tmp_path / "pyproject.toml")
    return tmp_path


def contents(folder):
    """-> the bytes of every file below a folder, by path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files}


def without_readme(files):
    return {path: content for path, content in files.items() if path.name != "README.md"}


def test_one_command_sets_the_address_everywhere_and_changes_nothing_else(copied):
    old, _ = address.address()
    new = "https://github.com/somebody/faces-2"
    before = contents(copied)
    address.main([new + ".git"])
    after = contents(copied)
    repository, tag = address.address()
    assert repository == new and old.encode() not in b"".join(after.values())
    readme = after[Path("README.md")].decode()
    assert readme.endswith(f"github/somebody/faces-2/blob/{tag}/notebooks/{PAGES[3].name})")
    for path in PAGES[3:5]:
        name = path.relative_to(ROOT)
        old_cells, new_cells = (
            nbformat.reads(files[name].decode(), as_version=4).cells for files in (before, after)
        )
        pairs = enumerate(zip(old_cells, new_cells, strict=True))
        assert [i for i, (old_cell, new_cell) in pairs if old_cell != new_cell] == [0, 1]
    address.main([])
    assert contents(copied) == after
    address.main([old])
    assert without_readme(contents(copied)) == without_readme(before)


@pytest.mark.parametrize(
    "wrong", ["OWNER/animegan", "https://gitlab.com/a/b", "https://github.com/a", "http://x y"]
)
def test_an_address_that_colab_cannot_open_is_refused_and_changes_nothing(wrong, copied):
    before = contents(copied)
    with pytest.raises(ValueError, match="https://github.com/NAME/PROJECT"):
        address.main([wrong])
    assert contents(copied) == before


def test_a_page_without_the_cell_gets_it_and_its_execution_counts_stay_in_order(copied):
    path = copied / "notebooks" / PAGES[3].name
    notebook = read(path)
    del notebook.cells[1]
    lines = notebook.cells[0].source.split("\n\n")
    notebook.cells[0].source = "\n\n".join([lines[0], *lines[2:]])  # no badges
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.write(notebook, path)
    address.main([])
    assert path.read_bytes() == PAGES[3].read_bytes()


# ---- sessions on Colab and Kaggle

PRELUDE = """
import importlib.machinery, importlib.util, os, sys

class Room(importlib.machinery.PathFinder):  # hides modules, unless they lie in the room
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        in_room = spec is not None and str(spec.origin).startswith(os.environ["ROOM"])
        if name in os.environ["HIDDEN"].split() and not in_room:
            return None
        return spec

machinery = importlib.machinery
sys.meta_path[:] = [machinery.BuiltinImporter, machinery.FrozenImporter, Room]
before = (list(sys.path), dict(os.environ), set(sys.modules))
"""
# A pip that records its calls. If it works, it "installs" the package from this project.
PIP = """
import json, os, shutil, sys
from pathlib import Path
room = Path(os.environ["ROOM"])
package = Path(os.environ["PACKAGE"])
with open(room / "pip.txt", "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if os.environ["PIP"] == "fails":
    sys.exit("ERROR: no network")
name = sys.argv[-1]
if name.startswith("git+"):
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, room / "site/animegan_helpers", ignore=no_cache)
    device = room / "site/animegan_helpers/device.py"
    text = device.read_text().replace('"/content', f'"{room}/content')
    device.write_text(text.replace('"/kaggle', f'"{room}/kaggle'))
"""
TRAIN = """
from animegan_helpers import device, drawn, recipes
from animegan_helpers.generator import sample
from animegan_helpers.prepare import prepare
from animegan_helpers.training import train

folder = device.data_folder() / "faces"
if not folder.exists():
    drawn.write(folder, 24, workers=1)
faces = prepare(folder, size=16)
recipe = recipes.get("default").changed(width=2, batch=8, size=16, z_dim=4)
run = device.data_folder() / "runs/mine"
trainer = train(recipe, faces, run, steps={steps}, resume={resume})
sample(trainer.ema_generator(), 4)
print("steps:", trainer.steps_done, "in", run)
"""


class Session:
    """A rented machine in a folder: `content`, `kaggle/input`, `kaggle/working`, and a pip."""

    def __init__(self, room):
        self.room = room
        self.inputs = room / "kaggle/input"
        self.cwd = room / "elsewhere"
        folders = "content kaggle/input kaggle/working site fake/pip elsewhere".split()
        for folder in folders:
            (room / folder).mkdir(parents=True)
        (room / "fake/pip/__init__.py").touch()
        (room / "fake/pip/__main__.py").write_text(PIP, encoding="utf-8")

    def run(self, cell, *after, platform="", pip="works", hidden="animegan_helpers", **environment):
        """Run a page's first cell, then more code; -> what all of it printed."""
        variables = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "colab": "COLAB_RELEASE_TAG"}
        env = {name: os.environ[name] for name in os.environ if name not in variables.values()}
        if platform:
            env[variables[platform]] = "yes"
        env |= {"ROOM": str(self.room), "PACKAGE": str(PACKAGE), "PIP": pip, "HIDDEN": hidden}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        paths = [str(self.room / "site")]
        if pip != "real":
            paths.append(str(self.room / "fake"))
        env |= {"PYTHONPATH": os.pathsep.join(paths)} | environment
        assert cell.count('"/kaggle/input"') == 1, "it is replaced by a folder of the room"
        cell = cell.replace('"/kaggle/input"', repr(str(self.inputs)))
        command = [sys.executable, "-c", "\n".join([PRELUDE, cell, *after])]
        process = subprocess.run(command, cwd=self.cwd, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def installed(self):
        """What pip was asked to install, in order. It is always asked for one thing alone."""
        file = self.room / "pip.txt"
        if not file.exists():
            return []
        calls = [json.loads(line) for line in file.read_text().splitlines()]
        options = ["install", "-q", "--no-deps", "--no-build-isolation"]
        assert all(call[:-1] == options for call in calls)
        return [call[-1] for call in calls]


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path)


def attach_project(session):
    """Put the project where Kaggle (since 2026) mounts a dataset added to a notebook."""
    project = session.inputs / "datasets/somebody/animegan-pages"
    (project / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", project)
    no_cache = shutil.ignore_patterns("__pycache__", "*.pt")
    shutil.copytree(PACKAGE, project / "animegan_helpers", ignore=no_cache)
    return project


def test_on_a_laptop_the_cell_does_nothing(session):
    check = """
assert before[:2] == (list(sys.path), dict(os.environ))
print(sorted(set(sys.modules) - before[2]))"""
    path = os.pathsep.join([str(ROOT), str(session.room / "fake")])
    printed = session.run(first_cell(), check, hidden="", PYTHONPATH=path)
    imported = set(ast.literal_eval(printed))  # so the cell itself prints nothing
    assert not {"torch", "animegan_helpers"} & imported
    assert session.installed() == []
    fake_pip = {Path("fake/pip/__init__.py"), Path("fake/pip/__main__.py")}
    assert contents(session.room).keys() == fake_pip


@pytest.mark.parametrize("platform", ["colab", "kaggle"])
def test_with_internet_the_package_comes_alone(platform, session):
    repository, tag = address.address()
    check = "import animegan_helpers.device; print(animegan_helpers.__file__)"
    printed = session.run(first_cell(), check, platform=platform)
    assert session.installed() == [f"git+{repository}@{tag}"]
    assert printed.startswith(f"Runs are kept in {session.room}")
    assert str(session.room / "site") in printed.splitlines()[-1]


def test_an_installed_package_is_not_installed_again(session):
    session.run(first_cell(), platform="colab")
    session.run(first_cell(), platform="colab")  # the kernel was restarted: everything is there
    repository, tag = address.address()
    assert session.installed() == [f"git+{repository}@{tag}"]


def test_without_internet_or_dataset_pips_own_error_ends_the_cell(session):
    (session.inputs / "some-faces").mkdir()
    with pytest.raises(AssertionError, match="(?s)ERROR: no network.*CalledProcessError"):
        session.run(first_cell(), platform="kaggle", pip="fails")
    assert "turn the internet on" in first_cell()


def test_on_kaggle_without_internet_an_attached_project_is_enough_and_only_read(session):
    project = attach_project(session)
    working = session.room / "kaggle/working"
    module = project / "animegan_helpers/device.py"
    module.write_text(module.read_text().replace('"/kaggle/working"', repr(str(working))))
    for path in [*session.inputs.rglob("*"), session.inputs]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(session.inputs)
    session.cwd = project / "notebooks"  # even if the current folder is the read-only input
    code = [TRAIN.format(steps=2, resume=False), "print(os.environ['PYTHONPATH'])"]
    printed = session.run(first_cell(), *code, platform="kaggle", pip="fails")
    assert session.installed() == []
    assert f"steps: 2 in {working / 'data/runs/mine'}" in printed
    path = printed.splitlines()[-1].split(os.pathsep)
    assert str(project) in path, "processes that pages start find the package, too"
    assert contents(session.inputs) == before


def test_on_kaggle_an_earlier_run_attached_as_an_input_goes_on(session):
    working = session.room / "kaggle/working"
    earlier = session.inputs / "my-notebook"
    session.run(first_cell(), TRAIN.format(steps=2, resume=False), platform="kaggle")
    working.rename(earlier)
    before = contents(session.inputs)
    copy = f"""
import shutil
from animegan_helpers import device
shutil.copytree({str(earlier / "data/runs/mine")!r}, device.data_folder() / "runs/mine")"""
    train = TRAIN.format(steps=4, resume=True)
    printed = session.run(first_cell(), copy, train, platform="kaggle")
    assert f"steps: 4 in {working}" in printed
    assert contents(session.inputs) == before


def test_on_kaggle_without_internet_the_projects_zip_is_enough(session):
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files += [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE"]
    with zipfile.ZipFile(session.inputs / "animegan-0.1.0.zip", "w") as archive:  # as on GitHub
        for path in files:
            archive.write(path, "animegan-0.1.0" / path.relative_to(ROOT))
    before = contents(session.inputs)
    use = """
from animegan_helpers.pretrained import load_pretrained
G, directions = load_pretrained()
print(G.z_dim)"""
    site = session.room / "site"
    settings = {
        "PIP_NO_INDEX": "1",
        "PIP_TARGET": str(site),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    printed = session.run(first_cell(), use, platform="kaggle", pip="real", **settings)
    assert printed.splitlines()[-1] == "128", "the pretrained generator is part of the package"
    names = sorted(path.name.split("-")[0] for path in site.iterdir())
    assert names == ["animegan_helpers"] * 2, "the package and its metadata"
    assert contents(session.inputs) == before


def test_on_colab_a_run_on_drive_goes_on_after_a_disconnect(session):
    drive = session.room / "content/drive/MyDrive"
    drive.mkdir(parents=True)
    train = TRAIN.format(steps=3, resume=False)
    printed = session.run(first_cell(), train, platform="colab")
    assert f"kept on Drive, in {drive / 'animegan/runs'}" in printed
    for lost in ("content/data", "site"):  # a new machine: only Drive is what it was
        shutil.rmtree(session.room / lost)
    (session.room / "site").mkdir()
    train = TRAIN.format(steps=5, resume=True)
    assert "steps: 5 in" in session.run(first_cell(), train, platform="colab")
    history = (drive / "animegan/runs/mine/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history] == [1, 2, 3, 4, 5]


# ---- other people's machines

NEW_WIDGETS = [
    *("Stack", "TagsInput", "ColorsInput", "FloatsInput", "IntsInput"),
    *("TimePicker", "DatetimePicker", "NaiveDatetimePicker"),
]


def too_new(source):
    """What Python source uses of ipywidgets that 7.7.1, the version on Colab, does not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in NEW_WIDGETS:
            found.append(node.id)
        if isinstance(node, ast.alias) and node.name in NEW_WIDGETS:
            found.append(node.name)
        if isinstance(node, ast.Attribute) and node.attr in NEW_WIDGETS:
            found.append(node.attr)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if node.attr in ("titles", "tooltip"):
                found.append(f".{node.attr} = ")
        if isinstance(node, ast.Call):
            found += new_arguments(node)
    return found


def new_arguments(call):
    """The arguments of a call of a widget that version 7.7.1 does not have."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    if not hasattr(ipywidgets, name):
        return []
    new = {"titles", "tooltip"}
    if "Button" in name:
        new = {"titles"}  # buttons had tooltips before
    return [f"{name}({given.arg}=)" for given in call.keywords if given.arg in new]


def sources():
    """-> by name, all Python of the package and the pages."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py")}
    for path in PAGES:
        code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
        for i, source in enumerate(code):
            texts[f"{path.name}, cell {i}"] = source
    return texts


def test_nothing_is_used_that_colabs_ipywidgets_lacks():
    found = {name: too_new(source) for name, source in sources().items()}
    assert {name: used for name, used in found.items() if used} == {}


@pytest.mark.parametrize(
    "source",
    [
        "ipywidgets.Stack([a])",
        "from ipywidgets import TagsInput",
        "w.Tab(children=[a], titles=['a'])",
        "tab.titles = 'a'",
        "ipywidgets.FloatSlider(tooltip='a')",
        "slider.tooltip = 'a'",
    ],
)
def test_the_search_for_new_ipywidgets_finds_them(source):
    assert len(too_new(source)) == 1


def test_the_search_for_new_ipywidgets_accepts_old_ones():
    layout = "layout=ipywidgets.Layout(width='auto')"
    assert too_new(f"ipywidgets.Button(tooltip='a', {layout}); text.value = 'a'") == []


def run_python(code, *arguments, options=(), cwd):
    """Run code in another process, with the package of `cwd` if there is one; -> its output."""
    path = os.pathsep.join([str(cwd), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *options, "-c", code, *arguments]
    process = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8"
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


WORKERS = """
import multiprocessing, sys
from itertools import islice

import torch

multiprocessing.set_start_method(sys.argv[1])
from animegan_helpers import drawn
from animegan_helpers.dataset import LazyFaces, batches
from animegan_helpers.image_files import find_images
from animegan_helpers.prepare import prepare

one = drawn.write("one", 130, workers=1)
two = drawn.write("two", 130, workers=2)
for path, other in zip(find_images(one), find_images(two), strict=True):
    assert path.read_bytes() == other.read_bytes()
for faces in LazyFaces(one, size=16), prepare(one, size=16):
    expected = list(islice(batches(faces, 4, workers=0), 4))
    assert all(map(torch.equal, expected, islice(batches(faces, 4, workers=2), 4)))
    print(type(faces).__name__)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_started_by_spawn_or_forkserver_give_the_same_batches(method, tmp_path):
    """Windows and macOS start them by spawn, Linux from Python 3.14 on by forkserver."""
    assert run_python(WORKERS, method, cwd=tmp_path).split() == ["LazyFaces", "Faces"]


SHELL = """
from pathlib import Path
import animegan_helpers
from animegan_helpers import __main__, device
project = Path(animegan_helpers.__file__).parents[1]
assert project == Path.cwd() == device.data_folder().parent, "the copy is used"

images = Path("data/gemalte Gesichter")
faces = "data/fertig für später"
run = "data/runs/erster Läufer"
small = "--width 2 --z-dim 4 --batch 8 --size 16".split()

def shell(*words):
    assert __main__.main([str(word) for word in words]) == 0

shell("draw", "--count", 24, "--out", images)
first = min((images / "images").iterdir())
first.rename(first.with_name("лицо номер один.png"))
shell("prepare", images, "--size", 16, "--out", faces)
shell("train", "--data", faces, "--run", run, "--steps", 2, *small)
shell("train", "--data", faces, "--run", run, "--steps", 3, "--resume")
shell("sample", "--run", run, "--out", "data/новые лица.png")
"""


def test_everything_works_in_a_folder_with_spaces_and_letters_of_other_languages(tmp_path):
    """No file is opened in the machine's own encoding, which on Windows lacks many letters."""
    project = tmp_path / "Мой проект, für später 顔"
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, project / "animegan_helpers", ignore=no_cache)
    (project / "notebooks").mkdir()
    modules = [f"animegan_helpers.{path.stem}" for path in PACKAGE.glob("*.py")]
    strict = [f"-Werror::EncodingWarning:{module}" for module in modules]
    run_python(SHELL, options=["-X", "warn_default_encoding", *strict], cwd=project)
    assert (project / "data/новые лица.png").stat().st_size > 1000
    history = (project / "data/runs/erster Läufer/history.jsonl").read_text(encoding="utf-8")
    assert len(history.splitlines()) == 3
