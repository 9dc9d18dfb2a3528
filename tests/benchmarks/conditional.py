"""Conditional GANs at equal CPU seconds: how D gets the condition, what it buys, what it costs.

python tests/benchmarks/conditional.py
-> recorded/conditional.json and .png, pretrained/conditional.safetensors, a table in Markdown

python tests/benchmarks/conditional.py --only projection --seconds 480 --ship
-> pretrained/conditional.safetensors alone

Projection, concatenation and the unconditional default are trained for `--seconds` with each of the
`--seeds`, and measured after 60, too. One pair of colors is left out of the training set, another
one is made rare. A second judge that chose nothing measures. The runs are in data/conditional/.
Interrupted, it goes on: what is finished is not done again. It takes about 100 minutes of one core.
"""

import argparse
import json
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import torch
from conditional_figures import publish, table
from race import second_judge
from record import processor, write_json
from torch import Tensor, nn

from animegan_helpers import alarms, device, drawn, metrics, recipe_json, recipes
from animegan_helpers import generator as package_generator
from animegan_helpers.checkpoints import atomic_write
from animegan_helpers.conditional import (
    CONDITIONED,
    SHIPPED,
    ConditionalTrainer,
    ConditionEmbedding,
    ProjectionDiscriminator,
    are_met,
    condition,
    read_conditions,
    sample,
    save_conditional,
)
from animegan_helpers.dataset import BatchOrder, Faces
from animegan_helpers.discriminator import Discriminator
from animegan_helpers.images import stack, to_pixels
from animegan_helpers.judge import ATTRIBUTE_NAMES, Judge, extract_features
from animegan_helpers.plotting import grid
from animegan_helpers.prepare import load_faces
from animegan_helpers.rng import rng
from animegan_helpers.trainer import Trainer

FIRST_MARK = 60  # CPU seconds
COUNT = 2000  # faces for the shares of conditions met, FID and KID
PAIR_COUNT = 300  # faces for a pair of colors
VARIETY_COUNT = 64  # faces of one condition
HELD_OUT = {"hair_color": "blue", "eye_color": "red"}  # no training face has both
RARE = {"hair_color": "pink", "eye_color": "green"}  # so many training faces have both:
RARE_COUNT = 5
SHOWN = (  # the conditions whose variety is measured
    {"hair_color": "blond", "eye_color": "blue", "eyes": "open", "accessory": "none"},
    {"hair_color": "purple", "eye_color": "gold", "eyes": "closed", "accessory": "glasses"},
    {"hair_color": "green", "eye_color": "brown", "eyes": "half", "accessory": "cat ears"},
    {"hair_color": "red", "eye_color": "aqua", "eyes": "wink", "accessory": "flower"},
)
NOT_CONDITIONED = [name for name in ATTRIBUTE_NAMES if name not in CONDITIONED]


class ConcatenationDiscriminator(nn.Module):
    """(N, 3, size, size) images, (N, 4) conditions -> (N,) logits, as in arXiv:1605.05396.

    The condition's embedding stands beside the features at each of the 4x4 positions. A convolution
    of kernel 1 mixes both before the last layer.
    """

    def __init__(self, width: int, size: int, norm: str, init: str):
        super().__init__()
        *layers, last, flatten = Discriminator(width, size, norm, init=init).net
        channels = last.in_channels
        self.features = nn.Sequential(*layers)  # (N, channels, 4, 4)
        self.embedding = ConditionEmbedding(32)
        mix = nn.Conv2d(channels + 32, channels, kernel_size=1)
        nn.init.kaiming_normal_(mix.weight, a=0.2)
        self.logits = nn.Sequential(mix, nn.LeakyReLU(0.2), last, flatten)

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        features = self.features(images)
        planes = self.embedding(conditions)[:, :, None, None].expand(-1, -1, 4, 4)
        return self.logits(torch.cat([features, planes], dim=1))


KINDS = {
    "projection": ProjectionDiscriminator,
    "concatenation": ConcatenationDiscriminator,
    "unconditional": None,
}


# ---- the training set ----


def has_pair(conditions: Tensor, pair: dict[str, str]) -> Tensor:
    """Conditions (N, 4) and a pair of colors -> (N,) whether a face has both of them."""
    return (conditions[:, :2] == condition(**pair)[:2]).all(dim=1)


def training_rows(conditions: Tensor) -> Tensor:
    """Conditions (N, 4) -> the rows to train on: without `HELD_OUT`, few with `RARE`."""
    kept = ~has_pair(conditions, HELD_OUT)
    rare_rows = has_pair(conditions, RARE).nonzero()[:, 0]
    kept[rare_rows[RARE_COUNT:]] = False
    return kept.nonzero()[:, 0]


def drawn_faces(values: dict[str, str], count: int) -> Tensor:
    """Values by attribute -> (count, 64, 64, 3) uint8 real faces that have them."""
    return stack(drawn.draw(drawn.attributes(99, i) | values) for i in range(count))


# ---- measuring ----


class Measure:
    """Numbers of a generator by one judge; `real` are its training faces and their conditions."""

    def __init__(self, judge: Judge, faces: Faces, conditions: Tensor, rows: Tensor):
        self.judge = judge
        chosen = rows[torch.randperm(len(rows), generator=rng("measured"))[:COUNT]]
        self.conditions = conditions[chosen]
        self.features = extract_features(judge, faces[chosen])
        self.labels = judge.attributes(self.features)

    def of(self, G: nn.Module, seed: int) -> dict:
        """A generator -> its numbers by name; shares are between 0 and 1."""
        features = extract_features(self.judge, _images(G, self.conditions, seed, "all"))
        met = are_met(self.judge.attributes(features), self.conditions)
        kid, _ = metrics.kid(self.features, features, seed, subsets=20)
        numbers = _shares(met)
        numbers |= {"FID": metrics.fid(self.features, features), "KID x 1000": 1000 * kid}
        for name, pair in (("held-out pair", HELD_OUT), ("rare pair", RARE)):
            images = _images(G, self._of_pairs([pair], PAIR_COUNT), seed, name)
            numbers[name] = self._pairs_met(images, self._of_pairs([pair], PAIR_COUNT))
        conditions = self._of_pairs(_other_pairs(), COUNT)
        numbers["other pairs"] = self._pairs_met(_images(G, conditions, seed, "pairs"), conditions)
        return numbers | self._variety(G, seed)

    def of_real(self) -> dict:
        """-> the same numbers of real faces: what this judge gives a perfect generator."""
        numbers = _shares(are_met(self.labels, self.conditions))
        for name, pair in (("held-out pair", HELD_OUT), ("rare pair", RARE)):
            images = drawn_faces(pair | {"eyes": "open"}, PAIR_COUNT)
            numbers[name] = self._pairs_met(images, self._of_pairs([pair], PAIR_COUNT))
        real = [drawn_faces(values, VARIETY_COUNT) for values in SHOWN]
        return numbers | self._variety_of(real)

    def _of_pairs(self, pairs, count) -> Tensor:
        """Pairs of colors, in turn -> conditions (count, 4) with open eyes and any accessory."""
        conditions = self.conditions[torch.arange(count) % len(self.conditions)].clone()
        for i in range(count):
            conditions[i, :3] = condition(**pairs[i % len(pairs)])[:3]
        return conditions

    def _pairs_met(self, images, conditions) -> float:
        predicted = self.judge.attributes(extract_features(self.judge, images))
        return are_met(predicted, conditions)[:, :2].all(dim=1).double().mean().item()

    def _variety(self, G, seed) -> dict:
        images = []
        for values in SHOWN:
            conditions = condition(**values).expand(VARIETY_COUNT, -1)
            images.append(_images(G, conditions, seed, "variety"))
        return self._variety_of(images)

    def _variety_of(self, sets) -> dict:
        """Sets of images of one condition each -> means over the sets, by name."""
        distances = []
        for images in sets:
            labels = self.judge.attributes(extract_features(self.judge, images))
            by_name = metrics.total_variation(self.labels, labels)
            distances.append(statistics.mean(by_name[name] for name in NOT_CONDITIONED))
        return {
            "variety": statistics.mean(alarms.variety(images) for images in sets),
            "total variation distance": statistics.mean(distances),
        }


def _shares(met) -> dict:
    shares = dict(zip(CONDITIONED, met.nanmean(0).tolist()))
    return shares | {"all four": (met.nan_to_num(1.0) == 1).all(dim=1).double().mean().item()}


def _other_pairs() -> list[dict]:
    pairs = []
    for hair in drawn.ATTRIBUTES["hair_color"]:
        for eye in drawn.ATTRIBUTES["eye_color"]:
            pairs.append({"hair_color": hair, "eye_color": eye})
    return [pair for pair in pairs if pair not in (HELD_OUT, RARE)]


def _images(G, conditions, *key) -> Tensor:
    """-> (N, 64, 64, 3) uint8 images; an unconditional generator ignores the conditions."""
    if hasattr(G, "embedding"):
        return to_pixels(sample(G, conditions, *key))
    return to_pixels(package_generator.sample(G, len(conditions), *key))


# ---- one run ----


def run(kind: str, seed: int, marks: list, folder: str) -> dict:
    """Train one kind of network up to the last mark in CPU seconds -> its numbers at each mark."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    run_folder = Path(folder) / kind / str(seed)
    result_file = run_folder / "result.json"
    recipe = recipe_json.to_json(recipes.get("default"))
    if result_file.exists():
        result = json.loads(result_file.read_text(encoding="utf-8"))
        is_same = result.get("recipe") == json.loads(json.dumps(recipe))
        if is_same and [row["mark"] for row in result["marks"]] == marks:
            return result
    faces = load_faces("drawn")
    conditions = read_conditions(faces, device.data_folder() / "drawn")
    rows = training_rows(conditions)
    measure = Measure(second_judge(), faces, conditions, rows)
    timed = TimedRun(kind, seed, faces, conditions, rows)
    result = {"kind": kind, "seed": seed, "recipe": recipe, "marks": []}
    result |= {"machine": processor(), "torch": torch.__version__, "date": str(date.today())}
    for mark in marks:
        timed.train_until(mark)
        G = timed.trainer.ema_generator()
        row = {"mark": mark, "step": timed.trainer.steps_done} | measure.of(G, seed)
        result["marks"].append(row)
        print(f"{kind}, seed {seed}: {row}", flush=True)
        run_folder.mkdir(parents=True, exist_ok=True)
        grid(timed.trainer.fixed_faces(), 8).save(run_folder / f"{mark}.png")
    if kind != "unconditional":
        save_conditional(G, run_folder / "G.safetensors")
    write_json(result, result_file)
    return result


class TimedRun:
    """The default recipe in training; only the CPU seconds of its steps are counted."""

    def __init__(self, kind: str, seed: int, faces: Faces, conditions: Tensor, rows: Tensor):
        recipe = recipes.get("default")
        self.faces = faces
        self.conditions = conditions
        self.rows = rows
        self.order = iter(BatchOrder(len(rows), recipe.batch, seed))
        self.seconds = 0.0
        if kind == "unconditional":
            self.trainer = Trainer(recipe, seed)
        else:
            self.trainer = ConditionalTrainer(
                recipe, conditions[rows], seed, discriminator=KINDS[kind]
            )

    def train_until(self, mark: float) -> None:
        """Train up to a mark in CPU seconds."""
        while self.seconds < mark:
            start = time.process_time()
            rows = self.rows[next(self.order)]
            inputs = [self.faces[rows], self.conditions[rows]]
            if not isinstance(self.trainer, ConditionalTrainer):
                inputs = inputs[:1]
            self.trainer.step(*inputs)
            self.seconds += time.process_time() - start
            if self.trainer.steps_done % 500 == 0:
                print(f"step {self.trainer.steps_done}, {self.seconds:.0f} CPU s", flush=True)


# ---- all runs ----


def run_all(kinds: list[str], seeds: int, seconds: int, folder: Path, processes: int) -> list[dict]:
    """-> the results of all runs, each measured at the first mark and at the end."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes started here
    marks = sorted({min(seconds, FIRST_MARK), seconds})
    jobs = [(kind, seed, marks, str(folder)) for seed in range(seeds) for kind in kinds]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(run, *job) for job in jobs]]


def record(runs: list[dict], conditions: Tensor, rows: Tensor) -> dict:
    """-> what recorded/conditional.json holds."""
    faces = load_faces("drawn")
    return {
        "runs": runs,
        "real": Measure(second_judge(), faces, conditions, rows).of_real(),
        "held out": HELD_OUT,
        "rare": RARE,
        "training faces": {
            "all": len(rows),
            "held out": int(has_pair(conditions[rows], HELD_OUT).sum()),
            "rare": int(has_pair(conditions[rows], RARE).sum()),
        },
        "counts": {"all": COUNT, "pair": PAIR_COUNT, "variety": VARIETY_COUNT},
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2))
    parser.add_argument("--only", choices=KINDS, help="train one kind, and record nothing")
    parser.add_argument("--ship", action="store_true", help="ship the generator in any case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    faces = load_faces("drawn")
    second_judge()  # before two processes would train it
    conditions = read_conditions(faces, device.data_folder() / "drawn")
    rows = training_rows(conditions)
    folder = device.data_folder() / "conditional" / str(args.seconds)
    kinds = [args.only] if args.only else list(KINDS)
    seeds = 1 if args.only else args.seeds
    runs = run_all(kinds, seeds, args.seconds, folder, args.processes)
    print(table(runs))
    is_complete = not args.only and args.seconds >= 600
    if is_complete:
        publish(record(runs, conditions, rows))
    if is_complete or args.ship:
        generator = folder / "projection" / "0" / "G.safetensors"
        atomic_write(SHIPPED, generator.read_bytes())


if __name__ == "__main__":
    main()
