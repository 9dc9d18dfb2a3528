"""All that a GPU is asked, in one go and in under ten minutes: limit, ladder of speed-ups, the source run, our faces.

python tests/benchmarks/gpu.py [--data REAL_FACES] [--minutes 4] [--ours 2] [--out FOLDER] [--small] -> gpu.json there
(recorded/, if not said), and beside it gpu_source_1.png and _2.png (sheets of the source run), gpu_after_minutes.png
(what one should see when), gpu_faces_1.png and _2.png (ours). `--data` is what `preprocess.ready` takes; drawn faces if
nothing is said. `--minutes` is the most that the source run may take: if the ladder says that its 149,100 steps take
longer, it is cut. `--search 45` does another thing: the tries for a GPU's default recipe, 45 seconds each, on the drawn
faces, some ten minutes in all -> gpu_search.json. `--small` does all of it in seconds, on a CPU too, to see that it
works: its numbers mean nothing.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from race import numbers_of
from run import flops, ladder, limit, versions

from animegan_helpers import checkpoints, device, drawn, fast, measure, plotting, preprocess, recipes, training

MARKS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20)  # minutes at which our run is looked at
TRIES = {  # changes to the default of a GPU
    "as it is": {},
    "rates doubled": {"lr_g": 4e-4, "lr_d": 4e-4},
    "rates 1e-3": {"lr_g": 1e-3, "lr_d": 1e-3},
    "rates 1e-3, fall from step 1000": {"lr_g": 1e-3, "lr_d": 1e-3, "lr_fall": 1000},
    "R1 8": {"r1": 8.0},
    "average of 200": {"ema": 0.995},
    "batch 64": {"batch": 64},
    "batch 256, rates doubled": {"batch": 256, "lr_g": 4e-4, "lr_d": 4e-4},
    "width 32": {"width": 32},
    "width 96": {"width": 96},
    "DiffAugment": {"augment": True},
}


class Marks:
    """What `train` calls while our run goes on: keeps a sheet of it, and the minutes it shows, at each of MARKS."""

    def __init__(self):
        self.left, self.sheets, self.labels, self.step = list(MARKS), [], [], 0

    def __call__(self, game, history, done=False):
        reached = done or (self.left and game.seconds >= 60 * self.left[0])
        if reached and game.step > self.step:
            self.step = game.step
            self.left = [mark for mark in self.left if 60 * mark > game.seconds]
            self.sheets.append(plotting.grid(game.fixed_faces(), 8))
            self.labels.append(f"{game.seconds / 60:.2g} min,\nstep {game.step:,}")


def trained(recipe, faces, run, where, **how_long) -> dict:
    """A recipe is played -> how far it came, and how fast; the run's folder is `run`."""
    game = training.train(recipe, faces, run, device=where, **how_long)
    pace = game.step * recipe.batch / game.seconds
    return {
        "recipe": recipes.to_json(recipe), "pictures in the set": len(faces), "steps": game.step,
        "seconds": round(game.seconds, 3), "pictures/s": round(pace, 1), "TFLOP/s": pace * flops(recipe) / 1e12,
    }  # fmt: skip


def sheets(G, name: str, what: str, out: Path) -> None:
    """A generator -> two sheets of 64 faces, from seeds 1 and 2, as pictures in `out`."""
    for seed in (1, 2):
        figure = plotting.show_grid(training.sample(G, 64, seed), f"{what}; seed {seed}.", columns=8, zoom=2)
        figure.save(out / f"{name}_{seed}.png")


def in_words(run: str, told: dict) -> str:
    """The name of a run -> what a caption says of it."""
    done = told[run]
    minutes = f"{done['seconds'] / 60:.1f} minutes on {told['machine']}, {told['date']}"
    name, pictures = done["recipe"]["name"], done["pictures in the set"]
    return f"Recipe {name}, {pictures:,} pictures, {done['steps']:,} steps in {minutes}"


def keep(told: dict, out: Path) -> None:
    """-> gpu.json; after each part, so that what fails later does not take it away."""
    checkpoints.write_whole(out / "gpu.json", (json.dumps(told, indent=1) + "\n").encode())


def measured(args, place: Path) -> dict:
    """Everything, in one process -> its numbers; `place` is an empty folder for the runs."""
    where, small = device.pick().device, args.small
    half = fast.best(where).dtype or torch.bfloat16
    if small:
        faces = preprocess.prepare(drawn.write(place / "drawn", 140), place / "faces")
    else:
        faces = preprocess.ready(args.data)
    sizes = {"width": 4, "batch": 8} if small else {}
    source, ours = recipes.get("300-epochs", **sizes), recipes.get("default", gpu=True, **sizes)
    products = (256,) if small else (2048, 4096, 8192)
    told = versions(where) | {"small": small, "half precision": str(half).removeprefix("torch.")}
    told["GFLOP/s"] = {"float32": limit(where, sizes=products), "half precision": limit(where, half, products)}

    told["ladder"] = ladder(source, faces, where, seconds=0.05 if small else 5)
    for rung in told["ladder"]:
        rung["share of the half-precision limit"] = (
            rung["pictures/s"] * flops(source) / 1e9 / told["GFLOP/s"]["half precision"]
        )

    keep(told, args.out)
    steps = 3 if small else source.steps
    fits = steps * source.batch / told["ladder"][-1]["pictures/s"] < 60 * args.minutes
    how_long = {"steps": steps} if small or fits else {"minutes": args.minutes}
    told["source run"] = trained(source, faces, place / "source", where, **how_long) | {"whole": fits and not small}
    keep(told, args.out)
    sheets(training.load_generator(place / "source"), "gpu_source", in_words("source run", told), args.out)

    how_long = {"steps": 3} if small else {"minutes": args.ours}
    marks = Marks()
    told["ours"] = trained(ours, faces, place / "ours", where, watch=marks, **how_long)
    keep(told, args.out)
    what = in_words("ours", told)
    plotting.film_strip(marks.sheets, marks.labels, f"{what}.").save(args.out / "gpu_after_minutes.png")
    G = training.load_generator(place / "ours")
    sheets(G, "gpu_faces", what, args.out)
    count, seeds = (70, (0,)) if small else (2000, (0, 1, 2))
    told["measured"] = measure.measure(G, faces, measure.load_judge(), count=count, seeds=seeds)
    keep(told, args.out)
    return told


def search(args, place: Path) -> dict:
    """Each of TRIES for the same seconds, its compiling among them -> its numbers."""
    where, judge = device.pick().device, measure.load_judge()
    if args.small:
        faces = preprocess.prepare(drawn.write(place / "drawn", 512), place / "faces")
    else:
        faces = preprocess.ready("drawn")
    told = versions(where) | {"seconds": args.search, "tries": {}}
    for name, changes in list(TRIES.items())[: 3 if args.small else None]:
        torch.compiler.reset()  # each try compiles afresh: after a few of one function torch would give up
        recipe = recipes.get("default", gpu=True, **changes)
        if args.small:
            recipe = recipe.changed(width=4, batch=8)
        row = trained(recipe, faces, place / name, where, minutes=args.search / 60)
        told["tries"][name] = row | numbers_of(training.load_generator(place / name), faces, judge, 0)
        checkpoints.write_whole(args.out / "gpu_search.json", (json.dumps(told, indent=1) + "\n").encode())
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="drawn")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--ours", type=float, default=2)
    parser.add_argument("--search", type=float, metavar="SECONDS")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        told = search(args, Path(place)) if args.search else measured(args, Path(place))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
