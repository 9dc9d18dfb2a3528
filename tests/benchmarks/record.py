"""Keep a finished run for pages and README, its film strip and its last sheet of faces.

python tests/benchmarks/record.py RUN NAME "what it is" -> recorded/NAME_film.png, NAME_faces.png and their .json
"""

import json
import platform
import sys
from datetime import date
from pathlib import Path

import torch

from animegan_helpers import checkpoints, plotting


def processor() -> str:
    """-> the processor's name and the threads used."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    count = torch.get_num_threads()
    return f"{count} core{'s' * (count > 1)} of {name}"


def main(run: str, name: str, what: str) -> str:
    state = checkpoints.newest(run)
    recipe, minutes = state["recipe"], state["seconds"] / 60
    sheets, steps = plotting.sheets(run)
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    caption = (
        f"{what}, width {recipe['width']}, batch {recipe['batch']}: {state['step']:,} steps"
        f" in {minutes:.0f} minutes on {machine} (torch {torch.__version__.split('+')[0]}, {date.today()})."
    )
    numbers = {"recipe": recipe, "step": state["step"], "seconds": round(state["seconds"])}
    for part, picture, alt in [
        ("film", plotting.strip(sheets, [f"step {step:,}" for step in steps]), "Film strip, noise to faces"),
        ("faces", sheets[-1], "64 faces, eight by eight"),
    ]:
        picture.quantize(256).save(plotting.RECORDED / f"{name}_{part}.png", optimize=True)
        told = {"caption": caption, "alt": f"{alt}. {caption}", **numbers}
        (plotting.RECORDED / f"{name}_{part}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(caption)
    return caption


if __name__ == "__main__":
    main(*sys.argv[1:])
