"""Where this project can be fetched from, in every page: python notebooks/address.py [https://github.com/NAME/PROJECT]

The address stands in one place, pyproject.toml under [project.urls]; the tag is `v` and the version there. This command
writes both into each page's badges, into its first code cell, which fetches the package on Colab and Kaggle, and into
the README's links to Colab and Kaggle. With an address it sets the one in pyproject.toml first. Nothing else changes.
"""

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
README, PROJECT = HERE.parent / "README.md", HERE.parent / "pyproject.toml"
SITES = {  # a badge each; both sites open pages from GitHub, at a tag
    "Colab": "https://colab.research.google.com/github/",
    "Kaggle": "https://kaggle.com/kernels/welcome?src=https://github.com/",
}
LINK = re.compile(rf"({'|'.join(map(re.escape, SITES.values()))})[\w.-]+/[\w.-]+/blob/[^/\s)]+/")
HIDDEN = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["bootstrap"]}  # folded, on Colab and here
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
    told = PROJECT.read_text(encoding="utf-8")
    repository, version = (re.search(rf'^{key} = "(.+)"$', told, re.MULTILINE)[1] for key in ("Repository", "version"))
    return repository, f"v{version}"


def set_address(repository: str) -> None:
    """Write it into pyproject.toml. Raises ValueError if Colab and Kaggle could not open pages from there."""
    repository = repository.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository}: Colab and Kaggle open pages from https://github.com/NAME/PROJECT")
    told = PROJECT.read_text(encoding="utf-8")
    told = re.sub(r'^Repository = ".+"$', f'Repository = "{repository}"', told, flags=re.MULTILINE)
    PROJECT.write_text(told, encoding="utf-8")


def linked(text: str) -> str:
    """Markdown -> the same, its links to Colab and Kaggle set to the address and the tag."""
    repository, tag = address()
    return LINK.sub(rf"\g<1>{repository.removeprefix('https://github.com/')}/blob/{tag}/", text)


def badges(page: str) -> str:
    """The name of a page's file -> the line of its badges."""
    shown = (
        f"[![Open in {site}](badges/{site.lower()}.svg)]({start}OWNER/PROJECT/blob/TAG/notebooks/{page})"
        for site, start in SITES.items()
    )
    return linked(" ".join(shown))


def bootstrap() -> str:
    """-> the source of each page's first code cell."""
    repository, tag = address()
    told = {"<name>": repository.split("/")[-1], "<repository>": repository, "<tag>": tag}
    return re.sub("|".join(told), lambda found: told[found[0]], BOOTSTRAP)


def is_bootstrap(cell) -> bool:
    """Whether a cell is one that this command writes."""
    return "bootstrap" in cell["metadata"].get("tags", [])


def apply(notebook, page: str) -> None:
    """Write badges and bootstrap into a notebook. A new cell counts as run: where pages are run it does nothing."""
    heading, *rest = notebook.cells[0].source.split("\n\n")
    if rest[0].startswith("[![Open in "):
        rest = rest[1:]
    notebook.cells[0].source = "\n\n".join([heading, badges(page), *rest])
    if not any(map(is_bootstrap, notebook.cells)):
        insert(notebook, nbformat.v4.new_code_cell(execution_count=0, metadata=HIDDEN))
    cell = next(filter(is_bootstrap, notebook.cells))
    cell.source, cell.metadata = bootstrap(), nbformat.from_dict(HIDDEN)


def insert(notebook, new) -> None:
    """Put a cell after the first one, and count all cells anew."""
    notebook.cells.insert(1, new)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03d}"
        for counted in [cell, *cell.get("outputs", [])]:
            if counted.get("execution_count") is not None:
                counted.execution_count += 1


def main(arguments: list[str]) -> None:
    for repository in arguments[:1]:
        set_address(repository)
    README.write_text(linked(README.read_text(encoding="utf-8")), encoding="utf-8")
    for path in sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        apply(notebook, path.name)
        nbformat.write(notebook, path)
    print("{}, {}: set in every page".format(*address()))


if __name__ == "__main__":
    main(sys.argv[1:])
