"""Run notebooks top to bottom in a clean kernel and keep their outputs: python notebooks/execute.py [05 03 ...]

The seconds each one took are kept in recorded/minutes.json, with the machine's speed at that time: page 00 tells from
them what a learner's machine will take. So run all of them with nothing else running.
"""

import json
import sys
import time
from datetime import date
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from animegan_helpers import device, plotting

HERE = Path(__file__).parent
MINUTES = plotting.RECORDED / "minutes.json"
CLOCK = {"09": 6 * 12 + 15}  # seconds that a page trains by the clock: no machine is done sooner
WIDGET = "application/vnd.jupyter.widget-view+json"


def settle(text: str) -> str:
    """What a terminal shows of a stream in which carriage returns rewrite lines (progress bars)."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def tidy(notebook) -> None:
    """Keep what readers see: no widgets (a picture stands beside each), no timestamps, no intermediate progress."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03d}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]
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
        seconds = time.perf_counter() - start
        told = json.loads(MINUTES.read_text(encoding="utf-8")) if MINUTES.exists() else {}
        rate, machine = round(device.matrix_rate(), 1), str(device.pick())
        told[path.name[:2]] = {"seconds": round(seconds), "by the clock": CLOCK.get(path.name[:2], 0), "gflops": rate,
                               "on": machine, "date": str(date.today())}  # fmt: skip
        MINUTES.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size / 2**20:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
