"""Make the site, offline, from what is committed: python docs/build.py [FOLDER]

The default folder is build/site. No page is executed. The pages are copied to a temporary folder
first, with their links as the site needs them and the alt texts of their figures where MyST-NB
reads them.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
from address import address  # noqa: E402
from pages import PAGES  # noqa: E402

from animegan_helpers import web_page  # noqa: E402
from animegan_helpers.pretrained import load_pretrained  # noqa: E402

OUT = ROOT / "build" / "site"
MARK = ".made_by_docs_build"  # a file in each site that this script has made
FRONT = ROOT / "docs" / "index.md"
TEXTS = [*ROOT.glob("notebooks/*.md"), *ROOT.glob("docs/*.md")]
IMAGES = {".png", ".svg", ".gif", ".jpg"}
PLACES = {  # what does not stand in the site where it stands in the repository
    FRONT: Path("index.md"),
    ROOT / "docs" / "train.html": Path("train.html"),
    ROOT / "docs" / "faces.html": Path("faces.html"),  # written by write_live_pages
}
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?\)")
TITLE = re.compile(r"# @title (.+)")  # of a folded cell
EXPLORER = {
    "output_type": "display_data",
    "data": {"text/html": '<iframe src="../faces.html" title="Sliders" loading="lazy"></iframe>'},
    "metadata": {},
}
DOING = re.compile(r"\*\*You'll do:\*\* (.+)")


def place(path: Path) -> Path:
    """A file of the repository -> its place in the site."""
    return PLACES.get(path, path.relative_to(ROOT))


# ---- links ----


def with_links(text: str, source: Path, sources: Path) -> str:
    """Markdown of the file `source` -> the same, with its links to files as the site needs them.

    Images that it shows are copied to the folder `sources`. Files that are not part of the site
    are linked to the repository's address.
    """

    def link(match: re.Match) -> str:
        return _link(match[1], match[2] or "", source, sources)

    return LINK.sub(link, text)


def _link(target, anchor, source, sources) -> str:
    """A link's target and anchor -> the same for the site, with the parenthesis that ends it."""
    path = Path(os.path.normpath(source.parent / target))
    if path not in PLACES and not path.exists():
        return f"{target}{anchor})"  # Sphinx warns
    relative = os.path.relpath(place(path), place(source).parent).replace(os.sep, "/")
    if path in TEXTS or path in PAGES:
        return f"{relative}{_github_anchor(anchor)})"
    if path.suffix in IMAGES:
        copy = sources / place(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        return f"{relative})"
    if path in PLACES:
        return f"{relative}{anchor}){{.external}}"  # not a document of Sphinx's: as it stands
    repository, tag = address()
    return f"{repository}/blob/{tag}/{path.relative_to(ROOT).as_posix()}{anchor})"


def _github_anchor(anchor) -> str:
    """The anchor of a heading as Jupyter or GitHub writes it -> as GitHub does, and MyST."""
    return re.sub(r"[^\w#-]", "", anchor.lower())


# ---- pages ----


def site_notebook(notebook: dict, source: Path, sources: Path) -> dict:
    """A page -> the same for the site.

    It has the site's links, alt texts where MyST-NB reads them, folded cells with their titles, and
    sliders that work where a cell shows them.
    """
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = with_links(text, source, sources)
            continue
        settings = {"image": {"alt": " ".join(alt_texts(cell))}}
        title = TITLE.match(text)
        if title:
            settings["code_prompt_show"] = title[1]
        cell["metadata"]["mystnb"] = settings
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):  # folded in Jupyter, too
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "hide-input"]
        if "web_page.InNotebook(" in text:
            cell["outputs"].insert(0, EXPLORER)
    return notebook


def alt_texts(cell: dict) -> list[str]:
    """A code cell -> the alt texts of its figures, each in one line."""
    texts = []
    for output in cell["outputs"]:
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt:
            texts.append(" ".join(alt.split()))
    return texts


def front_page(text: str) -> str:
    """The text of index.md -> the same with all pages and texts in its navigation, and a table."""
    rows = ["| page | what you'll do |", "|---|---|"]
    for path in PAGES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        opening = "".join(cells[0]["source"])
        title = opening.split("\n")[0].removeprefix("# ")
        rows.append(f"| [{title}](../notebooks/{path.name}) | {DOING.search(opening)[1]} |")
    documents = [place(path).with_suffix("").as_posix() for path in TEXTS if path != FRONT]
    parts = {
        "table": rows,
        "pages": [place(path).with_suffix("").as_posix() for path in PAGES],
        "other texts": [name for name in sorted(documents) if name not in text],
    }
    for name, lines in parts.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(lines))
    return text


def write_sources(sources: Path) -> None:
    """Write what Sphinx reads: all pages and texts."""
    for path in [*PAGES, *TEXTS]:
        text = path.read_text(encoding="utf-8")
        if path in PAGES:
            text = json.dumps(site_notebook(json.loads(text), path, sources))
        else:
            if path == FRONT:
                text = front_page(text)
            text = with_links(text, path, sources)
        copy = sources / place(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")


def write_live_pages(out: Path) -> None:
    """Add the two pages that run networks in the browser."""
    shutil.copyfile(ROOT / "docs" / "train.html", out / "train.html")
    web_page.write(out / "faces.html", *load_pretrained())


def build(out: Path = OUT) -> int:
    """Make the site anew in the folder `out`; -> Sphinx's exit status, which is 0 if all is well.

    A warning of Sphinx's makes it 1.
    Raises FileExistsError, and deletes nothing, if `out` holds something other than a site.
    """
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise FileExistsError(f"{out} holds something other than the site: choose a new folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder).resolve() / "sources"
        write_sources(sources)
        options = ["-q", "-W", "--keep-going", "-c", ROOT / "docs", "-d", Path(folder) / "doctrees"]
        status = build_main([str(argument) for argument in [*options, sources, out]])
    write_live_pages(out)
    return status


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve() if sys.argv[1:] else OUT
    failed = build(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder / 'index.html'}: {size / 2**20:.1f} MB")
    sys.exit(failed)
