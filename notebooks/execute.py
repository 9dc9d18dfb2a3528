"""Run notebooks top to bottom in a clean kernel and keep their outputs: python notebooks/execute.py [05 03 ...]"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def settle(text: str) -> str:
    """What a terminal shows of a stream in which carriage returns rewrite lines (progress bars)."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def tidy(notebook) -> None:
    """Keep what readers see: no widget state, no timestamps, no intermediate progress."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03d}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = settle(output.text)


def main(names: list[str]) -> None:
    for path in sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        if names and path.name[:2] not in names:
            continue
        notebook, start = nbformat.read(path, as_version=4), time.perf_counter()
        NotebookClient(
            notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}, coalesce_streams=True
        ).execute()
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 2**20:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
