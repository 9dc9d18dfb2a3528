"""All that a GPU is asked in one go, in under ten minutes: limit, ladder, source run, our faces.

python tests/benchmarks/gpu.py [--data REAL_FACES] [--minutes 4] [--ours 2] [--out FOLDER] [--small]
-> gpu.json in FOLDER (default: recorded/) and beside it gpu_source_1.png and _2.png (sample grids
of the source run), gpu_after_minutes.png (what to expect when), gpu_faces_1.png and _2.png (ours)

`--data` is a source as `load_faces` takes it (default: the synthetic faces). `--minutes` is the
most that the source run may take: if the ladder predicts that its 149,100 steps take longer, it is
cut. `--search 45` instead tries recipes for a GPU's default, 45 seconds each, on the synthetic
faces, about ten minutes in all -> gpu_search.json. `--small` does all of it in seconds, on a CPU
too, to see that it works: its numbers mean nothing.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from comparisons import ladder
from loops import flops, limit
from race import numbers_of
from record import write_json
from run import versions

from animegan_helpers import device, drawn, metrics, plotting, recipe_json, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import Generator, sample
from animegan_helpers.history import Log
from animegan_helpers.judge import load_judge
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.recipes import Recipe
from animegan_helpers.runs import load_generator
from animegan_helpers.speed import best_speed
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train

MARKS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20)  # minutes at which our run is shown
SMALL_SIZES = {"width": 4, "batch": 8}
TRIES = {  # changes to the default of a GPU
    "as it is": {},
    "rates doubled": {"lr_g": 4e-4, "lr_d": 4e-4},
    "rates 1e-3": {"lr_g": 1e-3, "lr_d": 1e-3},
    "rates 1e-3, decay from step 1000": {"lr_g": 1e-3, "lr_d": 1e-3, "lr_decay_start": 1000},
    "R1 8": {"r1": 8.0},
    "EMA over 200 steps": {"ema": 0.995},
    "batch 64": {"batch": 64},
    "batch 256, rates doubled": {"batch": 256, "lr_g": 4e-4, "lr_d": 4e-4},
    "width 32": {"width": 32},
    "width 96": {"width": 96},
    "DiffAugment": {"augment": True},
}


class MarksCallback:
    """A callback of `train`: keeps a sample grid of the run, and its label, at each of MARKS."""

    def __init__(self):
        self.marks_left = list(MARKS)
        self.grids = []
        self.labels = []
        self.last_step = 0

    def __call__(self, trainer: Trainer, log: Log) -> None:
        mark_reached = self.marks_left and trainer.seconds >= 60 * self.marks_left[0]
        is_due = log.finished or mark_reached
        if not is_due or trainer.steps_done == self.last_step:
            return
        self.last_step = trainer.steps_done
        self.marks_left = [mark for mark in self.marks_left if 60 * mark > trainer.seconds]
        self.grids.append(plotting.grid(trainer.fixed_faces(), 8))
        self.labels.append(f"{trainer.seconds / 60:.2g} min,\nstep {trainer.steps_done:,}")


def train_and_time(recipe: Recipe, faces: Faces, run: Path, where: torch.device, **length) -> dict:
    """A recipe trains in the folder `run` -> how far it came, and how fast."""
    trainer = train(recipe, faces, run, device=where, **length)
    rate = trainer.steps_done * recipe.batch / trainer.seconds
    return {
        "recipe": recipe_json.to_json(recipe),
        "images in the set": len(faces),
        "steps": trainer.steps_done,
        "seconds": round(trainer.seconds, 3),
        "images/s": round(rate, 1),
        "TFLOP/s": rate * flops(recipe) / 1e12,
    }


def save_samples(G: Generator, name: str, what: str, out: Path) -> None:
    """A generator -> two images of 64 faces in `out`, from seeds 1 and 2."""
    for seed in (1, 2):
        figure = plotting.show_grid(sample(G, 64, seed), f"{what}; seed {seed}.", columns=8, zoom=2)
        figure.save(out / f"{name}_{seed}.png")


def in_words(run: str, results: dict) -> str:
    """The name of a run -> what a caption says about it."""
    row = results[run]
    minutes = f"{row['seconds'] / 60:.1f} minutes on {results['machine']}, {results['date']}"
    images = row["images in the set"]
    return f"Recipe {row['recipe']['name']}, {images:,} images, {row['steps']:,} steps in {minutes}"


def save_results(results: dict, out: Path) -> None:
    """-> gpu.json, after each part, so that a later failure does not lose it."""
    write_json(results, out / "gpu.json")


def measure_speed(args: argparse.Namespace, faces: Faces, source: Recipe) -> dict:
    """-> the limit, and the ladder of speed-ups with their shares of the limit."""
    where = device.pick().device
    half = best_speed(where).dtype or torch.bfloat16
    sizes = (256,) if args.small else (2048, 4096, 8192)
    results = versions(where)
    results["small"] = args.small
    results["half precision"] = str(half).removeprefix("torch.")
    rates = {
        "float32": limit(where, sizes=sizes),
        "half precision": limit(where, half, sizes),
    }
    results["GFLOP/s"] = rates
    results["ladder"] = ladder(source, faces, where, seconds=0.05 if args.small else 5)
    for rung in results["ladder"]:
        gflops = rung["images/s"] * flops(source) / 1e9
        rung["share of the half-precision limit"] = gflops / rates["half precision"]
    return results


def run_source(args: argparse.Namespace, faces: Faces, source: Recipe, results: dict, run: Path):
    """Train the source's recipe, as long as it may -> adds "source run" to the results."""
    steps = 3 if args.small else source.steps
    predicted = steps * source.batch / results["ladder"][-1]["images/s"]  # seconds
    fits = predicted < 60 * args.minutes
    length = {"steps": steps} if args.small or fits else {"minutes": args.minutes}
    row = train_and_time(source, faces, run, device.pick().device, **length)
    results["source run"] = row | {"whole": fits and not args.small}
    save_results(results, args.out)
    what = in_words("source run", results)
    save_samples(load_generator(run), "gpu_source", what, args.out)


def run_ours(args: argparse.Namespace, faces: Faces, ours: Recipe, results: dict, run: Path):
    """Train our recipe and measure its faces -> adds "ours" and "measured" to the results."""
    length = {"steps": 3} if args.small else {"minutes": args.ours}
    marks = MarksCallback()
    where = device.pick().device
    results["ours"] = train_and_time(ours, faces, run, where, callback=marks, **length)
    save_results(results, args.out)
    what = in_words("ours", results)
    strip = plotting.film_strip(marks.grids, marks.labels, f"{what}.")
    strip.save(args.out / "gpu_after_minutes.png")
    G = load_generator(run)
    save_samples(G, "gpu_faces", what, args.out)
    count = 70 if args.small else 2000
    seeds = (0,) if args.small else (0, 1, 2)
    results["measured"] = metrics.measure(G, faces, load_judge(), count=count, seeds=seeds)
    save_results(results, args.out)


def measure(args: argparse.Namespace, work: Path) -> dict:
    """Everything, in one process -> its numbers; `work` is an empty folder for the runs."""
    if args.small:
        faces = prepare(drawn.write(work / "drawn", 140), work / "faces")
        sizes = SMALL_SIZES
    else:
        faces = load_faces(args.data)
        sizes = {}
    source = recipes.get("300-epochs", **sizes)
    ours = recipes.get("default", gpu=True, **sizes)
    results = measure_speed(args, faces, source)
    save_results(results, args.out)
    run_source(args, faces, source, results, work / "source")
    run_ours(args, faces, ours, results, work / "ours")
    return results


def search(args: argparse.Namespace, work: Path) -> dict:
    """Each of TRIES for the same seconds, its compiling included -> its numbers."""
    where = device.pick().device
    judge = load_judge()
    tries = list(TRIES.items())
    if args.small:
        faces = prepare(drawn.write(work / "drawn", 512), work / "faces")
        tries = tries[:3]
    else:
        faces = load_faces("drawn")
    results = versions(where) | {"seconds": args.search, "tries": {}}
    for name, changes in tries:
        torch.compiler.reset()  # each try compiles anew: after a few, torch would give up
        recipe = recipes.get("default", gpu=True, **changes)
        if args.small:
            recipe = recipe.changed(**SMALL_SIZES)
        row = train_and_time(recipe, faces, work / name, where, minutes=args.search / 60)
        row |= numbers_of(load_generator(work / name), faces, judge, 0)
        results["tries"][name] = row
        write_json(results, args.out / "gpu_search.json")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="drawn")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--ours", type=float, default=2)
    parser.add_argument("--search", type=float, metavar="SECONDS")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        results = search(args, folder) if args.search else measure(args, folder)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
