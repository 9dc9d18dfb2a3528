"""The teacher's guide: its links, commands and exercises exist; its times are the pages' own."""

import json
import re
from pathlib import Path

import pytest
from pages import PAGES, page_id
from test_readers import anchors, broken_links, headings, prose

from animegan_helpers.arguments import parser

GUIDE = Path(__file__).parent.parent / "docs" / "teaching.md"
TEXT = GUIDE.read_text(encoding="utf-8")
LESSONS = re.split(r"^## Lesson \d: ", TEXT, flags=re.MULTILINE)[1:]


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def exercise_kinds(page):
    """The id of a page -> {number of an exercise: whether it is open}."""
    (path,) = [path for path in PAGES if page_id(path) == page]
    calls = []
    for cell in cells(path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and re.search(r"checks\.(exercise|predict)\(", source):
            calls.append("checks.predict(" in source)
    return dict(enumerate(calls, 1))


def test_links_lead_somewhere_and_headings_are_in_order():
    assert list(broken_links(GUIDE, prose(GUIDE))) == []
    levels = [level for level, _ in headings(prose(GUIDE))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert len(anchors(GUIDE)) == len(levels), "two headings with one name"


def test_six_lessons_of_ninety_minutes_cover_all_chapters():
    assert len(LESSONS) == 6
    listed = re.findall(r"^\| \[\d\]\(\S+\) \| ([\d, ]+) \|", TEXT, flags=re.MULTILINE)
    covered = [page for row in listed for page in row.split(", ")]
    assert covered == [page_id(path) for path in PAGES if page_id(path).isdigit()]
    for lesson in LESSONS:
        minutes = [int(m) for m in re.findall(r"^\| (\d+) \| ", lesson, flags=re.MULTILINE)]
        assert minutes[0] == 0 and minutes == sorted(set(minutes)) and minutes[-1] < 90
        for part in ("Goals", "Run before class", "Expected stumbles", "Questions", "Homework"):
            assert f"**{part}" in lesson


@pytest.mark.parametrize("lesson", LESSONS, ids=range(1, 7))
def test_exercises_of_the_homework_exist_and_open_ones_are_open(lesson):
    homework = re.sub(r"\s+", " ", lesson[lesson.index("**Homework:**") :])
    found = re.findall(r"exercises? ((?:\d(?: \(open\))?(?:, | and )?)+) of page (\w+)", homework)
    assert found
    for numbers, page in found:
        kinds = exercise_kinds(page)
        for exercise, is_open in re.findall(r"(\d)( \(open\))?", numbers):
            assert kinds[int(exercise)] == bool(is_open), f"exercise {exercise} of page {page}"


def test_its_commands_are_understood_by_the_parser():
    commands = re.findall(r"python -m animegan_helpers ([^`\n]+)", TEXT)
    assert len(commands) >= 3
    for words in commands:
        parser().parse_args(words.split())


def test_its_reading_times_are_those_of_the_pages():
    words = {"ten": "10", "fifteen": "15", "thirty": "30", "forty": "40", "forty-five": "45"}
    table = dict(re.findall(r"^\| (\d\d|A) \| (\d+) \|", TEXT, flags=re.MULTILINE))
    assert list(table) == [page_id(path) for path in PAGES]
    for path in PAGES:
        opening = "".join(cells(path)[0]["source"])
        number = re.search(r"([\w-]+) minutes to read", opening)[1]
        assert table[page_id(path)] == words.get(number, number), path.name
