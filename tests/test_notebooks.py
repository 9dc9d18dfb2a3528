"""The pages as they are committed: what readers see on GitHub, and what running them has shown."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from pages import PAGES, find_pages, page_id
from PIL import Image

ROOT = Path(__file__).parent.parent
# how many parts of the package each page has built, and compares with the package
HANDED_OVER = {
    "02": 3,
    "03": 1,
    "04": 1,
    "05": 2,
    "06": 7,
    "07": 3,
    "09": 2,
    "10": 2,
    "11": 1,
    "12": 2,
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8")) | {"path": path}


@pytest.fixture(params=PAGES, ids=page_id)
def page(request):
    return read(request.param)


def code(page):
    return [cell for cell in page["cells"] if cell["cell_type"] == "code"]


def prose(page):
    cells = [cell for cell in page["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def outputs(page):
    return [output for cell in code(page) for output in cell["outputs"]]


def figures(page):
    return [output for output in outputs(page) if "image/png" in output.get("data", {})]


def printed(page):
    streams = [output for output in outputs(page) if output["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in streams)


# ---- the list of pages ----


def test_the_list_has_every_notebook_and_starts_with_page_00():
    assert set(PAGES) == set((ROOT / "notebooks").glob("*.ipynb"))
    assert [page_id(path) for path in PAGES[:3]] == ["00", "01", "02"]


def test_chapters_come_by_number_and_appendices_after_them(tmp_path):
    names = ["B_more.ipynb", "10_fast.ipynb", "A_dirty_images.ipynb", "02_prepare.ipynb"]
    for name in [*names, "notes.ipynb", "exercises.md"]:
        (tmp_path / name).touch()
    pages = find_pages(tmp_path)
    assert [page_id(path) for path in pages] == ["02", "10", "A", "B"]


@pytest.mark.parametrize("name", ["notes.ipynb", "1_a.ipynb", "a_b.ipynb", "AB_c.ipynb", "01_a.py"])
def test_a_file_that_is_not_a_page_is_refused(name):
    with pytest.raises(ValueError, match=name):
        page_id(Path(name))


# ---- each page ----


def test_pages_were_run_top_to_bottom_in_a_clean_kernel(page):
    counts = [cell["execution_count"] for cell in code(page)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(page) if output["output_type"] == "error"]


def test_pages_are_small_and_hold_no_widget_state(page):
    assert page["path"].stat().st_size < 2 * 2**20
    assert "widgets" not in page["metadata"]
    text = page["path"].read_text(encoding="utf-8")
    assert "application/vnd.jupyter.widget-view+json" not in text
    html = [output.get("data", {}).get("text/html", "") for output in outputs(page)]
    assert not any("<iframe" in "".join(text) for text in html), "a frame holds 4 MB"


def test_every_figure_has_alt_text_and_is_not_empty(page):
    for output in figures(page):
        assert len(output["metadata"]["image/png"]["alt"]) > 20
        png = base64.b64decode("".join(output["data"]["image/png"]))
        image = Image.open(BytesIO(png)).convert("RGB")
        assert len(image.getcolors(2**24)) > 2


def test_pages_open_as_promised(page):
    text = "".join(page["cells"][0]["source"])
    assert re.match(rf"# {page_id(page['path'])} · \w+", text)
    for promise in ("You'll do", "You'll learn", "You'll need"):
        assert promise in text


def test_headings_come_in_order(page):
    levels = [len(hashes) for hashes in re.findall(r"^(#+) ", prose(page), flags=re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_links_to_other_pages_work(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", prose(page)):
        assert (page["path"].parent / target).exists(), target


def test_no_path_or_name_of_the_machine_that_ran_a_page_is_left_in_it(page):
    text = page["path"].read_text(encoding="utf-8")
    for trace in (str(Path.home()) + "/", str(ROOT), "/work/", "/tmp/"):
        assert trace not in text, trace


def test_each_page_has_exercises_that_say_not_yet_and_their_answers(page):
    exercises = sum("checks.exercise(" in "".join(cell["source"]) for cell in code(page))
    open_ones = sum("checks.predict(" in "".join(cell["source"]) for cell in code(page))
    assert printed(page).count("Not yet") == exercises
    assert printed(page).count("No prediction yet") == open_ones
    assert exercises <= prose(page).count("<details>") <= exercises + open_ones
    if page_id(page["path"]) != "00":  # which asks for nothing
        assert 2 <= exercises <= 4 and "Find the bug" in prose(page)


def test_building_pages_hand_over_to_the_package(page):
    matches = printed(page).count("matches the package's:")
    assert matches == HANDED_OVER.get(page_id(page["path"]), 0)


def test_page_05_left_a_finite_history_and_faces_that_changed():
    page = read(next(path for path in PAGES if page_id(path) == "05"))
    text = printed(page)
    assert "equal, bit for bit: True" in text
    for name in ("G.pth", "D.pth", "history.jsonl", "recipe.json", "checkpoints/step_"):
        assert name in text
    assert "nan" not in text.lower().replace("dominant", "")
    images = {"".join(output["data"]["image/png"]) for output in figures(page)}
    assert len(images) == len(figures(page)) >= 8
