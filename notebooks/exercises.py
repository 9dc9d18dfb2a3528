"""The exercises of all pages become one list, exercises.md: python notebooks/exercises.py

A test compares the two, so run this when an exercise has changed.
"""

import re
from pathlib import Path

import nbformat
from pages import HERE, PAGES, page_id

LIST = HERE / "exercises.md"
EXERCISE = re.compile(r"^\*\*(\d)\. (.+?)\*\* (.+)$", re.MULTILINE)
HEAD = """# All exercises

Each page ends with exercises. Most of them change one line or write one function, and check
themselves: the cell prints "Right.", or "Not yet" and a hint, and never stops with an error. The
answer is folded away below it. An open exercise asks for a prediction, runs an experiment, and is
never graded. *Find the bug* always shows a bug that people really make; most come from public
projects.

This list is made from the pages by `python notebooks/exercises.py`.
"""


def markdown(path: Path) -> list[str]:
    """The file of a page -> its Markdown cells."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def exercises(path: Path) -> list[tuple[str, str]]:
    """The file of a page -> (title, task) of each of its exercises."""
    text = "\n\n".join(markdown(path))
    _, _, last_part = text.partition("## On your own")
    return [(title, task) for _, title, task in EXERCISE.findall(last_part)]


def list_text() -> str:
    """-> what exercises.md should contain."""
    parts = [HEAD]
    for path in PAGES:
        tasks = exercises(path)
        if not tasks:
            continue
        heading = markdown(path)[0].split("\n")[0].removeprefix("# ")
        link = f"[{page_id(path)}]({path.name}#On-your-own)"
        parts.append(f"## {heading}\n\nOn page {link}:\n")
        for number, (title, task) in enumerate(tasks, 1):
            parts.append(f"{number}. **{title}** {task}")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    text = list_text()
    LIST.write_text(text, encoding="utf-8")
    count = len(re.findall(r"^\d+\. ", text, flags=re.MULTILINE))
    print(f"{LIST.name}: {count} exercises")
