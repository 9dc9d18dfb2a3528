"""All that a GPU is asked, in one go and in under ten minutes: limit, ladder of speed-ups, the source run, our faces.

python tests/benchmarks/gpu.py [--data REAL_FACES] [--minutes 4] [--ours 2] [--out FOLDER] [--small] -> gpu.json there
(recorded/, if not said), and beside it gpu_source_1.png and _2.png (sheets of the source run), gpu_film.png,
gpu_faces_1.png and _2.png (ours). `--data` is what `preprocess.ready` takes; drawn faces if nothing is said.
`--minutes` is the most that the source run may take: if the ladder says that its 149,100 steps take longer, it is cut.
`--small` does all of it in seconds, on a CPU too, to see that it works: its numbers mean nothing.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from run import flops, ladder, limit, versions

from animegan_helpers import checkpoints, device, drawn, fast, measure, plotting, preprocess, recipes, training


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
    told["ours"] = trained(ours, faces, place / "ours", where, **how_long)
    keep(told, args.out)
    what = in_words("ours", told)
    strips, at = plotting.sheets(place / "ours")
    plotting.film_strip(strips, [f"step {step:,}" for step in at], f"{what}.").save(args.out / "gpu_film.png")
    G = training.load_generator(place / "ours")
    sheets(G, "gpu_faces", what, args.out)
    count, seeds = (70, (0,)) if small else (2000, (0, 1, 2))
    told["measured"] = measure.measure(G, faces, measure.load_judge(), count=count, seeds=seeds)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="drawn")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--ours", type=float, default=2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        told = measured(args, Path(place))
    keep(told, args.out)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
