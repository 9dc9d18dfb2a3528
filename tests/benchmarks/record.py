"""Keep a finished run as a film strip for pages and README: python tests/benchmarks/record.py RUN NAME "what it is"."""

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
    return f"{torch.get_num_threads()} cores of {name}"


def main(run: str, name: str, what: str) -> None:
    state = checkpoints.newest(run)
    recipe, minutes = state["recipe"], state["seconds"] / 60
    sheets, steps = plotting.sheets(run)
    strip = plotting.strip(sheets, [f"step {step:,}" for step in steps])
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    caption = (
        f"{what}, width {recipe['width']}, batch {recipe['batch']}: {state['step']:,} steps in {minutes:.0f} minutes"
        f" on {machine} (torch {torch.__version__}, {date.today()})."
    )
    alt = f"Film strip of a run: each row shows the faces of the same eight codes, from noise at the top. {caption}"
    out = plotting.RECORDED
    strip.save(out / f"{name}.png", optimize=True)
    told = {"caption": caption, "alt": alt, "recipe": recipe, "step": state["step"], "seconds": round(state["seconds"])}
    (out / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(caption)


if __name__ == "__main__":
    main(*sys.argv[1:])
