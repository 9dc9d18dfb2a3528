"""Recipes at equal budget: train each on the drawn faces for as many minutes, measure all with the shipped judge.

python tests/benchmarks/compare.py [MINUTES] [SEEDS] -> recorded/compare.json and a table in Markdown
(2 minutes and 3 seeds, if nothing is said; runs in data/compare/; cut off, it goes on, and finished runs are skipped)
"""

import json
import statistics
import sys
from datetime import date
from pathlib import Path

import torch
from record import processor

from animegan_helpers import checkpoints, device, latent, measure, plotting, preprocess, recipes, training

COUNT = 2000  # faces a number
# Source 4's recipe at the width that two cores bear, and ours.
RECIPES = {"scores, width 24": recipes.get("scores", width=24), "default": recipes.get("default")}
ROWS = {"FID": "FID", "KID x 1000": "KID x 1000", "hair and eye colours seen together": "colours, of 80",
        "wrong shares of attributes, %": "wrong shares, %"}  # fmt: skip


def trained(recipe, faces, minutes: float, run: Path):
    """The run's generator; it is trained first, or trained on, if it is not finished. -> it, its steps and seconds."""
    if not (run / "G.pth").exists():
        resume = bool(checkpoints.saved(run))
        training.train(recipe, faces, run, minutes=minutes, seed=int(run.name), resume=resume)
    state = checkpoints.newest(run)
    return training.load_generator(run), {"steps": state["step"], "seconds": round(state["seconds"], 1)}


def compare(faces, minutes: float, seeds: int, folder: Path, count: int = COUNT) -> dict:
    """-> by the name of a recipe its numbers, each a list with a number a seed; "real" is the floor."""
    judge, rows = measure.load_judge(), {}
    for name, recipe in RECIPES.items():
        for seed in range(seeds):
            G, length = trained(recipe, faces, minutes, folder / f"{minutes:g}_minutes" / name / str(seed))
            numbers = measure.measure(G, faces, judge, count=count, seeds=(seed,))
            for key, value in {**numbers, **{key: [value] for key, value in length.items()}}.items():
                if "(real)" not in key:
                    rows.setdefault(name, {}).setdefault(key, []).extend(value)
    numbers = measure.measure(latent.ready()[0], faces, judge, count=count, seeds=range(seeds))
    rows["the shipped generator"] = {key: value for key, value in numbers.items() if "(real)" not in key}
    floor = {key.removesuffix(" (real)"): value for key, value in numbers.items() if "(real)" in key}
    return rows | {"real faces (floor)": floor}


def table(rows: dict) -> str:
    """The rows of `compare` -> Markdown: the mean over the seeds, and their standard deviation."""

    def cell(values):
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    lines = ["| | " + " | ".join(ROWS.values()) + " |", "|---" * (1 + len(ROWS)) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(told[key]) for key in ROWS) + " |" for name, told in rows.items()]
    return "\n".join(lines)


def main(minutes: str = "2", seeds: str = "3") -> None:
    faces = preprocess.ready("drawn")
    rows = compare(faces, float(minutes), int(seeds), device.data_folder() / "compare")
    told = {
        "rows": rows, "minutes": float(minutes), "seeds": int(seeds), "faces": min(COUNT, len(faces) // 2),
        "trained on": len(faces), "machine": processor(), "torch": torch.__version__, "date": str(date.today()),
    }  # fmt: skip
    checkpoints.write_whole(plotting.RECORDED / "compare.json", (json.dumps(told, indent=1) + "\n").encode())
    print(f"{minutes} minutes on {told['machine']}, {seeds} seeds, {told['faces']:,} faces each:\n\n{table(rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
