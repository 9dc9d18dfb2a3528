"""All pages in reading order. Every script and every test takes them from here."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE_NAME = re.compile(r"(\d\d|[A-Z])_\w+\.ipynb")  # a chapter, or an appendix


def page_id(path: Path) -> str:
    """The file of a page -> how its name begins: "05", or "A" for an appendix.

    Raises ValueError if the file's name is not that of a page.
    """
    match = PAGE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of a page: take 12_title or A_title.ipynb")
    return match[1]


def find_pages(folder: Path) -> list[Path]:
    """-> the pages in a folder: chapters by number, then appendices by letter."""
    pages = [path for path in folder.glob("*.ipynb") if PAGE_NAME.fullmatch(path.name)]
    return sorted(pages, key=page_id)  # as characters, digits come before letters


PAGES: list[Path] = find_pages(HERE)
