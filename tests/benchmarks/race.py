"""Recipes at equal CPU seconds: each run has a process and a thread, and is measured at marks.

python tests/benchmarks/race.py GROUP [...] [--seeds 3]
-> recorded/GROUP.json and .png, a table in Markdown (the groups are in race_groups.py)

python tests/benchmarks/race.py challenge mine.json
-> your recipe against the default (challenge.py)

The runs are in data/race/. Interrupted, it goes on: what is finished is not done again. Two runs go
side by side. Let nothing else run: beside other work, a run makes up to a fifth fewer steps in its
CPU seconds, and more of it where memory is the limit. A second on two cores is at most two CPU
seconds.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import torch
from PIL import Image
from race_figures import publish, table
from race_groups import BY_TWO_JUDGES, GROUPS, VARIANT_OF, marks_of
from record import processor, without_build, write_json, write_png
from variants import make_trainer

from animegan_helpers import checkpoints, device, drawn, metrics, plotting, recipe_json
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.generator import Generator, sample
from animegan_helpers.history import Log
from animegan_helpers.images import to_pixels
from animegan_helpers.judge import (
    Judge,
    extract_features,
    load_judge,
    save_judge,
    train_judge,
    true_labels,
)
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.recipes import Recipe
from animegan_helpers.rng import rng

COUNT = 2000  # faces per number


# ---- one run ----


def second_judge() -> Judge:
    """-> a judge of another seed, which never chose anything; trained at the first call."""
    path = device.data_folder() / "race" / "second_judge.pt"
    if not path.exists():
        folder = path.with_name("judged")
        if not (folder / "labels.csv").exists():
            drawn.write(folder, 4096, seed=3)
        faces = prepare(folder, path.with_name("judged_64"))
        save_judge(train_judge(faces, true_labels(faces, folder), seed=3), path)
    return load_judge(path)


def numbers_of(
    G: Generator, faces: Faces, judge: Judge, seed: int, second: Judge | None = None
) -> dict:
    """A generator -> FID, KID x 1000 and color pairs (of 80) of `COUNT` of its faces.

    They are compared with `COUNT` faces of the set; by a second judge, too, if there is one.
    """
    rows = torch.randperm(len(faces), generator=rng(seed, "rows"))[:COUNT].tolist()
    real_features = extract_features(judge, faces[rows])
    fake = to_pixels(sample(G, COUNT, seed, "measured"))
    features = extract_features(judge, fake)
    mean_kid, _ = metrics.kid(real_features, features, seed, subsets=20)
    pairs, _ = metrics.attribute_pairs(judge.attributes(features))
    numbers = {
        "FID": metrics.fid(real_features, features),
        "KID x 1000": 1000 * mean_kid,
        "color pairs": pairs,
    }
    if second is not None:
        by_second = numbers_of(G, faces, second, seed)
        numbers |= {f"{key}, second judge": by_second[key] for key in ("FID", "KID x 1000")}
    return numbers


class TimedRun:
    """A recipe that trains for so many CPU seconds; the time of measuring it is not counted."""

    def __init__(self, recipe: Recipe, seed: int, faces: Faces, variant: str = ""):
        self.trainer = make_trainer(variant, recipe, seed)
        self.log = Log()
        self.loader = iter(batches(faces, recipe.batch, seed))
        self.cpu_seconds = 0.0
        self.seconds = 0.0

    def train_until(self, mark: float) -> None:
        """Train up to a mark in CPU seconds. Raises FloatingPointError for a loss not finite."""
        while self.cpu_seconds < mark:
            cpu_start = time.process_time()
            start = time.perf_counter()
            try:
                self.log.append(self.trainer.step(next(self.loader)))
                self.log.fetch()
            finally:
                self.cpu_seconds += time.process_time() - cpu_start
                self.seconds += time.perf_counter() - start

    def save(self, file: Path) -> None:
        """Leave in a file what `load` goes on from."""
        state = {"trainer": self.trainer.state()}
        state |= {"cpu_seconds": self.cpu_seconds, "seconds": self.seconds}
        checkpoints.save(state, file)

    def load(self, file: Path, faces: Faces) -> None:
        """Go on from a file of `save`, with the same faces."""
        state = checkpoints.load(file)
        self.trainer.load_state(state["trainer"])
        self.cpu_seconds = state["cpu_seconds"]
        self.seconds = state["seconds"]
        recipe = self.trainer.recipe
        start = self.trainer.steps_done
        self.loader = iter(batches(faces, recipe.batch, self.trainer.seed, start))

    def row(self) -> dict:
        """-> how far the run has come."""
        return {
            "CPU seconds": round(self.cpu_seconds, 1),
            "seconds": round(self.seconds, 1),
            "step": self.trainer.steps_done,
        }


def measured_at(
    marks: list,
    timed: TimedRun,
    faces: Faces,
    judge: Judge,
    folder: Path,
    second: Judge | None = None,
) -> list:
    """-> a row of numbers for each mark; a sample grid for each is left in `folder`.

    A run that is not finite, or whose KID is not 2 % better in two marks in a row, ends early. The
    last row then has the reason, "ended".
    """
    rows = []
    best = math.inf
    marks_without_gain = 0
    for mark in marks:
        try:
            timed.train_until(mark)
        except FloatingPointError as error:
            rows.append(timed.row() | {"ended": str(error)})
            break
        G = timed.trainer.ema_generator()
        row = timed.row() | numbers_of(G, faces, judge, timed.trainer.seed, second)
        rows.append(row)
        folder.mkdir(parents=True, exist_ok=True)
        plotting.grid(timed.trainer.fixed_faces(), 8).save(folder / f"{mark:05}.png")
        print(f"{folder.parent.name}, seed {folder.name}: {row}", flush=True)
        marks_without_gain = marks_without_gain + 1 if row["KID x 1000"] > 0.98 * best else 0
        best = min(best, row["KID x 1000"])
        if marks_without_gain == 2 and mark != marks[-1]:
            row["ended"] = "no better in two marks"
            break
    return rows


def training_settings(recipe: dict) -> dict:
    """A recipe as JSON -> its settings that affect a race: not its name, and not its length."""
    settings = recipe_json.to_json(recipe_json.from_json(recipe))
    for key in ("name", "about", "steps", "epochs"):
        del settings[key]
    return settings


def finished_result(folder: Path, recipe: dict) -> dict | None:
    """-> the result in the folder, if a run of these settings was finished there."""
    file = folder / "race.json"
    if not file.exists():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    try:
        is_same = training_settings(result["recipe"]) == training_settings(recipe)
    except ValueError:  # made by an older version: race again
        return None
    return result if is_same else None


def was_measured_at(marks: list, rows: list[dict]) -> bool:
    """-> whether a finished run has a row for each mark, unless it ended early."""
    if len(rows) != len(marks) and "ended" not in rows[-1]:
        return False
    for mark, row in zip(marks, rows):
        is_late = row["CPU seconds"] > 1.1 * mark + 10
        is_early = row["CPU seconds"] < mark - 0.1 and "ended" not in row
        if is_late or is_early:
            return False
    return len(rows) <= len(marks)


def run(name: str, recipe: dict, seed: int, marks: list, folder: str) -> dict:
    """Train one recipe for `marks[-1]` CPU seconds -> its numbers at each mark."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    run_folder = Path(folder) / name / str(seed)
    result = finished_result(run_folder, recipe)
    if result is not None and was_measured_at(marks, result["marks"]):
        return result
    faces = load_faces("drawn")
    timed = TimedRun(recipe_json.from_json(recipe), seed, faces, VARIANT_OF.get(name, ""))
    second = second_judge() if name in BY_TWO_JUDGES else None
    rows = measured_at(marks, timed, faces, load_judge(), run_folder, second)
    result = {"name": name, "seed": seed, "recipe": recipe, "marks": rows}
    result |= {"machine": processor(), "torch": torch.__version__, "date": str(date.today())}
    write_json(result, run_folder / "race.json")
    return result


# ---- all runs of a group ----


def race(group: str, seeds: int, folder: Path) -> list[dict]:
    """A group -> the result of `run` for each of its recipes, seed after seed."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes started here
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = []
        for seed in range(seeds):
            for name, recipe in GROUPS[group][0].items():
                settings = recipe_json.to_json(recipe)
                job = (name, settings, seed, marks_of(group, name, seed), str(folder))
                futures.append(pool.submit(run, *job))
        return [future.result() for future in futures]


def after_minutes(folder: Path) -> None:
    """Our sample grids -> recorded/after_minutes.png: what to expect after so many steps."""
    name = next(name for name in GROUPS["sources"][0] if name.startswith("ours"))
    run_folder = folder / name / "0"
    our_marks = marks_of("sources", name, 0)
    result = json.loads((run_folder / "race.json").read_text(encoding="utf-8"))
    grids = []
    labels = []
    for mark, row in zip(our_marks, result["marks"]):
        grids.append(Image.open(run_folder / f"{mark:05}.png"))
        labels.append(f"step {row['step']:,}")
    write_png(plotting.strip(grids, labels), plotting.RECORDED / "after_minutes.png")
    marks_text = ", ".join(f"{mark:,}" for mark in our_marks)
    caption = (
        "Eight fixed latent vectors of the default recipe on synthetic faces,"
        f" after {marks_text} CPU seconds. Compare by the step, because machines differ in speed"
        f" ({result['machine']}, one thread, torch {without_build(result['torch'])},"
        f" {result['date']})."
    )
    alt = f"Film strip of eight faces at {len(our_marks)} times, from blurred to clear. {caption}"
    write_json({"caption": caption, "alt": alt}, plotting.RECORDED / "after_minutes.json")


def main() -> None:
    if sys.argv[1:2] == ["challenge"]:
        from challenge import main as challenge  # it imports this module

        challenge(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    load_faces("drawn")
    if any(name in BY_TWO_JUDGES for group in args.groups for name in GROUPS[group][0]):
        second_judge()  # before two processes would train it
    for group in args.groups:
        marks = GROUPS[group][1]
        folder = device.data_folder() / "race" / group
        runs = race(group, args.seeds, folder)
        record = {"runs": runs, "marks": marks, "faces": COUNT}
        publish(group, record | {"python": platform.python_version()})
        if group == "sources":
            after_minutes(folder)
        print(f"{group}, {args.seeds} seeds:\n\n{table(runs, marks)}\n")


if __name__ == "__main__":
    main()
