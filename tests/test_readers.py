"""For every reader: links that hold, headings in order, figures and colours for those who see otherwise, one glossary,
one list of exercises, a GPU guide that says what the code says. What single pages must have is in test_notebooks."""

import importlib.util
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from animegan_helpers import device, plotting

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
PAGES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
TEXTS = [
    *sorted(ROOT.glob("*.md")), *sorted(NOTEBOOKS.glob("*.md")), ROOT / "data/README.md",
    ROOT / "animegan_helpers/ready/README.md",
]  # fmt: skip
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def prose(path):
    """The markdown of a page or of a text, without what stands in code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL))


def headings(text):
    """-> (level, title) of each heading."""
    return [(len(hashes), title.strip()) for hashes, title in re.findall(r"^(#+) (.+)$", text, flags=re.MULTILINE)]


def anchors(path):
    """What a link's # may name: GitHub's way in a text, JupyterLab's in a page."""
    titles = [title for _, title in headings(prose(path))]
    if path.suffix == ".ipynb":
        return {title.replace(" ", "-") for title in titles}
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text):
    """-> (is a picture, its words, its target) of each link; of a picture that is a link, both."""
    for bang, words, target in LINK.findall(text):
        yield bool(bang), words, target
        yield from links(words)


def broken(path, text):
    """The links of a text that lead nowhere."""
    for _, _, target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield target


@pytest.mark.parametrize("path", [*TEXTS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings_that_are_there(path):
    assert list(broken(path, prose(path))) == []


def test_a_broken_link_is_found():
    here = ROOT / "CONTRIBUTING.md"
    text = (
        "[a](nothing.md) [b](README.md#no-such-heading) [![c](no.svg)](README.md) [d](https://x.org/y) [e](README.md)"
    )
    assert list(broken(here, text)) == ["nothing.md", "README.md#no-such-heading", "no.svg"]
    assert list(broken(here, "[a](README.md#two-commands) [b](notebooks/exercises.md#01--download-the-faces)")) == []
    assert "[a](b)" not in prose(here) and "```" not in prose(here)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_headings_of_texts_come_in_order_and_pictures_have_alt_text(path):
    levels = [level for level, _ in headings(prose(path))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    assert [target for picture, words, target in links(prose(path)) if picture and len(words) < 20] == []


# ---- colours

# Machado, Oliveira and Fernandes (2009): what is left of linear red, green and blue without one kind of cone
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    """ "#rrggbb" -> linear red, green and blue, from 0 to 1."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Linear red, green and blue -> CIE L*, a*, b*, in which distances are as large as they look."""
    x, y, z = np.cbrt(np.clip(XYZ @ np.clip(rgb, 0, 1) / (XYZ @ np.ones(3)), 0.008856, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours, matrix):
    """The smallest distance between any two of some colours, seen through a matrix."""
    seen = [lab(np.array(matrix) @ linear(colour)) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


def colours_in(text):
    """The coloured (not grey) hex colours that a text names."""
    found = {colour.upper() for colour in re.findall(r"[\"'](#[0-9a-fA-F]{6})[\"']", text)}
    return {colour for colour in found if len({colour[i : i + 2] for i in (1, 3, 5)}) > 1}


BACKGROUNDS = {"#FFE9C7", "#CFE8FF"}  # behind a learner's photographs, on pages 01 and 02: they tell nothing


def test_figures_have_no_other_colours_than_those_that_are_safe():
    files = [*(ROOT / "animegan_helpers").glob("*.py"), *(ROOT / "tests/benchmarks").glob("*.py"), *PAGES]
    texts = {path.name: path.read_text(encoding="utf-8").replace('\\"', '"') for path in files}
    used = set().union(*map(colours_in, texts.values())) - BACKGROUNDS
    assert used == {"#0072B2", "#D55E00", "#009E73", "#CC79A7"}, "of Okabe and Ito's eight"
    words = re.compile(r"(?<![\w])colou?r=[\"'](?!black|white|gr[ae]y|#)\w+[\"']|[\"']C\d[\"']")
    assert {name: found for name, text in texts.items() if (found := words.findall(text))} == {}


@pytest.mark.parametrize("kind", ["as most see", *BLIND])
def test_blue_and_orange_are_told_apart_by_the_colour_blind_and_stand_out_on_white(kind):
    matrix = BLIND.get(kind, np.eye(3))
    assert nearest([plotting.BLUE, plotting.ORANGE, "#000000", "#FFFFFF"], matrix) > 30
    for colour in (plotting.BLUE, plotting.ORANGE):
        light = XYZ[1] @ np.clip(np.array(matrix) @ linear(colour), 0, 1)
        assert 1.05 / (light + 0.05) > 3, "the contrast that WCAG asks of graphics"


def test_the_measure_of_colours_knows_red_and_green():
    red_and_green = ["#A83232", "#5A7A1E"]
    assert nearest(red_and_green, np.eye(3)) > 60 and nearest(red_and_green, BLIND["deuteranopia"]) < 30
    assert np.allclose(lab(linear("#FFFFFF")), [100, 0, 0], atol=0.1)


# ---- glossary, exercises, guides


def entries():
    """-> (word, other names, page) of each entry of the glossary."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8").strip())
    found = re.findall(r"^\*\*([^*(]+?)(?: \((.+?)\))?\.\*\* .+?\[Page (\d\d)\]\((\S+?)\)$", text, flags=re.MULTILINE)
    assert all(page == target[:2] for _, _, page, target in found)
    return [(word, other, target) for word, other, _, target in found]


def test_the_glossary_is_in_order_and_each_word_is_met_on_its_page():
    words = [word.lower() for word, _, _ in entries()]
    assert words == sorted(words) and len(set(words)) == len(words) >= 60
    text = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
    assert text.count("\n**") == len(words), "each entry ends with its page"
    for letter in re.findall(r"^## (.)$", text, flags=re.MULTILINE):
        assert any(word.startswith(letter.lower()) for word in words)
    for word, other, target in entries():
        page = re.sub(r"\s+", " ", prose(NOTEBOOKS / target) + (NOTEBOOKS / target).read_text(encoding="utf-8")).lower()
        assert any(name and name.lower() in page for name in (word, other)), f"{word}: not on {target}"


def load(name):
    spec = importlib.util.spec_from_file_location(name, NOTEBOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_exercises_is_that_of_the_pages():
    tool = load("exercises")
    assert tool.LIST.read_text(encoding="utf-8") == tool.text(), "run: python notebooks/exercises.py"
    for path in PAGES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        checked = sum(cell["cell_type"] == "code" and "checks.exercise(" in "".join(cell["source"]) for cell in cells)
        assert len(tool.exercises(path)) == checked, path.name


GUIDED = re.findall(r"`([^`]+: networks of width [^`]+ \((\w+)\))`", (NOTEBOOKS / "gpu_guide.md").read_text("utf-8"))
MARKS = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "colab": "COLAB_RELEASE_TAG"}


def test_the_gpu_guide_shows_every_kind_of_machine():
    assert {(line.split(" ")[0], where) for line, where in GUIDED} == {
        ("CPU", "here"), ("Tesla", "colab"), ("Tesla", "kaggle"), ("CPU", "colab"), ("Apple", "here")
    }  # fmt: skip


@pytest.mark.parametrize("line, where", GUIDED)
def test_the_gpu_guide_says_what_pick_would_print(line, where, monkeypatch):
    for mark in MARKS.values():
        monkeypatch.delenv(mark, raising=False)
    if where in MARKS:
        monkeypatch.setenv(MARKS[where], "yes")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: line.startswith("Tesla"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: line.startswith("Apple"))
    monkeypatch.setattr(device.platform, "processor", lambda: "arm")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert str(device.pick()) == line


def test_contributing_names_commands_that_exist_and_every_benchmark():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"(?:notebooks|tests)/[a-z_\d]+\.(?:py|ipynb)", text):
        assert (ROOT / name).exists(), name
    rows = re.findall(r"^\| `(\w+\.py)", text, flags=re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "tests/benchmarks").glob("*.py"))
