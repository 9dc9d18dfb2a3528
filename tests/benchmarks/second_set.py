"""A second set of faces after the first: how much sooner is it good than from scratch?

python tests/benchmarks/second_set.py FIRST SECOND [--first-steps 3000] [--seeds 3]
    [--name second_set]
-> recorded/NAME.json and .png

FIRST and SECOND are sets as `train --data` takes them. The runs are in data/NAME/. Interrupted, it
goes on.
"""

import argparse
import json
import statistics
import sys
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from record import processor, without_build, write_json, write_png

from animegan_helpers import checkpoints, device, metrics, plotting, recipe_json, recipes
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.generator import sample
from animegan_helpers.history import Log
from animegan_helpers.images import to_tensor
from animegan_helpers.judge import Judge, extract_features, load_judge
from animegan_helpers.prepare import load_faces
from animegan_helpers.rng import rng
from animegan_helpers.runs import start_from
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train

MARKS = (50, 100, 200, 400, 800)  # steps
SHOWN_MARKS = (100, 800)  # steps, in the figure
COUNT = 1000  # faces per number
RECIPE = recipes.get("wide")  # its learning rate does not decay
METHODS = {  # start from the first run's networks? and with which learning rate
    "from scratch": (False, RECIPE.lr_g),
    "fine-tuned": (True, RECIPE.lr_g),
    "fine-tuned slowly": (True, RECIPE.lr_g / 4),
}


def shuffled(faces: Faces, seed: int) -> list[int]:
    """-> all rows of the set in a random order: the first ones are compared with."""
    return torch.randperm(len(faces), generator=rng(seed, "rows")).tolist()


def distances(faces: Faces, images: torch.Tensor, judge: Judge, seed: int) -> dict:
    """Images (N, 3, 64, 64) -> their KID x 1000 and sliced Wasserstein from N faces of the set."""
    real = to_tensor(faces[shuffled(faces, seed)[: len(images)]])
    mean_kid, _ = metrics.kid(
        extract_features(judge, real), extract_features(judge, images), seed, subsets=20
    )
    return {
        "KID x 1000": 1000 * mean_kid,
        "sliced Wasserstein": metrics.sliced_wasserstein(real, images, seed),
    }


def check_settings(settings: dict, folder: Path) -> None:
    """Write down what the runs in a folder are made of. Raises ValueError if it holds others."""
    file = folder / "settings.json"
    settings = json.loads(json.dumps(settings))  # as they come back from the file
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before != settings:
            raise ValueError(f"{folder} holds runs of {before}: delete it, or change --name")
    write_json(settings, file)


def run(faces: Faces, first: Path, judge: Judge, seed: int, method: str, folder: Path) -> list:
    """-> the distances of one method at each of `MARKS`; sample grids are left in `folder`."""
    result_file = folder / f"{seed}_{method}.json"
    if result_file.exists():
        return json.loads(result_file.read_text(encoding="utf-8"))
    fine_tuned, rate = METHODS[method]
    trainer = Trainer(RECIPE.changed(lr_g=rate, lr_d=rate), seed)
    if fine_tuned:
        start_from(trainer, first)
    log = Log()
    loader = iter(batches(faces, RECIPE.batch, seed))
    rows = []
    for mark in MARKS:
        while trainer.steps_done < mark:
            log.append(trainer.step(next(loader)))
            log.fetch()
        images = sample(trainer.ema_generator(), COUNT, seed, "measured")
        rows.append(distances(faces, images, judge, seed))
        grid = plotting.grid(trainer.fixed_faces(10), 10)
        grid.save(folder / f"{seed}_{method}_{mark:04}.png")
        print(method, seed, mark, rows[-1], flush=True)
    checkpoints.atomic_write(result_file, json.dumps(rows).encode())
    return rows


def train_first(source: str, steps: int, folder: Path) -> None:
    """Train on the first set, unless that is done. A run that was stopped is resumed."""
    resume = bool(checkpoints.saved(folder))
    trainer = train(RECIPE, load_faces(source), folder, steps=steps, resume=resume)
    if trainer.steps_done < steps:
        sys.exit(f"stopped after {trainer.steps_done:,} steps: the same command goes on")


def means_of(runs: list[dict], numbers: dict) -> dict[str, list[dict]]:
    """The runs of all seeds -> by method and mark the mean of each of the numbers."""
    means = {}
    for method in METHODS:
        means[method] = []
        for i in range(len(MARKS)):
            row = {key: statistics.mean(run[method][i][key] for run in runs) for key in numbers}
            means[method].append(row)
    return means


def draw(folder: Path) -> Image.Image:
    """The sample grids of seed 0 -> one image: a labeled row for each method and shown mark."""
    grids = []
    labels = []
    for mark in SHOWN_MARKS:
        for method in METHODS:
            grids.append(Image.open(folder / f"0_{method}_{mark:04}.png"))
            labels.append(f"{method},\n{mark} steps")
    return plotting.label_rows(grids, labels)


def caption_of(count: int, first: str) -> str:
    """The second set's size, and the first run in words -> the caption of the figure."""
    early, late = SHOWN_MARKS
    return (
        f"The second set, {count:,} real faces: the same latent vectors after {early} and {late}"
        f" steps. Training started from scratch, or continued a run of {first}: with its learning"
        " rates, or slowly, with a quarter of them"
        f" (width {RECIPE.width}, batch {RECIPE.batch}; {processor()},"
        f" torch {without_build(torch.__version__)}, {date.today()})."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--first-steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="second_set")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    folder = device.data_folder() / args.name
    first = folder / "first"
    judge = load_judge()
    faces = load_faces(args.second)
    settings = {"first": args.first, "second": args.second, "first steps": args.first_steps}
    check_settings(settings | {"recipe": recipe_json.to_json(RECIPE)}, folder)
    train_first(args.first, args.first_steps, first)
    runs = []
    for seed in range(args.seeds):
        runs.append({name: run(faces, first, judge, seed, name, folder) for name in METHODS})
    other = to_tensor(faces[shuffled(faces, 0)[COUNT : 2 * COUNT]])  # not those compared with
    floor = distances(faces, other, judge, 0)
    means = means_of(runs, floor)
    write_png(draw(folder), plotting.RECORDED / f"{args.name}.png")
    steps = checkpoints.newest(first)["steps_done"]
    first_set = args.first.rpartition("/")[2].removesuffix("_64")
    first_set = "synthetic faces" if first_set == "drawn" else f"the first set, {first_set}"
    caption = caption_of(len(faces), f"{steps:,} steps on {first_set}")
    results = {"caption": caption, "alt": f"Six rows of ten faces. {caption}", "marks": MARKS}
    results |= {"seeds": runs, "means": means, "floor": floor, "faces": COUNT}
    write_json(results, plotting.RECORDED / f"{args.name}.json")
    for method, rows in means.items():
        for mark, row in zip(MARKS, rows):
            kid = f"KID x 1000 {row['KID x 1000']:,.0f}"
            print(f"{method}, {mark} steps: {kid}, {row['sliced Wasserstein']:.0f}")
    print("other real faces:", floor)


if __name__ == "__main__":
    main()
