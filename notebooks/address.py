"""The address of the project goes into every page: python notebooks/address.py [ADDRESS]

The address stands in one place, pyproject.toml under [project.urls]; the tag is `v` and the version
there. This command writes both into each page's badges, into its first code cell, which fetches the
package on Colab and Kaggle, and into the README's links to Colab and Kaggle. With an ADDRESS, such
as https://github.com/NAME/PROJECT, it first sets the one in pyproject.toml. Nothing else changes.
"""

import re
import sys

import nbformat
from pages import HERE, PAGES

README = HERE.parent / "README.md"
PROJECT = HERE.parent / "pyproject.toml"
GITHUB = "https://github.com/"
SITES = {  # one badge each; both sites open pages from GitHub, at a tag
    "Colab": "https://colab.research.google.com/github/",
    "Kaggle": "https://kaggle.com/kernels/welcome?src=https://github.com/",
}
LINK = re.compile(rf"({'|'.join(map(re.escape, SITES.values()))})[\w.-]+/[\w.-]+/blob/[^/\s)]+/")
HIDDEN = {  # folded away, on Colab and in Jupyter
    "cellView": "form",
    "jupyter": {"source_hidden": True},
    "tags": ["bootstrap"],
}
BOOTSTRAP = """\
# @title Colab and Kaggle only: fetch the package
import os, subprocess, sys
from pathlib import Path
if {"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"} & set(os.environ):
    inputs = Path("/kaggle/input")  # without internet: add this project there as a dataset
    sys.path += [str(init.parents[1]) for init in inputs.rglob("animegan_helpers/__init__.py")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for processes started from a page
    try:
        from animegan_helpers import device
    except ModuleNotFoundError:  # if pip fails on Kaggle: turn the internet on under Settings
        source = next(inputs.rglob("<name>*.zip"), "git+<repository>@<tag>")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, str(source)], check=True)
        from animegan_helpers import device
    print(device.keep_runs())"""


def address() -> tuple[str, str]:
    """-> (the repository's address, the tag of this version), as pyproject.toml has them."""
    text = PROJECT.read_text(encoding="utf-8")
    repository = re.search(r'^Repository = "(.+)"$', text, re.MULTILINE)[1]
    version = re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1]
    return repository, f"v{version}"


def set_address(repository: str) -> None:
    """Write the address into pyproject.toml.

    Raises ValueError if Colab and Kaggle can't open pages from there.
    """
    repository = repository.rstrip("/").removesuffix(".git")
    if not re.fullmatch(rf"{re.escape(GITHUB)}[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository}: Colab and Kaggle open pages from {GITHUB}NAME/PROJECT")
    text = PROJECT.read_text(encoding="utf-8")
    line = f'Repository = "{repository}"'
    text = re.sub(r'^Repository = ".+"$', line, text, flags=re.MULTILINE)
    PROJECT.write_text(text, encoding="utf-8")


def with_links(text: str) -> str:
    """Markdown -> the same, with its links to Colab and Kaggle set to the address and the tag."""
    repository, tag = address()
    return LINK.sub(rf"\g<1>{repository.removeprefix(GITHUB)}/blob/{tag}/", text)


def badges(page: str) -> str:
    """The name of a page's file -> the line with its badges."""
    badges = []
    for site, start in SITES.items():
        link = f"{start}OWNER/PROJECT/blob/TAG/notebooks/{page}"
        badges.append(f"[![Open in {site}](badges/{site.lower()}.svg)]({link})")
    return with_links(" ".join(badges))


def bootstrap() -> str:
    """-> the source of each page's first code cell."""
    repository, tag = address()
    source = BOOTSTRAP.replace("<name>", repository.split("/")[-1])
    return source.replace("<repository>", repository).replace("<tag>", tag)


def is_bootstrap(cell: nbformat.NotebookNode) -> bool:
    """Whether this command has written a cell."""
    return "bootstrap" in cell["metadata"].get("tags", [])


def apply(notebook: nbformat.NotebookNode, page: str) -> None:
    """Write badges and bootstrap into a notebook.

    A new cell counts as executed: on the machines that execute pages it does nothing.
    """
    heading, *rest = notebook.cells[0].source.split("\n\n")
    if rest[0].startswith("[![Open in "):
        rest = rest[1:]
    notebook.cells[0].source = "\n\n".join([heading, badges(page), *rest])
    if not any(is_bootstrap(cell) for cell in notebook.cells):
        insert(notebook, nbformat.v4.new_code_cell(execution_count=0, metadata=HIDDEN))
    cell = next(cell for cell in notebook.cells if is_bootstrap(cell))
    cell.source = bootstrap()
    cell.metadata = nbformat.from_dict(HIDDEN)


def insert(notebook: nbformat.NotebookNode, new: nbformat.NotebookNode) -> None:
    """Put a cell after the first one, and renumber the cells and their execution counts."""
    notebook.cells.insert(1, new)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03d}"
        for counted in [cell, *cell.get("outputs", [])]:
            if counted.get("execution_count") is not None:
                counted.execution_count += 1


def main(arguments: list[str]) -> None:
    """Set the address, if one is given, and write it into the README and into every page."""
    if arguments:
        set_address(arguments[0])
    README.write_text(with_links(README.read_text(encoding="utf-8")), encoding="utf-8")
    for path in PAGES:
        notebook = nbformat.read(path, as_version=4)
        apply(notebook, path.name)
        nbformat.write(notebook, path)
    repository, tag = address()
    print(f"{repository}, {tag}: set in every page")


if __name__ == "__main__":
    main(sys.argv[1:])
