"""The pages as they are committed: what their readers see on GitHub, and what running them must have shown."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(params=PAGES, ids=lambda path: path.name[:2])
def page(request):
    return json.loads(request.param.read_text(encoding="utf-8")) | {"path": request.param}


def code(page):
    return [cell for cell in page["cells"] if cell["cell_type"] == "code"]


def prose(page):
    return "\n\n".join("".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "markdown")


def outputs(page):
    return [output for cell in code(page) for output in cell["outputs"]]


def figures(page):
    return [output for output in outputs(page) if "image/png" in output.get("data", {})]


def printed(page):
    return "".join("".join(output["text"]) for output in outputs(page) if output["output_type"] == "stream")


def test_pages_were_run_top_to_bottom_in_a_clean_kernel(page):
    assert [cell["execution_count"] for cell in code(page)] == list(range(1, len(code(page)) + 1))
    assert not [output for output in outputs(page) if output["output_type"] == "error"]


def test_pages_are_small_and_hold_no_widget_state(page):
    assert page["path"].stat().st_size < 2 * 2**20
    assert "widgets" not in page["metadata"]
    assert "application/vnd.jupyter.widget-view+json" not in page["path"].read_text(encoding="utf-8")


def test_every_figure_has_alt_text_and_is_a_picture_with_something_in_it(page):
    for output in figures(page):
        assert len(output["metadata"]["image/png"]["alt"]) > 20
        picture = Image.open(BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))
        assert len(picture.convert("RGB").getcolors(2**24)) > 2


def test_pages_open_as_promised(page):
    text = "".join(page["cells"][0]["source"])
    assert re.match(rf"# {page['path'].name[:2]} · \w+", text)
    for promise in ("You'll do", "You'll learn", "You'll need"):
        assert promise in text


def test_headings_come_in_order(page):
    levels = [len(hashes) for hashes in re.findall(r"^(#+) ", prose(page), flags=re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_links_to_other_pages_hold(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", prose(page)):
        assert (page["path"].parent / target).exists(), target


def test_no_path_or_name_of_the_machine_that_ran_a_page_is_left_in_it(page):
    text = page["path"].read_text(encoding="utf-8")
    for trace in (str(Path.home()) + "/", str(ROOT), "/work/", "/tmp/"):
        assert trace not in text, trace


def test_each_page_has_exercises_that_say_not_yet_and_their_answers(page):
    exercises = sum("checks.exercise(" in "".join(cell["source"]) for cell in code(page))
    assert printed(page).count("Not yet") == exercises
    assert prose(page).count("<details>") == exercises
    if not page["path"].name.startswith("00"):  # which asks for nothing
        assert 2 <= exercises <= 4 and "Find the bug" in prose(page)


def test_building_pages_hand_over_to_the_package(page):
    number = page["path"].name[:2]
    handed = printed(page).count("is the package's:")
    assert handed == {"02": 3, "03": 1, "04": 1, "05": 1, "06": 6, "07": 2, "09": 2, "10": 2, "11": 2}.get(number, 0)


def test_page_05_left_a_finite_history_and_faces_that_changed():
    page = json.loads(next(path for path in PAGES if path.name.startswith("05")).read_text(encoding="utf-8"))
    text = printed(page)
    assert "equal, bit for bit: True" in text
    for name in ("G.pth", "D.pth", "history.jsonl", "recipe.json", "checkpoints/step_"):
        assert name in text
    assert "nan" not in text.lower().replace("dominant", "")
    pictures = {"".join(output["data"]["image/png"]) for output in figures(page)}
    assert len(pictures) == len(figures(page)) >= 8
