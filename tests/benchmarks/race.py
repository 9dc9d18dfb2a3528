"""Recipes at equal CPU seconds: a process and a thread for each run, two side by side, measured at marks on the way.

python tests/benchmarks/race.py GROUP [...] [--seeds 3] -> recorded/GROUP.json, a table in Markdown (GROUPS: below;
runs in data/race/; cut off, it goes on: runs that are done are not done again. CPU seconds are not disturbed much by
what else runs, but let nothing else run.) A second on two cores is at most two CPU seconds.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import torch
from record import processor

from animegan_helpers import checkpoints, device, measure, plotting, preprocess, recipes, training

COUNT = 2000  # faces a number
OVER_TIME = ("fair", "sources")  # shown as curves
COLOURS = (plotting.BLUE, plotting.ORANGE, "#009E73", "#CC79A7", "black")  # safe for the colour-blind
STYLES = ("-", "--", "-.", ":", "-")
FIGURES = {"FID": ".1f", "KID x 1000": ",.0f", "colours": ".0f"}
default, get = recipes.get("default"), recipes.get
OURS = {"width": default.width, "batch": default.batch, "ema": default.ema}
tried = default.changed(lr_fall=0, ema=0.999, r1=2.0, r1_every=8, betas=(0.0, 0.99))  # where the search began
heavier = tried.changed(r1=8.0, ema=0.995)
OUR_LAST = 600  # CPU seconds: beyond them ours is not needed for a comparison with the sources
# For each group its recipes, and the CPU seconds at which they are measured.
GROUPS = {
    "ladder": (recipes.ladder(), (30, 60)),
    "fair": (
        {
            "1 and 4 (300-epochs, scores)": get("scores", **OURS),
            "2 (noisy-labels)": get("noisy-labels", **OURS),
            "3 (paper)": get("paper", **OURS),
            "5 (sequential)": get("sequential", **OURS),
            "ours (default)": default,
        },
        (30, 60),
    ),
    "sources": (
        {
            "1 and 4 (300-epochs, scores)": get("scores"),
            "2 (noisy-labels)": get("noisy-labels"),
            "3 (paper)": get("paper"),
            "5 (sequential)": get("sequential"),
            "ours (default)": default,
        },
        (60, 300, 600, 1200, 2400),
    ),
    "search": (
        {
            "start": tried,
            "rates 4e-3": tried.changed(lr_g=4e-3, lr_d=4e-3),
            "batch 16": tried.changed(batch=16),
            "batch 64, rates 3e-3": tried.changed(batch=64, lr_g=3e-3, lr_d=3e-3),
            "width 12": tried.changed(width=12),
            "codes of 32": tried.changed(z_dim=32),
            "average of 100 steps": tried.changed(ema=0.99),
            "Adam (0, 0.9)": tried.changed(betas=(0.0, 0.9)),
            "R1 0.5": tried.changed(r1=0.5),
            "R1 8": tried.changed(r1=8.0),
            "G's rate halved": tried.changed(lr_g=1e-3),
            "D's rate halved": tried.changed(lr_d=1e-3),
            "R1 8, average of 200": heavier,
            "... R1 16, every 16th step": heavier.changed(r1=16.0, r1_every=16),
            "... R1 32": heavier.changed(r1=32.0),
            "... Adam (0.5, 0.99)": heavier.changed(betas=(0.5, 0.99)),
            "... mirrored faces, too": heavier.changed(flip=True),
            "... rates fall from step 500": heavier.changed(lr_fall=500),
            "... 3e-3, fall from step 250": heavier.changed(lr_g=3e-3, lr_d=3e-3, lr_fall=250),
            "... fall, width 20": heavier.changed(lr_fall=500, width=20),
            "... fall, batch 16": heavier.changed(lr_fall=500, batch=16),
        },
        (60, 120, 240),
    ),
    "finals": (  # the search's best at two minutes, against where it began
        {
            "start": tried,
            "average of 100 steps": tried.changed(ema=0.99),
            "average of 100, rates fall from step 500": tried.changed(ema=0.99, lr_fall=500),
            "R1 8, average of 200, fall from 500": heavier.changed(lr_fall=500),
            "R1 8, average of 200, fall from 500, batch 16": heavier.changed(lr_fall=500, batch=16),
        },
        (60, 120, 240),
    ),
    "ten_minutes": (
        {
            "start": tried,
            "average of 100, rates fall from step 500": tried.changed(ema=0.99, lr_fall=500),
            "rates fall from step 2000": tried.changed(lr_fall=2000),
            "width 24, rates fall from step 500": tried.changed(width=24, lr_fall=500),
        },
        (240, 600, 1200),
    ),
}


def numbers_of(G, faces, judge, seed: int) -> dict:
    """A generator -> FID, KID x 1000 and colours (of 80) of 2,000 of its faces against as many of the set."""
    rows = torch.randperm(len(faces), generator=device.generator(seed, 0))[:COUNT].tolist()
    known = measure.features(judge, faces[rows])
    seen = measure.features(judge, preprocess.to_pixels(training.sample(G, COUNT, seed, 1)))
    kid = 1000 * measure.kid(known, seen, seed, 20)[0]
    colours = measure.combinations(judge.attributes(seen))[0]
    return {"FID": measure.fid(known, seen), "KID x 1000": kid, "colours": colours}


def played(recipe: dict) -> dict:
    """-> the numbers of a recipe that a race plays by."""
    numbers = recipes.to_json(recipes.from_json(recipe))
    return {key: value for key, value in numbers.items() if key not in ("name", "about", "steps", "epochs")}


def run(name: str, recipe: dict, seed: int, marks: list, folder: str) -> dict:
    """Play one recipe for `marks[-1]` CPU seconds, measuring not counted; -> its numbers at each mark.

    A run that is not finite, or comes no 2 % nearer (KID) in two marks running, ends early and says so.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    place = Path(folder) / name / str(seed)
    if (place / "race.json").exists():
        done = json.loads((place / "race.json").read_text(encoding="utf-8"))
        if played(done["recipe"]) == played(recipe):
            return done
    faces, judge = preprocess.ready("drawn"), measure.load_judge()
    game = training.Game(recipes.from_json(recipe), seed)
    batches = iter(preprocess.batches(faces, game.recipe.batch, seed))
    told, spent, wall, best, stale = [], 0.0, 0.0, math.inf, 0
    for mark in marks:
        ended = ""
        while spent < mark and not ended:
            before, watch = time.process_time(), time.perf_counter()
            try:
                game.play(next(batches))
            except FloatingPointError as error:
                ended = str(error)
            spent, wall = spent + time.process_time() - before, wall + time.perf_counter() - watch
        row = {"CPU seconds": round(spent, 1), "seconds": round(wall, 1), "step": game.step}
        if not ended:
            row |= numbers_of(game.best_g(), faces, judge, seed)
            place.mkdir(parents=True, exist_ok=True)
            plotting.grid(game.fixed_faces(), 8).save(place / f"{mark:05}.png")
            stale = stale + 1 if row["KID x 1000"] > 0.98 * best else 0
            best = min(best, row["KID x 1000"])
            ended = "no nearer in two marks" if stale == 2 and mark != marks[-1] else ""
        told.append(row | ({"ended": ended} if ended else {}))
        print(name, seed, told[-1], flush=True)
        if ended:
            break
    result = {"name": name, "seed": seed, "recipe": recipe, "marks": told}
    result |= {"machine": processor(), "torch": torch.__version__, "date": str(date.today())}
    checkpoints.write_whole(place / "race.json", json.dumps(result, indent=1).encode())
    return result


def marks_of(name: str, marks) -> list:
    """-> the CPU seconds at which a recipe is measured."""
    return [mark for mark in marks if mark <= OUR_LAST or not name.startswith("ours")]


def race(entries: dict, seeds: int, marks, folder) -> list[dict]:
    """Recipes by name -> what `run` tells of each, seed after seed."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes made here
    jobs = [(name, recipes.to_json(recipe), seed, marks_of(name, marks), str(folder))
            for seed in range(seeds) for name, recipe in entries.items()]  # fmt: skip
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(run, *job) for job in jobs]]


def table(runs: list[dict], marks, first: int = 0) -> str:
    """The runs -> Markdown: a row a recipe; from one mark on its means over the seeds, and the spread of KID."""
    lines = ["| | " + " | ".join(f"{mark} s: steps, FID, KID x 1000, colours" for mark in marks[first:]) + " |"]
    lines.append("|---" * (1 + len(marks[first:])) + "|")
    for name in dict.fromkeys(told["name"] for told in runs):
        mine = [told["marks"] for told in runs if told["name"] == name]
        cells = []
        for i in range(first, len(marks)):
            rows = [told[i] for told in mine if len(told) > i and "FID" in told[i]]
            means = [format(statistics.mean(row[key] for row in rows), form) for key, form in FIGURES.items() if rows]
            if len(rows) > 1:
                means[1] += f" ± {statistics.stdev(row['KID x 1000'] for row in rows):,.0f}"
            steps = f"{statistics.mean(row['step'] for row in rows):,.0f}" if rows else "ended, or not run"
            cells.append(", ".join([steps, *means]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(runs: list[dict], mark: int):
    """The runs -> a matplotlib figure: KID and colours of each seed at one mark, a line a recipe, the best below."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(told["name"] for told in runs))
    canvas = Figure(figsize=(9, 0.9 + 0.36 * len(names)), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    kids = [row["marks"][mark]["KID x 1000"] for row in runs if len(row["marks"]) > mark]
    for axes, key, colour in ((left, "KID x 1000", plotting.BLUE), (right, "colours", plotting.ORANGE)):
        for y, name in enumerate(names):
            values = [told["marks"][mark][key] for told in runs if told["name"] == name and len(told["marks"]) > mark]
            axes.plot(values, [y] * len(values), "o", color=colour, alpha=0.6, markeredgewidth=0)
            axes.plot(statistics.mean(values), y, "|", color="black", markersize=14, markeredgewidth=2)
        axes.grid(axis="y", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    scale = "log" if 0 < 10 * min(kids) < max(kids) else "linear"
    left.set(yticks=range(len(names)), yticklabels=names, xscale=scale, xlabel="KID x 1000 (0 is the best)")
    left.invert_yaxis()
    right.set(xlabel="hair and eye colours seen, of 80", xlim=(0, 82))
    return canvas


def curves(runs: list[dict], marks):
    """The runs -> a matplotlib figure: KID over the CPU seconds, a line a recipe, its seeds as dots."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(told["name"] for told in runs))
    canvas = Figure(figsize=(9, 4.2), layout="constrained")
    axes = canvas.subplots()
    for name, colour, style in zip(names, COLOURS, STYLES):
        mine = [told["marks"] for told in runs if told["name"] == name]
        reached = [row for rows in mine for row in rows if "FID" in row]
        shown = [mark for i, mark in enumerate(marks) if all(len(rows) > i and "FID" in rows[i] for rows in mine)]
        means = [statistics.mean(rows[i]["KID x 1000"] for rows in mine) for i in range(len(shown))]
        axes.plot(shown, means, style, color=colour, label=name, linewidth=2)
        axes.plot([row["CPU seconds"] for row in reached], [row["KID x 1000"] for row in reached], "o", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds", ylabel="KID x 1000 (0 is the best)")
    axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
    axes.minorticks_off()
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def after_minutes(folder, marks) -> None:
    """The sheets of ours -> recorded/after_minutes.png: what a learner sees after so many minutes on two cores."""
    name = next(name for name in GROUPS["sources"][0] if name.startswith("ours"))
    place, kept = Path(folder) / name / "0", marks_of(name, marks)
    steps = [row["step"] for row in json.loads((place / "race.json").read_text(encoding="utf-8"))["marks"]]
    labels = [f"{mark / 120:g} min,\nstep {step:,}" for mark, step in zip(kept, steps)]
    sheets = [plotting.Image.open(place / f"{mark:05}.png") for mark in kept]
    plotting.strip(sheets, labels).quantize(256).save(plotting.RECORDED / "after_minutes.png", optimize=True)
    caption = (
        "What you should see on two cores: the same eight codes of the default recipe on drawn faces after"
        f" {', '.join(f'{mark:,}' for mark in kept)} CPU seconds of one core, which is what two cores spend in the"
        f" minutes beside them ({processor()}, one thread, torch {torch.__version__.split('+')[0]}, {date.today()})."
    )
    told = {"caption": caption, "alt": f"Film strip of eight faces at {len(kept)} times, from rough to neat. {caption}"}
    checkpoints.write_whole(plotting.RECORDED / "after_minutes.json", (json.dumps(told, indent=1) + "\n").encode())


def every(runs: list[dict], key: str) -> str:
    """What the runs tell under a key -> each value once: runs that were not done again have earlier dates."""
    return ", ".join(sorted({run[key].split("+")[0] for run in runs}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    preprocess.ready("drawn")
    for group in args.groups:
        entries, marks = GROUPS[group]
        runs = race(entries, args.seeds, marks, device.data_folder() / "race" / group)
        told = {"runs": runs, "marks": marks, "faces": COUNT, "python": platform.python_version()}
        span = f"within {marks[-1]:,}" if group in OVER_TIME else f"after {marks[-1]:,}"
        told["caption"] = (
            f"KID {'' if group in OVER_TIME else 'and coverage '}of {len(entries)} recipes {span} CPU seconds each on"
            f" the drawn faces: a dot a seed ({args.seeds}), a {'line' if group in OVER_TIME else 'bar'} for their mean"
            f" ({every(runs, 'machine')}, one thread a run, torch {every(runs, 'torch')}, {every(runs, 'date')})."
        )
        first = 0 if group in OVER_TIME else len(marks) - 1
        told["alt"] = f"{told['caption']} From top to bottom: {table(runs, marks, first)}"
        shown = [told for told in runs if len(told["marks"]) == len(marks)]
        canvas = curves(runs, marks) if group in OVER_TIME else figure(shown, len(marks) - 1)
        picture = plotting.from_matplotlib(canvas, "").image
        picture.quantize(64).save(plotting.RECORDED / f"{group}.png", optimize=True)
        checkpoints.write_whole(plotting.RECORDED / f"{group}.json", (json.dumps(told, indent=1) + "\n").encode())
        if group == "sources":
            after_minutes(device.data_folder() / "race" / group, marks)
        print(f"{group}, {args.seeds} seeds:\n\n{table(runs, marks)}\n")


if __name__ == "__main__":
    main()
