"""Run pages in a clean kernel and keep their outputs: python notebooks/execute.py [05 03 A ...]

The data folder is build/data, so `data/` and the runs in it are left alone, and the faces are the
synthetic ones. Without ids, all pages are run, and the folder is emptied first. Each page's
seconds are kept in recorded/minutes.json with the machine's speed at that time. Page 00 estimates
from them how long another machine takes, so nothing else should run meanwhile.
"""

import json
import os
import shutil
import sys
import time
from datetime import date
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from pages import PAGES, page_id

from animegan_helpers import device, plotting

DATA = Path(__file__).parents[1] / "build" / "data"
MINUTES = plotting.RECORDED / "minutes.json"
CLOCK = {"09": 6 * 12 + 15}  # seconds of training by the clock, which no machine can shorten
WIDGET = "application/vnd.jupyter.widget-view+json"


def without_progress(text: str) -> str:
    """Printed text -> what a terminal finally shows of it: progress bars rewrite their line."""
    lines = text.split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep what readers see: no widgets or frames, beside which stand images, and no timestamps."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03d}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_explorer(output)]
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = without_progress(output.text)
                    if "%|" in output.text:  # a progress bar, which static views show as an error
                        output.name = "stdout"


def is_explorer(output: nbformat.NotebookNode) -> bool:
    """Whether an output of a cell is a widget, or a frame with a page of 4 MB."""
    data = output.get("data", {})
    return WIDGET in data or "<iframe" in data.get("text/html", "")


def execute(path: Path) -> float:
    """Run a page from top to bottom and write it with its outputs; -> the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=600, resources=folder, coalesce_streams=True)
    start = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - start
    tidy(notebook)
    nbformat.write(notebook, path)
    return seconds


def record_seconds(path: Path, seconds: float) -> None:
    """Keep in minutes.json how long a page took, and on which machine."""
    recorded = {}
    if MINUTES.exists():
        recorded = json.loads(MINUTES.read_text(encoding="utf-8"))
    recorded[page_id(path)] = {
        "seconds": round(seconds),
        "by the clock": CLOCK.get(page_id(path), 0),
        "gflops": round(device.matrix_rate(), 1),
        "on": str(device.pick()),
        "date": str(date.today()),
    }
    text = json.dumps(recorded, indent=1, sort_keys=True) + "\n"
    MINUTES.write_text(text, encoding="utf-8")


def main(ids: list[str]) -> None:
    """Run the pages with these ids; none stands for all. Ends with a message for an unknown id."""
    known = [page_id(path) for path in PAGES]
    for name in ids:
        if name not in known:
            sys.exit(f"there is no page {name}: choose from {' '.join(known)}")
    os.environ["ANIMEGAN_DATA_FOLDER"] = str(DATA)
    os.environ.pop("ANIMEGAN_DATA", None)
    if not ids:
        shutil.rmtree(DATA, ignore_errors=True)
    for path in PAGES:
        if ids and page_id(path) not in ids:
            continue
        seconds = execute(path)
        record_seconds(path, seconds)
        print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size / 2**20:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
