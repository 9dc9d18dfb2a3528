"""Colab, Kaggle and other people's machines, simulated: what the first cell of a page does there, and what follows.

Sessions are processes that can't see the installed package, with the platform's variables, folders in place of its
mounts, and a pip that only takes notes. Colab's and Kaggle's own front ends are not tested here.
"""

import ast
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ipywidgets
import nbformat
import pytest

import animegan_helpers

PACKAGE = Path(animegan_helpers.__file__).parent
ROOT = PACKAGE.parent
PAGES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

spec = importlib.util.spec_from_file_location("address", ROOT / "notebooks" / "address.py")
address = importlib.util.module_from_spec(spec)
spec.loader.exec_module(address)


def read(path):
    return nbformat.read(path, as_version=4)


def first_cell():
    """The bootstrap cell as a page has it."""
    return next(cell.source for cell in read(PAGES[3]).cells if address.is_bootstrap(cell))


# ---- one address in every page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name[:2])
def test_badges_and_first_cell_are_those_that_the_one_address_makes(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert address.is_bootstrap(code[0]) and sum(map(address.is_bootstrap, notebook.cells)) == 1
    repository, tag = address.address()
    assert f'"git+{repository}@{tag}"' in code[0].source
    assert len(code[0].source.splitlines()) <= 15
    for site in ("colab.research.google.com/github/", "kaggle.com/kernels/welcome?src=https://github.com/"):
        there = f"{site}{repository.removeprefix('https://github.com/')}/blob/{tag}/notebooks/{path.name}"
        assert notebook.cells[0].source.count(there) == 1
    before = nbformat.writes(notebook)
    address.apply(notebook, path.name)
    assert nbformat.writes(notebook) == before, "run: python notebooks/address.py"


def test_the_tag_is_the_version_of_the_package():
    assert address.address()[1] == f"v{importlib.metadata.version('animegan_helpers')}"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """`address`, working on a copy of two pages and of the files that hold the address."""
    for name in ("pyproject.toml", "README.md", *(f"notebooks/{path.name}" for path in PAGES[3:5])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    link = f"[page 03]({address.SITES['Colab']}SOMEBODY/else/blob/v0/notebooks/{PAGES[3].name})"
    with open(tmp_path / "README.md", "a", encoding="utf-8") as readme:
        readme.write(link)
    for name in ("HERE", "README", "PROJECT"):
        path = getattr(address, name)
        monkeypatch.setattr(address, name, tmp_path / path.relative_to(ROOT))
    return tmp_path


def contents(folder):
    """Every file below a folder -> its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_one_command_sets_the_address_everywhere_and_changes_nothing_else(copied):
    old, new = address.address()[0], "https://github.com/somebody/faces-2"
    before = contents(copied)
    address.main([new + ".git"])
    after = contents(copied)
    assert old.encode() not in b"".join(after.values()) and address.address()[0] == new
    readme = after[Path("README.md")].decode()
    assert readme.endswith(f"github/somebody/faces-2/blob/{address.address()[1]}/notebooks/{PAGES[3].name})")
    for path in PAGES[3:5]:
        name = Path("notebooks", path.name)
        then, now = (nbformat.reads(some[name].decode(), as_version=4) for some in (before, after))
        assert [i for i, (a, b) in enumerate(zip(then.cells, now.cells, strict=True)) if a != b] == [0, 1]
    address.main([])
    assert contents(copied) == after
    address.main([old])
    assert {name: text for name, text in contents(copied).items() if name.name != "README.md"} == {
        name: text for name, text in before.items() if name.name != "README.md"
    }


@pytest.mark.parametrize("wrong", ["OWNER/animegan", "https://gitlab.com/a/b", "https://github.com/a", "http://x y"])
def test_an_address_that_colab_can_not_open_is_refused_and_changes_nothing(wrong, copied):
    before = contents(copied)
    with pytest.raises(ValueError, match="https://github.com/NAME/PROJECT"):
        address.main([wrong])
    assert contents(copied) == before


def test_a_page_without_the_cell_gets_it_and_its_counts_stay_in_order(copied):
    path = copied / "notebooks" / PAGES[3].name
    notebook = read(path)
    del notebook.cells[1]
    lines = notebook.cells[0].source.split("\n\n")
    notebook.cells[0].source = "\n\n".join([lines[0], *lines[2:]])  # no badges
    for i, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = i + 1
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = i + 1
    nbformat.write(notebook, path)
    address.main([])
    assert path.read_bytes() == PAGES[3].read_bytes()


# ---- sessions on Colab and Kaggle

PRELUDE = """
import importlib.machinery, importlib.util, os, sys

class Room(importlib.machinery.PathFinder):  # what this machine has installed is not there, but for what is in the room
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        hidden = name in os.environ["HIDDEN"].split() and not str(spec and spec.origin).startswith(os.environ["ROOM"])
        return None if hidden else spec

sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Room]
before = (list(sys.path), dict(os.environ), set(sys.modules))
"""
# Takes notes; if it may, it "installs" the package from the tree.
PIP = """
import json, os, shutil, sys
from pathlib import Path
room, package = Path(os.environ["ROOM"]), Path(os.environ["PACKAGE"])
with open(room / "pip.txt", "a") as notes:
    print(json.dumps(sys.argv[1:]), file=notes)
if os.environ["PIP"] == "fails":
    sys.exit("ERROR: no network")
name = sys.argv[-1]
if name.startswith("git+"):
    shutil.copytree(package, room / "site/animegan_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    device = room / "site/animegan_helpers/device.py"
    told = device.read_text().replace('"/content', f'"{room}/content').replace('"/kaggle', f'"{room}/kaggle')
    device.write_text(told)
"""
TRAIN = """
from animegan_helpers import device, download, drawn, preprocess, recipes, training
pictures = device.data_folder() / "faces"
if not pictures.exists():
    drawn.write(pictures, 24, workers=1)
faces = preprocess.prepare(pictures, size=16)
recipe = recipes.get("default").changed(width=2, batch=8, size=16, z_dim=4)
run = device.data_folder() / "runs/mine"
game = training.train(recipe, faces, run, steps={steps}, resume={resume})
training.sample(game.best_g(), 4)
print("steps:", game.step, "in", run)
"""


class Session:
    """A rented machine in a folder: `room/content`, `room/kaggle/input`, `room/kaggle/working`, and a pip."""

    def __init__(self, room):
        self.room = room
        for folder in ("content", "kaggle/input", "kaggle/working", "site", "fake/pip", "elsewhere"):
            (room / folder).mkdir(parents=True)
        (room / "fake/pip/__init__.py").touch()
        (room / "fake/pip/__main__.py").write_text(PIP, encoding="utf-8")
        self.inputs, self.cwd = room / "kaggle/input", room / "elsewhere"

    def run(self, cell, *after, on="", pip="works", lacks="animegan_helpers", **more):
        """Run a page's first cell, then more code; -> what was printed, by the cell's own parts and after them."""
        marks = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "colab": "COLAB_RELEASE_TAG"}
        env = {name: value for name, value in os.environ.items() if name not in marks.values()}
        env |= {marks[on]: "yes"} if on else {}
        env |= {"ROOM": str(self.room), "PIP": pip, "HIDDEN": lacks}
        env |= {"PACKAGE": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        paths = [self.room / "site"] + [self.room / "fake"] * (pip != "real")
        env |= {"PYTHONPATH": os.pathsep.join(map(str, paths))} | more
        assert cell.count('"/kaggle/input"') == 1, "the stand-in must be put in place of the real mount"
        cell = cell.replace('"/kaggle/input"', repr(str(self.inputs)))
        code = "\n".join([PRELUDE, cell, *after])
        done = subprocess.run([sys.executable, "-c", code], cwd=self.cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def asked(self):
        """What pip was asked to install, one call after the other; it is always asked for one thing alone."""
        notes = self.room / "pip.txt"
        calls = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        assert all(call[:-1] == ["install", "-q", "--no-deps", "--no-build-isolation"] for call in calls)
        return [call[-1] for call in calls]


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path)


def attach(session, folder="datasets/somebody/animegan-pages", package=True):
    """The project as a dataset that was added to a Kaggle notebook, at the place where Kaggle shows it since 2026."""
    project = session.inputs / folder
    project.mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "notebooks").mkdir()
    shutil.copytree(PACKAGE, project / "animegan_helpers", ignore=shutil.ignore_patterns("__pycache__", "*.pt"))
    return project


def test_on_a_laptop_the_cell_does_nothing(session):
    same = "assert before == (list(sys.path), dict(os.environ), before[2])\nprint(sorted(set(sys.modules) - before[2]))"
    laptop = os.pathsep.join([str(ROOT), str(session.room / "fake")])
    told = session.run(first_cell(), same, lacks="", PYTHONPATH=laptop)
    assert not {"torch", "animegan_helpers"} & set(ast.literal_eval(told)), "nothing is imported, nothing is told"
    assert session.asked() == []
    assert contents(session.room).keys() == {Path("fake/pip/__init__.py"), Path("fake/pip/__main__.py")}


@pytest.mark.parametrize("on", ["colab", "kaggle"])
def test_with_internet_the_package_comes_alone(on, session):
    repository, tag = address.address()
    told = session.run(first_cell(), "import animegan_helpers.device; print(animegan_helpers.__file__)", on=on)
    assert session.asked() == [f"git+{repository}@{tag}"]
    assert told.startswith(f"Runs are kept in {session.room}") and str(session.room / "site") in told.splitlines()[-1]


def test_what_the_platform_has_is_not_installed_again(session):
    session.run(first_cell(), on="colab")
    session.run(first_cell(), on="colab")  # the kernel was started again: everything is there
    assert session.asked() == ["git+{}@{}".format(*address.address())]


def test_without_internet_or_dataset_pips_own_error_ends_the_cell(session):
    (session.inputs / "some-faces").mkdir()
    with pytest.raises(AssertionError, match="(?s)ERROR: no network.*CalledProcessError"):
        session.run(first_cell(), on="kaggle", pip="fails")
    assert "turn the internet on" in first_cell()


def test_on_kaggle_without_internet_an_attached_project_is_enough_and_is_only_read(session):
    project = attach(session)
    module = project / "animegan_helpers/device.py"
    module.write_text(module.read_text().replace('"/kaggle/working"', repr(str(session.room / "kaggle/working"))))
    for path in [*session.inputs.rglob("*"), session.inputs]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(session.inputs)
    session.cwd = project / "notebooks"  # another working directory: the input itself
    train = TRAIN.format(steps=2, resume=False)
    told = session.run(first_cell(), train, "print(os.environ['PYTHONPATH'])", on="kaggle", pip="fails")
    assert session.asked() == []
    assert f"steps: 2 in {session.room / 'kaggle/working/data/runs/mine'}" in told
    assert str(project) in told.splitlines()[-1].split(os.pathsep), "processes that pages start find it, too"
    assert contents(session.inputs) == before


def test_on_kaggle_a_run_of_last_time_attached_as_an_input_goes_on(session):
    working, last_time = session.room / "kaggle/working", session.inputs / "my-notebook"
    session.run(first_cell(), TRAIN.format(steps=2, resume=False), on="kaggle")
    working.rename(last_time)
    before = contents(session.inputs)
    bring = f"""
import shutil
from animegan_helpers import device
shutil.copytree({str(last_time / "data/runs/mine")!r}, device.data_folder() / "runs/mine")"""
    told = session.run(first_cell(), bring, TRAIN.format(steps=4, resume=True), on="kaggle")
    assert f"steps: 4 in {working}" in told
    assert contents(session.inputs) == before


def test_on_kaggle_the_projects_zip_is_enough_without_internet(session):
    with zipfile.ZipFile(session.inputs / "animegan-0.1.0.zip", "w") as archive:  # as GitHub makes it
        for path in [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE", *PACKAGE.rglob("*")]:
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, "animegan-0.1.0" / path.relative_to(ROOT))
    before = contents(session.inputs)
    use = "from animegan_helpers import latent; print(latent.ready()[0].z_dim)"
    pip = {"PIP_NO_INDEX": "1", "PIP_TARGET": str(session.room / "site"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    told = session.run(first_cell(), use, on="kaggle", pip="real", **pip)
    assert told.splitlines()[-1] == "128", "with the ready generator in it"
    assert sorted(path.name.split("-")[0] for path in (session.room / "site").iterdir()) == ["animegan_helpers"] * 2
    assert contents(session.inputs) == before


def test_on_colab_a_run_on_drive_goes_on_after_a_disconnect(session):
    (session.room / "content/drive/MyDrive").mkdir(parents=True)
    told = session.run(first_cell(), TRAIN.format(steps=3, resume=False), on="colab")
    assert f"kept on Drive, in {session.room / 'content/drive/MyDrive/animegan/runs'}" in told
    for lost in ("content/data", "site"):  # a fresh machine: only Drive is what it was
        shutil.rmtree(session.room / lost)
    (session.room / "site").mkdir()
    told = session.run(first_cell(), TRAIN.format(steps=5, resume=True), on="colab")
    assert "steps: 5 in" in told
    kept = session.room / "content/drive/MyDrive/animegan/runs/mine"
    assert [json.loads(line)["step"] for line in (kept / "history.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]


# ---- other people's machines

LATER = "Stack TagsInput ColorsInput FloatsInput IntsInput TimePicker DatetimePicker NaiveDatetimePicker".split()


def too_new(source):
    """What Python source uses of ipywidgets that 7.7.1 does not have (Colab's is that old)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)
        if isinstance(node, (ast.Attribute, ast.Name, ast.alias)) and name in LATER:
            found.append(name)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and name in ("titles", "tooltip"):
            found.append(f".{name} = ")
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            late = {"titles"} if "Button" in called else {"titles", "tooltip"}
            found += [f"{called}({one}=)" for one in sorted(given & late) if hasattr(ipywidgets, called)]
    return found


def sources():
    """All Python of the package and the pages, by name."""
    found = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py")}
    for path in PAGES:
        code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
        found |= {f"{path.name}, cell {i}": source for i, source in enumerate(code)}
    return found


def test_nothing_is_used_that_colabs_ipywidgets_lacks():
    assert {name: used for name, source in sources().items() if (used := too_new(source))} == {}


@pytest.mark.parametrize(
    "source",
    ["ipywidgets.Stack([a])", "from ipywidgets import TagsInput", "w.Tab(children=[a], titles=['a'])"]
    + ["tab.titles = 'a'", "ipywidgets.FloatSlider(tooltip='a')", "slider.tooltip = 'a'"],
)
def test_the_search_for_new_ipywidgets_finds_it(source):
    assert len(too_new(source)) == 1
    assert too_new("ipywidgets.Button(tooltip='a', layout=ipywidgets.Layout(width='auto')); told.value = 'a'") == []


def process(code, *arguments, options=(), cwd):
    """Run code in a process of its own, with the package of `cwd` if there is one; -> what it prints."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(cwd), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *options, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


WORKERS = """
import multiprocessing, sys
from itertools import islice
from pathlib import Path
import torch
multiprocessing.set_start_method(sys.argv[1])
from animegan_helpers import drawn, preprocess
alone, helped = drawn.write("alone", 130, workers=1), drawn.write("helped", 130, workers=2)
assert [path.read_bytes() for path in preprocess.find_pictures(alone)] == [
    path.read_bytes() for path in preprocess.find_pictures(helped)]
for faces in preprocess.PictureFolder(alone, size=16), preprocess.prepare(alone, size=16):
    one, other = (list(islice(preprocess.batches(faces, 4, workers=workers), 4)) for workers in (0, 2))
    assert all(map(torch.equal, one, other))
    print(type(faces).__name__)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_started_in_pythons_other_ways_bring_the_same(method, tmp_path):
    """Windows and macOS start them by spawn, Linux from Python 3.14 on by forkserver."""
    assert process(WORKERS, method, cwd=tmp_path).split() == ["PictureFolder", "Prepared"]


SHELL = """
from pathlib import Path
import animegan_helpers
from animegan_helpers import __main__, device
assert Path(animegan_helpers.__file__).parents[1] == Path.cwd() == device.data_folder().parent, "the copy is meant"
small = "--steps 2 --width 2 --z-dim 4 --batch 8 --size 16".split()
for words in (
    ["draw", "--count", "24", "--out", "data/gemalte Gesichter"],
    ["prepare", "data/gemalte Gesichter", "--size", "16", "--out", "data/fertig für später"],
    ["train", "--data", "data/fertig für später", "--run", "data/runs/erster Läufer", *small],
    ["train", "--data", "data/fertig für später", "--run", "data/runs/erster Läufer", "--steps", "3", "--resume"],
    ["sample", "--run", "data/runs/erster Läufer", "--out", "data/новые лица.png"],
):
    __main__.main(words)
    if words[0] == "draw":
        first = min(Path("data/gemalte Gesichter/images").iterdir())
        first.rename(first.with_name("лицо номер один.png"))
"""


def test_everything_works_in_a_folder_with_spaces_and_letters_of_other_languages(tmp_path):
    """And no file is opened in the machine's own encoding, which on Windows does not know all letters."""
    project = tmp_path / "Мой проект, für später 顔"
    shutil.copytree(PACKAGE, project / "animegan_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "notebooks").mkdir()
    strict = [f"-Werror::EncodingWarning:animegan_helpers.{path.stem}" for path in PACKAGE.glob("*.py")]
    process(SHELL, options=["-X", "warn_default_encoding", *strict], cwd=project)
    assert (project / "data/новые лица.png").stat().st_size > 1000
    assert len((project / "data/runs/erster Läufer/history.jsonl").read_text(encoding="utf-8").splitlines()) == 3
