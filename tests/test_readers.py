"""For every reader: links that work, headings in order, figures and colors for the color-blind, one
glossary, one list of exercises, a GPU guide that says what the code says. What each page must have
is in test_notebooks."""

import itertools
import json
import re
from pathlib import Path

import exercises
import numpy as np
import pytest
import torch
from pages import PAGES

from animegan_helpers import device, plotting

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(NOTEBOOKS.glob("*.md")),
    *(ROOT / "docs" / f"{name}.md" for name in ("challenge", "promises", "results", "untried")),
    ROOT / "data/README.md",
    ROOT / "animegan_helpers/pretrained/README.md",
]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """The Markdown of a page or of a text, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        markdown = [cell for cell in cells if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in markdown)
    return re.sub(r"`[^`\n]*`", "", CODE_BLOCK.sub("", text))


def headings(text):
    """-> (level, title) of each heading."""
    found = re.findall(r"^(#+) (.+)$", text, flags=re.MULTILINE)
    return [(len(hashes), title.strip()) for hashes, title in found]


def anchors(path):
    """What a link may have after its #: as GitHub makes it for a text, JupyterLab for a page."""
    titles = [title for _, title in headings(prose(path))]
    if path.suffix == ".ipynb":
        return {title.replace(" ", "-") for title in titles}
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text):
    """-> (is an image, its words, its target) of each link. An image that is a link gives both."""
    for bang, words, target in LINK.findall(text):
        yield bool(bang), words, target
        yield from links(words)


def broken_links(path, text):
    """The links of a text that lead nowhere."""
    for _, _, target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("path", [*TEXTS, *PAGES], ids=name_of)
def test_relative_links_lead_to_files_and_headings_that_exist(path):
    assert list(broken_links(path, prose(path))) == []


def test_a_broken_link_is_noticed():
    path = ROOT / "CONTRIBUTING.md"
    broken = "[a](nothing.md) [b](README.md#no-such-heading) [![c](no.svg)](README.md)"
    good = "[d](https://x.org/y) [e](README.md) [f](notebooks/exercises.md#01--download-the-faces)"
    expected = ["nothing.md", "README.md#no-such-heading", "no.svg"]
    assert list(broken_links(path, f"{broken} {good}")) == expected
    own_heading = headings(prose(path))[-1][1].lower().replace(" ", "-")
    assert list(broken_links(path, f"[g](CONTRIBUTING.md#{own_heading})")) == []
    assert "[a](b)" not in prose(path) and "```" not in prose(path)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_headings_of_texts_come_in_order_and_images_have_alt_text(path):
    levels = [level for level, _ in headings(prose(path))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    images = [(words, target) for is_image, words, target in links(prose(path)) if is_image]
    assert [target for words, target in images if len(words) < 20] == []


# ---- colors

# Machado, Oliveira and Fernandes (2009): linear RGB as it looks without one kind of cone
BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    """A "#rrggbb" color -> linear red, green and blue, from 0 to 1."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Linear red, green and blue -> CIE L*, a*, b*, whose distances are as large as they look."""
    white = XYZ @ np.ones(3)
    x, y, z = np.cbrt(np.clip(XYZ @ np.clip(rgb, 0, 1) / white, 0.008856, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def smallest_distance(colors, matrix):
    """The smallest distance between any two colors as they look through a matrix of `BLIND`."""
    perceived = [lab(np.array(matrix) @ linear(color)) for color in colors]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(perceived, 2))


def colors_in(text):
    """The hex colors, grays apart, in a text."""
    found = {color.upper() for color in re.findall(r"[\"'](#[0-9a-fA-F]{6})[\"']", text)}
    return {color for color in found if len({color[i : i + 2] for i in (1, 3, 5)}) > 1}


# behind a learner's own images, on pages 02 and A: these colors carry no information
BACKGROUNDS = {"#FFE9C7", "#CFE8FF"}
COLOR_BY_NAME = re.compile(r"(?<![\w])colou?r=[\"'](?!black|white|gr[ae]y|#)\w+[\"']|[\"']C\d[\"']")


def test_figures_use_only_colors_that_are_safe():
    package = (ROOT / "animegan_helpers").glob("*.py")
    benchmarks = (ROOT / "tests/benchmarks").glob("*.py")
    used = set()
    by_name = {}
    for path in [*package, *benchmarks, *PAGES]:
        text = path.read_text(encoding="utf-8").replace('\\"', '"')
        used |= colors_in(text)
        if COLOR_BY_NAME.search(text):
            by_name[path.name] = COLOR_BY_NAME.findall(text)
    okabe_and_ito = {"#0072B2", "#D55E00", "#009E73", "#CC79A7"}
    assert used - BACKGROUNDS == okabe_and_ito
    assert by_name == {}


@pytest.mark.parametrize("kind", ["full color vision", *BLIND])
def test_blue_and_orange_differ_for_the_color_blind_and_stand_out_on_white(kind):
    matrix = BLIND.get(kind, np.eye(3))
    colors = [plotting.BLUE, plotting.ORANGE]
    assert smallest_distance([*colors, "#000000", "#FFFFFF"], matrix) > 30
    for color in colors:
        luminance = XYZ[1] @ np.clip(np.array(matrix) @ linear(color), 0, 1)
        assert 1.05 / (luminance + 0.05) > 3, "the contrast that WCAG demands of graphics"


def test_the_distance_of_colors_knows_red_and_green():
    red_and_green = ["#A83232", "#5A7A1E"]
    assert smallest_distance(red_and_green, np.eye(3)) > 60
    assert smallest_distance(red_and_green, BLIND["deuteranopia"]) < 30
    assert np.allclose(lab(linear("#FFFFFF")), [100, 0, 0], atol=0.1)


# ---- glossary, exercises, guides


GLOSSARY = NOTEBOOKS / "glossary.md"
ENTRY = re.compile(
    r"^\*\*([^*(]+?)(?: \((.+?)\))?\.\*\* .+?\[Page (\d\d|[A-Z])\]\((\S+?)\)$", re.MULTILINE
)


def entries():
    """-> (word, other name, file of the page) of each entry of the glossary."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", GLOSSARY.read_text(encoding="utf-8").strip())
    found = ENTRY.findall(text)
    for _, _, page, target in found:
        assert target.startswith(f"{page}_")
    return [(word, other, target) for word, other, _, target in found]


def test_the_glossary_is_in_order_and_each_word_occurs_on_its_page():
    words = [word.lower() for word, _, _ in entries()]
    assert words == sorted(words) and len(set(words)) == len(words) >= 60
    text = GLOSSARY.read_text(encoding="utf-8")
    assert text.count("\n**") == len(words), "each entry ends with its page"
    for letter in re.findall(r"^## (.)$", text, flags=re.MULTILINE):
        assert any(word.startswith(letter.lower()) for word in words)
    for word, other, target in entries():
        path = NOTEBOOKS / target
        page = prose(path) + path.read_text(encoding="utf-8")
        page = re.sub(r"\s+", " ", page).lower()
        names = [name.lower() for name in (word, other) if name]
        assert any(name in page for name in names), f"{word}: not on {target}"


def test_the_list_of_exercises_is_that_of_the_pages():
    text = exercises.LIST.read_text(encoding="utf-8")
    assert text == exercises.list_text(), "run: python notebooks/exercises.py"
    for path in PAGES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        graded = sum("checks.exercise(" in source for source in code)
        open_ones = sum("checks.predict(" in source for source in code)
        assert len(exercises.exercises(path)) == graded + open_ones, path.name


GPU_GUIDE = (NOTEBOOKS / "gpu_guide.md").read_text(encoding="utf-8")
MACHINES = re.findall(r"`([^`]+: networks of width [^`]+ \((\w+)\))`", GPU_GUIDE)
VARIABLES = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "colab": "COLAB_RELEASE_TAG"}


def test_the_gpu_guide_shows_every_kind_of_machine():
    assert {(line.split(" ")[0], where) for line, where in MACHINES} == {
        ("CPU", "here"),
        ("Tesla", "colab"),
        ("Tesla", "kaggle"),
        ("CPU", "colab"),
        ("Apple", "here"),
    }


@pytest.mark.parametrize("line, where", MACHINES)
def test_the_gpu_guide_says_what_pick_would_print(line, where, monkeypatch):
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    if where in VARIABLES:
        monkeypatch.setenv(VARIABLES[where], "yes")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: line.startswith("Tesla"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: line.startswith("Apple"))
    monkeypatch.setattr(device, "_try_convolution", lambda name: None)
    monkeypatch.setattr(device.platform, "processor", lambda: "arm")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert str(device.pick()) == line


def test_contributing_names_commands_that_exist_and_lists_every_benchmark():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"(?:notebooks|tests)/[a-z_\d]+\.(?:py|ipynb)", text):
        assert (ROOT / name).exists(), name
    listed = re.findall(r"^\| `(\w+\.py)", text, flags=re.MULTILINE)
    scripts = (ROOT / "tests/benchmarks").glob("*.py")
    commands = [path.name for path in scripts if "__main__" in path.read_text(encoding="utf-8")]
    assert sorted(listed) == sorted(commands)
