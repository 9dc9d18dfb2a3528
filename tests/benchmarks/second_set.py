"""A second set of faces after the first: how much sooner is it good than from nothing?

python tests/benchmarks/second_set.py FIRST SECOND [--first-steps 3000] [--seeds 3] [--name second_set]
-> recorded/NAME.json and .png
(FIRST, SECOND: sets as `train --data` takes them; runs in data/NAME/; cut off, it goes on)
"""

import argparse
import json
import statistics
from datetime import date

import torch
from record import processor

from animegan_helpers import checkpoints, device, measure, plotting, preprocess, recipes, training

MARKS = (50, 100, 200, 400, 800)  # steps
COUNT = 1000  # faces a number
RECIPE = recipes.get("ready")  # one rate for all steps, which one of the ways quarters
WAYS = {  # begun with the first run's networks? and at which rates
    "from nothing": (False, RECIPE.lr_g),
    "fine-tuned": (True, RECIPE.lr_g),
    "fine-tuned slowly": (True, RECIPE.lr_g / 4),
}


def distances(faces, pictures, judge, seed: int) -> dict:
    """Pictures -> how far they are from as many of the set: KID x 1000 (the judge's features), sliced Wasserstein."""
    rows = torch.randperm(len(faces), generator=device.generator(seed, 0))[: len(pictures)].tolist()
    real = preprocess.to_tensor(faces[rows])
    known, seen = (measure.features(judge, some) for some in (real, pictures))
    return {"KID x 1000": 1000 * measure.kid(known, seen, seed, 20)[0],
            "sliced Wasserstein": measure.sliced_wasserstein(real, pictures, seed)}  # fmt: skip


def run(faces, first, judge, seed: int, way: str, place) -> list[dict]:
    """-> the distances of one way at each of `MARKS`; sheets of the same codes are left in `place`."""
    kept = place / f"{seed}_{way}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    tuned, rate = WAYS[way]
    game = training.Game(RECIPE.changed(lr_g=rate, lr_d=rate), seed)
    if tuned:
        game.begin_from(first)
    batches, told = iter(preprocess.batches(faces, RECIPE.batch, seed)), []
    for mark in MARKS:
        while game.step < mark:
            game.play(next(batches))
        told.append(distances(faces, training.sample(game.best_g(), COUNT, seed, 1), judge, seed))
        plotting.grid(game.fixed_faces(10), 10).save(place / f"{seed}_{way}_{mark:04}.png")
        print(way, seed, mark, told[-1], flush=True)
    checkpoints.write_whole(kept, json.dumps(told).encode())
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--first-steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="second_set")
    args = parser.parse_args()
    place, judge = device.data_folder() / args.name, measure.load_judge()
    before, faces = place / "first", preprocess.ready(args.second)
    if not (before / "G.pth").exists():
        first, resume = preprocess.ready(args.first), bool(checkpoints.saved(before))
        training.train(RECIPE, first, before, steps=args.first_steps, resume=resume)
    runs = [{way: run(faces, before, judge, seed, way, place) for way in WAYS} for seed in range(args.seeds)]
    rows = torch.randperm(len(faces), generator=device.generator(0, 9))[:COUNT].tolist()
    floor = distances(faces, preprocess.to_tensor(faces[rows]), judge, 1)
    means = {way: [{key: statistics.mean(told[way][i][key] for told in runs) for key in floor}
                   for i in range(len(MARKS))] for way in WAYS}  # fmt: skip
    sheets = [plotting.Image.open(place / f"0_{way}_{mark:04}.png") for mark in (100, 800) for way in WAYS]
    labels = [f"{way},\n{mark} steps" for mark in (100, 800) for way in WAYS]
    plotting.labelled(sheets, labels).quantize(256).save(plotting.RECORDED / f"{args.name}.png", optimize=True)
    trained = f"{checkpoints.newest(before)['step']:,} steps on {args.first.rpartition('/')[2]}"
    caption = (
        f"A second set of real faces ({len(faces):,}): the same codes after 100 and 800 steps, from nothing, and from"
        f" a run of {trained}, at its rates and at a quarter of them"
        f" (width {RECIPE.width}, batch {RECIPE.batch}; {processor()},"
        f" torch {torch.__version__.split('+')[0]}, {date.today()})."
    )
    told = {"caption": caption, "alt": f"Six rows of ten faces. {caption}", "marks": MARKS, "seeds": runs,
            "means": means, "floor": floor, "faces": COUNT}  # fmt: skip
    checkpoints.write_whole(plotting.RECORDED / f"{args.name}.json", (json.dumps(told, indent=1) + "\n").encode())
    for way, rows in means.items():
        print(way, *(f"{mark}: {row['KID x 1000']:,.0f}, {row['sliced Wasserstein']:.0f};" for mark, row in
                     zip(MARKS, rows)))  # fmt: skip
    print("other real faces:", floor)


if __name__ == "__main__":
    main()
