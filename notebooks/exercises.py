"""The exercises of all pages become one list, exercises.md: python notebooks/exercises.py

A test compares the two, so run it when an exercise has changed.
"""

import re
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
LIST = HERE / "exercises.md"
TITLE = re.compile(r"^\*\*(\d)\. (.+?)\*\* (.+)$", re.MULTILINE)
HEAD = """# All exercises

From page 01 on each page ends with three. An exercise changes one line or writes one function, and checks itself: its
cell says "Right.", or "Not yet" and a hint, and never stops with an error. The answer is folded away below it. *Find
the bug* is each time a bug that people really make; most come from well-known projects.

This list is made from the pages by `python notebooks/exercises.py`.
"""


def exercises(path) -> list[tuple[str, str]]:
    """A page's file -> (title, task) of each of its exercises."""
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [(title, task) for _, title, task in TITLE.findall(prose.partition("## On your own")[2])]


def text() -> str:
    """-> the list, as it should be."""
    parts = [HEAD]
    for path in sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        if found := exercises(path):
            heading = nbformat.read(path, as_version=4).cells[0].source.split("\n")[0].removeprefix("# ")
            parts.append(f"## {heading}\n\nOn page [{path.name[:2]}]({path.name}#On-your-own):\n")
            parts += [f"{i}. **{title}** {task}" for i, (title, task) in enumerate(found, 1)]
            parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    LIST.write_text(text(), encoding="utf-8")
    print(f"{LIST.name}: {sum(line[:1].isdigit() for line in text().splitlines())} exercises")
