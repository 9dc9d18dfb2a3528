"""The challenge: a reader's recipe against the default, on one machine. Called by race.py.

python tests/benchmarks/race.py challenge mine.json [--seconds 60]
-> a table, and a row for docs/challenge.md

The file has settings of a recipe as `recipe_json.to_json` names them, all or some, such as
{"width": 12, "r1": 8.0}. Those that it does not name are the default's.

Each run has 60 CPU seconds, a process and a thread. The runs go one at a time, in the order
default 0, mine 0, mine 1, default 1, default 2, mine 2. Two runs side by side would share caches
and memory bandwidth, and the larger network would slow the smaller one down more than the other
way round. The alternating order cancels a steady change of the machine's speed. Let nothing else
run meanwhile. It takes over 6 minutes.

The runs are in data/race/challenge/, with a folder for each challenger and its settings. So each
challenger races against the default as it runs on this machine now. Interrupted, the same command
goes on. Pairs that are finished are not raced again; of a pair that is not, both runs are, since
the machine's speed may have changed.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from race import finished_result, run, training_settings
from race_figures import each_value

from animegan_helpers import device, recipe_json, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.prepare import load_faces
from animegan_helpers.recipes import Recipe

DEFAULT = recipes.get("default")
SECONDS = 60  # CPU seconds of a run that counts
SEEDS = 3
EXAMPLE = '{"width": 12}'


# ---- the reader's file ----


def read_recipe(path: Path) -> Recipe:
    """A JSON file with all or some settings -> the recipe; the other settings are the default's.

    The recipe has the name in the file, or else that of the file. Raises ValueError for a file that
    is missing or not JSON, an unknown setting, and a value that can't work.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"there is no such file: write one, such as {EXAMPLE}") from None
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror}): name a JSON file") from None
    except ValueError as error:
        raise ValueError(f"this is not JSON ({error}): write it like {EXAMPLE}") from None
    if not isinstance(data, dict):
        raise ValueError(f"this is JSON, but not settings by name: write it like {EXAMPLE}")
    data.pop("version", None)  # of the package that wrote the file
    _check_values(data)
    if data.get("name", DEFAULT.name) == DEFAULT.name:
        data["name"] = path.stem
    return recipe_json.from_json(recipe_json.to_json(DEFAULT) | data)


def _check_values(data: dict) -> None:
    """Raises ValueError for a setting that no recipe has, or a value of another kind."""
    defaults = recipe_json.to_json(DEFAULT)
    unknown = sorted(set(data) - set(defaults))
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(unknown)}: the settings are {', '.join(defaults)}"
        )
    for name, value in data.items():
        if not _is_like(value, defaults[name]):
            raise ValueError(
                f"{name} is {json.dumps(value)}: give a value of the same kind as the default's,"
                f" {json.dumps(defaults[name])}"
            )
        if name in ("r1", "lr_decay_start") and value < 0:
            raise ValueError(f"{name} is {value}: it must be 0 (none) or more")


def _is_like(value: object, example: object) -> bool:
    """-> whether a value from JSON is of the same kind as a recipe's value."""
    if isinstance(example, tuple):
        if not isinstance(value, list) or len(value) != len(example):
            return False
        return all(_is_like(part, part_of_example) for part, part_of_example in zip(value, example))
    if isinstance(example, float):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    return type(value) is type(example)


def changes(recipe: Recipe) -> dict[str, tuple]:
    """-> by name the settings that affect a race and are not the default's: (its, default's)."""
    mine = training_settings(recipe_json.to_json(recipe))
    default = training_settings(recipe_json.to_json(DEFAULT))
    return {name: (mine[name], default[name]) for name in mine if mine[name] != default[name]}


def check(recipe: Recipe, faces: Faces) -> None:
    """Raises ValueError for a recipe that can't race against the default on these faces."""
    size = faces.report.size
    if recipe.size != size:
        raise ValueError(f"size is {recipe.size}: remove it, the faces have {size}x{size} pixels")
    if recipe.held_out:
        raise ValueError(f"held_out is {recipe.held_out}: remove it, both train on all faces")
    if recipe.batch > len(faces):
        raise ValueError(f"batch is {recipe.batch}: lower it, there are {len(faces)} faces")
    if not changes(recipe):
        raise ValueError(
            "this is the default itself: change a setting. Name, about, steps and epochs don't"
            " count, since time ends each run"
        )


# ---- the race ----


def folder_of(recipe: Recipe, seconds: float) -> Path:
    """-> the folder of a challenger's runs: another one for another name, setting, or time."""
    settings = json.dumps(training_settings(recipe_json.to_json(recipe)))
    digest = hashlib.sha256(f"{recipe.name} {settings} {seconds}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9]+", "_", recipe.name)[:40]
    return device.data_folder() / "race" / "challenge" / f"{readable}_{digest}"


def run_alone(*job: object) -> dict:
    """The arguments of `race.run` -> its result, from a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *job).result()


def race_pair(settings: dict[str, dict], seed: int, seconds: float, folder: Path) -> dict:
    """Settings by "default" and "mine" -> the result of each with one seed.

    Of a pair that is finished the results are read. Otherwise both race, the one that was second
    with the seed before going first. Raises RuntimeError if a run fails, or has no KID at its end.
    """
    pair = {}
    for name in settings:
        pair[name] = finished_result(folder / name / str(seed), settings[name])
    if None in pair.values():
        names = list(settings)
        if seed % 2:
            names.reverse()
        for name in names:
            shutil.rmtree(folder / name / str(seed), ignore_errors=True)
        for name in names:
            try:
                pair[name] = run_alone(name, settings[name], seed, [seconds], str(folder))
            except (RuntimeError, MemoryError) as error:  # a process that was killed, too
                raise RuntimeError(
                    f"{name}, seed {seed} failed ({error}): if there was not enough memory, lower"
                    " width or batch"
                ) from error
    for name, result in pair.items():
        last = result["marks"][-1]
        if "ended" in last:
            raise RuntimeError(
                f"{name}, seed {seed} ended at step {last['step']} ({last['ended']}), so there is"
                " no ratio: lower learning rates may help"
            )
    return pair


def race_all(mine: Recipe, seconds: float, folder: Path, seeds: int = SEEDS) -> dict[str, list]:
    """-> the results of "default" and of "mine", seed after seed. Raises what `race_pair` does."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes started here
    settings = {"default": recipe_json.to_json(DEFAULT), "mine": recipe_json.to_json(mine)}
    results = {"default": [], "mine": []}
    for seed in range(seeds):
        for name, result in race_pair(settings, seed, seconds, folder).items():
            results[name].append(result)
    return results


# ---- what is printed ----


def at_end(results: list[dict], key: str) -> list:
    """The results of one recipe -> a number of each, seed after seed."""
    return [result["marks"][-1][key] for result in results]


def ratios(results: dict[str, list]) -> list[float]:
    """-> for each seed KID(mine) / KID(default). Raises RuntimeError for a KID of 0 or less."""
    mine = at_end(results["mine"], "KID x 1000")
    default = at_end(results["default"], "KID x 1000")
    if min(mine + default) <= 0:
        raise RuntimeError("a KID is not above 0, as for real faces: its ratio has no meaning")
    return [a / b for a, b in zip(mine, default)]


def summary(values: list[float]) -> str:
    """The ratios -> their geometric mean and their range over the seeds."""
    mean = statistics.geometric_mean(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


def verdict(values: list[float]) -> str:
    """The ratios -> who won. It is a tie unless all seeds agree."""
    if max(values) < 1:
        return "better than the default with every seed"
    if min(values) > 1:
        return "worse than the default with every seed"
    return "a tie: the range of the ratios includes 1"


def table(results: dict[str, list]) -> str:
    """The results -> Markdown: a row for each seed, mine before the default's numbers."""
    heads = ["seed"]
    columns = [range(len(results["mine"]))]
    for key, form in (("KID x 1000", "{:,.0f}"), ("step", "{:,}"), ("color pairs", "{}")):
        for name in ("mine", "default"):
            heads.append(f"{key}, {name}")
            columns.append([form.format(value) for value in at_end(results[name], key)])
    heads.append("ratio of KID")
    columns.append([f"{ratio:.2f}" for ratio in ratios(results)])
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cells in zip(*columns):
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def row(recipe: Recipe, results: dict[str, list]) -> str:
    """-> the row for docs/challenge.md. Raises RuntimeError if machine or torch changed meanwhile.

    Its columns: name, what changed, ratio (range), mean steps, machine, torch, date.
    """
    runs = results["default"] + results["mine"]
    for key in ("machine", "torch"):
        if len({result[key] for result in runs}) > 1:
            raise RuntimeError(f"{key}: {each_value(runs, key)}. All runs must have the same")
    changed = []
    for name, (mine, default) in changes(recipe).items():
        changed.append(f"{name} {json.dumps(mine)} (default {json.dumps(default)})")
    mine_steps = statistics.mean(at_end(results["mine"], "step"))
    default_steps = statistics.mean(at_end(results["default"], "step"))
    cells = [
        recipe.name,
        ", ".join(changed),
        summary(ratios(results)),
        f"{mine_steps:,.0f} (default {default_steps:,.0f})",
        each_value(runs, "machine"),
        each_value(runs, "torch"),
        each_value(runs, "date"),
    ]
    cells = [" ".join(cell.replace("|", "/").split()) for cell in cells]
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str]) -> None:
    """The words after `race.py challenge` -> printed tables. Exits with a message for bad input."""
    parser = argparse.ArgumentParser(
        prog="race.py challenge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="CPU seconds, to try it out")
    args = parser.parse_args(words)
    try:
        mine = read_recipe(args.file)
        check(mine, load_faces("drawn"))
    except ValueError as error:
        sys.exit(f"{args.file}: {error}")
    folder = folder_of(mine, args.seconds)
    try:
        results = race_all(mine, args.seconds, folder)
        lines = [table(results), f"{summary(ratios(results))}: {verdict(ratios(results))}"]
        lines.append(f"For docs/challenge.md:\n\n{row(mine, results)}")
    except RuntimeError as error:
        sys.exit(f"{args.file}: {error} (its runs are in {folder}: delete it to start again)")
    if args.seconds != SECONDS:
        lines[-1] = f"No row: one needs {SECONDS} CPU seconds, and these are {args.seconds}"
    print("\n\n".join(["", *lines]))
