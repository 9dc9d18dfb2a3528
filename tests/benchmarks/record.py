"""A finished run becomes a film strip and a grid of faces, with captions, for pages and README.

python tests/benchmarks/record.py RUN NAME "what it is"
-> recorded/NAME_film.png, NAME_faces.png and a .json beside each
"""

import json
import platform
import sys
from datetime import date
from pathlib import Path

import torch
import torchvision
from PIL import Image

from animegan_helpers import checkpoints, plotting
from animegan_helpers.runs import sample_grids


def processor() -> str:
    """-> the processor's name and the number of threads used."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    count = torch.get_num_threads()
    cores = "core" if count == 1 else "cores"
    return f"{count} {cores} of {name}"


def versions(where: torch.device | str) -> dict:
    """A device -> machine, versions and date, as they are written beside the numbers."""
    where = torch.device(where)
    machine = torch.cuda.get_device_name(where) if where.type == "cuda" else processor()
    return {
        "machine": machine,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "date": str(date.today()),
    }


def without_build(version: str) -> str:
    """A version of torch -> the same without its build: "2.14.1+cu130" -> "2.14.1"."""
    return version.split("+")[0]


def write_json(data: dict, path: Path) -> None:
    """Numbers and texts by name -> a JSON file, written whole or not at all."""
    text = json.dumps(data, indent=1) + "\n"
    checkpoints.atomic_write(path, text.encode())


def write_png(image: Image.Image, path: Path, colors: int = 256) -> None:
    """An image -> a small PNG of at most `colors` colors."""
    image.quantize(colors).save(path, optimize=True)


def caption_of(state: dict, what: str) -> str:
    """The last checkpoint of a run, and what it is -> a caption with size, time, machine, date."""
    recipe = state["recipe"]
    minutes = state["seconds"] / 60
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return (
        f"{what}, width {recipe['width']}, batch {recipe['batch']}: {state['steps_done']:,} steps"
        f" in {minutes:.0f} minutes on {machine}"
        f" (torch {without_build(torch.__version__)}, {date.today()})."
    )


def main(run: str | Path, name: str, what: str) -> str:
    state = checkpoints.newest(run)
    grids, steps = sample_grids(run)
    caption = caption_of(state, what)
    numbers = {
        "recipe": state["recipe"],
        "step": state["steps_done"],
        "seconds": round(state["seconds"]),
    }
    strip = plotting.strip(grids, [f"step {step:,}" for step in steps])
    parts = [
        ("film", strip, "Film strip, from noise to faces"),
        ("faces", grids[-1], "64 faces, eight by eight"),
    ]
    for part, image, alt in parts:
        write_png(image, plotting.RECORDED / f"{name}_{part}.png")
        record = {"caption": caption, "alt": f"{alt}. {caption}", **numbers}
        write_json(record, plotting.RECORDED / f"{name}_{part}.json")
    print(caption)
    return caption


if __name__ == "__main__":
    main(*sys.argv[1:])
