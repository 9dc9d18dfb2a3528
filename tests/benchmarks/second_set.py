"""A second set of faces after the first: how much sooner is it good than from nothing?

python tests/benchmarks/second_set.py FIRST SECOND [--first-steps 3000] [--seeds 3] -> recorded/second_set.json and .png
(FIRST, SECOND: sets as `train --data` takes them; runs in data/second_set/; cut off, it goes on)
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
RECIPE = recipes.get("default", width=24)
WAYS = {"from nothing": False, "fine-tuned": True}


def distances(faces, pictures, judge, seed: int) -> dict:
    """Pictures -> how far they are from as many of the set: KID x 1000 (the judge's features), sliced Wasserstein."""
    rows = torch.randperm(len(faces), generator=device.generator(seed, 0))[: len(pictures)].tolist()
    real = preprocess.to_tensor(faces.__getitems__(rows))
    known, seen = (measure.features(judge, some) for some in (real, pictures))
    return {"KID x 1000": 1000 * measure.kid(known, seen, seed, 20)[0],
            "sliced Wasserstein": measure.sliced_wasserstein(real, pictures, seed)}  # fmt: skip


def run(faces, first, judge, seed: int, place) -> dict:
    """-> for both ways their distances at each of `MARKS`; sheets of the same codes are left in `place`."""
    told = {}
    for way, tuned in WAYS.items():
        game = training.Game(RECIPE, seed)
        if tuned:
            game.begin_from(first)
        batches, told[way] = iter(preprocess.batches(faces, RECIPE.batch, seed)), []
        for mark in MARKS:
            while game.step < mark:
                game.play(next(batches))
            told[way].append(distances(faces, training.sample(game.best_g(), COUNT, seed, 1), judge, seed))
            place.mkdir(parents=True, exist_ok=True)
            plotting.grid(game.fixed_faces(10), 10).save(place / f"{seed}_{way}_{mark:04}.png")
            print(way, seed, mark, told[way][-1], flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--first-steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    place, judge = device.data_folder() / "second_set", measure.load_judge()
    before, faces = place / "first", preprocess.ready(args.second)
    if not (before / "G.pth").exists():
        first, resume = preprocess.ready(args.first), bool(checkpoints.saved(before))
        training.train(RECIPE, first, before, steps=args.first_steps, resume=resume)
    runs = []
    for seed in range(args.seeds):
        kept = place / f"{seed}.json"
        if not kept.exists():
            checkpoints.write_whole(kept, json.dumps(run(faces, before, judge, seed, place)).encode())
        runs.append(json.loads(kept.read_text(encoding="utf-8")))
    rows = torch.randperm(len(faces), generator=device.generator(0, 9))[:COUNT].tolist()
    floor = distances(faces, preprocess.to_tensor(faces.__getitems__(rows)), judge, 1)
    means = {way: [{key: statistics.mean(told[way][i][key] for told in runs) for key in floor}
                   for i in range(len(MARKS))] for way in WAYS}  # fmt: skip
    sheets = [plotting.Image.open(place / f"0_{way}_{mark:04}.png") for mark in (100, 800) for way in WAYS]
    labels = [f"{way},\n{mark} steps" for mark in (100, 800) for way in WAYS]
    plotting.labelled(sheets, labels).quantize(256).save(plotting.RECORDED / "second_set.png", optimize=True)
    trained = f"{checkpoints.newest(before)['step']:,} steps on {args.first.rpartition('/')[2]}"
    caption = (
        f"A second set of real faces ({len(faces):,}): the same codes after 100 and 800 steps, from nothing and from"
        f" a run of {trained} (width {RECIPE.width}, batch {RECIPE.batch}; {processor()}, torch"
        f" {torch.__version__.split('+')[0]}, {date.today()})."
    )
    told = {"caption": caption, "alt": f"Four rows of ten faces. {caption}", "marks": MARKS, "seeds": runs,
            "means": means, "floor": floor, "faces": COUNT}  # fmt: skip
    checkpoints.write_whole(plotting.RECORDED / "second_set.json", (json.dumps(told, indent=1) + "\n").encode())
    for way, rows in means.items():
        print(way, *(f"{mark}: {row['KID x 1000']:,.0f}, {row['sliced Wasserstein']:.0f};" for mark, row in
                     zip(MARKS, rows)))  # fmt: skip
    print("other real faces:", floor)


if __name__ == "__main__":
    main()
