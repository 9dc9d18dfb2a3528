"""The README: all pages, numbers from records, one screen's length; the list of all files."""

import json
import re
import statistics
from pathlib import Path

import pytest
from address import with_links
from pages import PAGES
from test_package import ORDER

from animegan_helpers.plotting import RECORDED

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+) \| ([\d,.± ]+) \| `(\w+)` \|$", re.MULTILINE)


def record(name):
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def last_marks(is_wanted):
    """The recipes of `fair` that are wanted -> for each the rows of its seeds at the last mark."""
    groups = {}
    for run in record("fair")["runs"]:
        if is_wanted(run["name"]):
            groups.setdefault(run["name"], []).append(run["marks"][-1])
    return list(groups.values())


def kid(rows):
    """-> the mean KID x 1000 of some rows, and its standard deviation, as in the README."""
    kids = [row["KID x 1000"] for row in rows]
    return f"{statistics.mean(kids):.0f} ± {statistics.stdev(kids):.0f}"


def best_source():
    sources = last_marks(lambda name: not name.startswith("ours"))
    return min(sources, key=lambda rows: statistics.mean(row["KID x 1000"] for row in rows))


def ours():
    (rows,) = last_marks(lambda name: name.startswith("ours"))
    return rows


def in_float32():
    rates = record("gpu")["parts"]["rates"]["steps/s"]
    return max(rate for name, rate in rates.items() if name.startswith("float32"))


NUMBERS = [  # the rows of the README's table, computed from the records
    ("drawn_film", lambda: f"{record('drawn_film')['step']:,}"),
    ("fair", lambda: kid(ours())),
    ("fair", lambda: kid(best_source())),
    ("fair", lambda: f"{statistics.mean(row['color pairs'] for row in ours()):.0f}"),
    ("gallery", lambda: f"{record('gallery')['measures']['this run']['KID x 1000']:.0f}"),
    ("benchmark", lambda: f"{record('benchmark')['steps'][-1]['ratio']:.1f}"),
    ("benchmark", lambda: f"{record('benchmark')['preparing']['seconds']:.0f}"),
    ("gpu", lambda: f"{in_float32():.0f}"),
]


def test_every_number_of_the_table_is_that_of_its_record():
    table = [(name, number) for _, number, name in ROW.findall(README)]
    assert table == [(name, number()) for name, number in NUMBERS]


@pytest.mark.parametrize("name", sorted({name for name, _ in NUMBERS}))
def test_the_records_of_the_table_name_machine_versions_and_date(name):
    text = json.dumps(record(name))
    for what in (r"AMD EPYC|NVIDIA H100", r"torch\W+2\.\d+\.\d+", r"20\d\d-\d\d-\d\d"):
        assert re.search(what, text), what


def test_large_numbers_of_the_prose_are_in_a_record_or_in_the_results():
    texts = [path.read_text(encoding="utf-8") for path in RECORDED.glob("*.json")]
    texts.append((ROOT / "docs/results.md").read_text(encoding="utf-8"))
    known = "\n".join(texts)
    for number in re.findall(r"\d{1,3}(?:,\d{3})+", README):
        whole = rf"(?<![\d.,])(?:{number}|{number.replace(',', '')})(?![\d]|[.,]\d)"
        assert re.search(whole, known), number


def test_steps_in_two_minutes_are_the_range_of_the_records():
    """240 CPU seconds of one core are two minutes of two."""
    default = "EMA over 100 steps, rates decay from step 500"
    names = {
        "variants": "default: R1 of weight 2",
        "layers": "default: transposed convolutions",
    }
    steps = []
    for group in ("variants", "layers", "finals", "ten_minutes"):
        races = record(group)
        i = races["marks"].index(240)
        wanted = names.get(group, default)
        steps += [run["marks"][i]["step"] for run in races["runs"] if run["name"] == wanted]
    assert f"{min(steps):,} to {max(steps):,} steps" in README


def test_the_table_of_pages_has_every_page_in_order():
    names = re.findall(r"^\| \[.+?\]\(notebooks/(\w+\.ipynb)\)", README, re.MULTILINE)
    assert [name for name in names if (ROOT / "notebooks" / name).exists()] == [
        path.name for path in PAGES
    ]


def test_badges_and_the_browser_page_stand_on_the_first_screen():
    first = "\n".join(README.splitlines()[:15])
    for words in ("in Colab]", "in Kaggle]", "docs/train.html"):
        assert words in first
    assert with_links(README) == README, "run: python notebooks/address.py"
    assert len(README.splitlines()) <= 123


def test_contributing_lists_every_module_in_the_order_of_their_imports():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("animegan_helpers/        ") : text.index("    pretrained/  ")]
    assert re.findall(r"^    (\w+)\.py ", tree, re.MULTILINE) == ORDER


def test_ci_calls_the_command_of_the_readme():
    command = re.search(r"^python3 -m venv .+ -m pytest -n 2$", README, re.MULTILINE)[0]
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").endswith(f"{command}\n")


RETIRED = re.compile(
    r"\bpictures?\b|\btold\b|\btells of\b|\bmend(?:s|ed)?\b|\bdearest\b|\bdrawn faces\b"
    r"|\bplain game\b|\bbetter game\b|\b(?:He|start) start\b|\bstart weights\b|\bwrong %"
    r"|\bthousand million\b|\bcries\b|\bsome hundreds\b",
    re.IGNORECASE,
)


def test_retired_words_are_in_no_text_and_in_no_module():
    """The field's noun is used for each concept: image, message, fix, gradient ..."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]
    found = {}
    for path in [*texts, *ROOT.glob("animegan_helpers/*.py")]:
        words = RETIRED.findall(path.read_text(encoding="utf-8"))
        if words:
            found[path.name] = words
    assert found == {}
