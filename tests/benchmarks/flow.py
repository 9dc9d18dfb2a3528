"""Flow matching against the GAN at equal CPU seconds, by the same judge; page 13 shows the record.

python tests/benchmarks/flow.py [--budgets 60 600] [--long] [--seeds 3] [--processes 2]
-> flow.json, flow.png, flow_grids.json and flow_grids.png in recorded/ (or `--out FOLDER`), and a
table in Markdown

Each run has a process and a thread. The flow has one run per seed, measured at all budgets. The GAN
has a run for each budget, with the recipe that suits it: `default`, `wide` or `long`. Budgets
of 60 and 600 take about 80 minutes of one thread with three seeds. `--long` adds two runs of 7200
seconds for seed 0, and four and a half hours. The runs are in data/flow/. Interrupted, the same
command goes on: at most 300 CPU seconds of a run are done again.
"""

import argparse
import copy
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import torch
from flow_figures import publish, table
from flow_network import UNet, euler, flow_loss, sample_times
from memory import peak_memory, resident_memory
from race import TimedRun
from record import processor, write_json
from torch import Tensor, nn

from animegan_helpers import device, metrics, plotting, recipe_json, recipes
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.generator import generate, sample_z
from animegan_helpers.images import to_pixels, to_tensor
from animegan_helpers.judge import Judge, extract_features, load_judge
from animegan_helpers.precision_recall import precision_recall
from animegan_helpers.prepare import load_faces
from animegan_helpers.rng import rng, seeded_weights

COUNT = 2000  # faces per number
EULER_STEPS = 10  # at each mark
SWEEP = (1, 2, 5, 25, 50)  # Euler steps at the end, by seed 0
MARKS = (60, 240, 600, 2400)  # CPU seconds: where a GAN is measured, up to its budget
GAN_RECIPES = {"default": 240, "wide": 2400, "long": 7200}  # the longest budget of each
LONGEST = 7200  # CPU seconds: `--long`
SAVE_EVERY = 300  # CPU seconds
STATE = "state.pt"  # the file from which an interrupted run goes on
SHOWN = 8  # faces in a row of the figure
TRIED = [  # for `Flow`: one seed, 500 faces, 60 CPU seconds ("then": 240), or what is said
    "16x16 positions, width 48, batch 32; the network's output is the velocity: FID 137",
    "... a part of x_t, which depends on t, is added to the output: FID 35",
    "... width 32: stopped after 15 CPU seconds",
    "16x16 positions, width 32, batch 32; the network's output is the image: FID 30",
    "... a parameter for each position, earlier times, rate 3e-3, batch 16: FID 30",
    "... down to 2x2 positions: stopped after 40 CPU seconds",
    "8x8 positions, width 96, rate 2e-3, batch 16: FID 37, but whole faces",
    "16x16 positions, width 48, rate 1e-3; a network's correction of the best linear guess: FID 55",
    "... 8x8 positions, width 64: FID 55, and 54 after 150 CPU seconds",
    "32x32 positions, width 16, the image, a parameter for each position: FID 21, then 19",
    "16x16 positions, width 32, again the image: FID 22, then 20",
    "32x32 positions, width 16, rate 4e-3, batch 16: FID 20, then 20",
    "... rate 1e-3, no parameter for each position: FID 20, then 16; this is used",
    "32x32 positions, width 24, rate 2e-3, batch 16: FID 41, then 18",
]


# ---- the flow ----


@dataclass(frozen=True)
class Flow:
    """The numbers of a training of the flow."""

    width: int = 16
    batch: int = 16
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 50  # steps in which the learning rate rises
    ema: float = 0.999  # of the weights; shorter at first


class FlowTrainer:
    """A U-Net and its EMA copy learn velocities. Its numbers are those of (seed, step) alone."""

    def __init__(self, flow: Flow, seed: int = 0):
        self.recipe = flow
        self.seed = seed
        self.steps_done = 0
        with seeded_weights(seed):
            self.net = UNet(flow.width)
        self.ema = copy.deepcopy(self.net)
        self.adam = torch.optim.Adam(self.net.parameters(), flow.lr, flow.betas, fused=True)

    def step(self, images: Tensor) -> Tensor:
        """One step on (N, H, W, 3) uint8 images -> the loss."""
        image = to_tensor(images)
        noise = torch.randn(image.shape, generator=rng(self.seed, "noise", self.steps_done))
        t = sample_times(len(image), rng(self.seed, "times", self.steps_done))
        self.steps_done += 1
        flow = self.recipe
        self.adam.param_groups[0]["lr"] = flow.lr * min(1, self.steps_done / flow.warmup)
        loss = flow_loss(self.net, image, noise, t)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self._update_ema()
        return loss.detach()

    @torch.no_grad()
    def _update_ema(self) -> None:
        weight = max(1 - self.recipe.ema, 10 / (10 + self.steps_done))
        for ema_weight, live_weight in zip(self.ema.parameters(), self.net.parameters()):
            ema_weight.lerp_(live_weight, weight)

    def state(self) -> dict:
        """-> all that `load_state` needs to go on with the same numbers."""
        parts = {name: getattr(self, name).state_dict() for name in ("net", "ema", "adam")}
        return parts | {"steps_done": self.steps_done}

    def load_state(self, state: dict) -> None:
        for name in ("net", "ema", "adam"):
            getattr(self, name).load_state_dict(state[name])
        self.steps_done = state["steps_done"]


class Losses:
    """The losses of a run, as `TimedRun` keeps them."""

    def __init__(self):
        self.values = []

    def append(self, loss: Tensor) -> None:
        self.values.append(loss.item())

    def fetch(self) -> None:
        """Raises FloatingPointError if the newest loss is not finite."""
        if not math.isfinite(self.values[-1]):
            raise FloatingPointError(f"the loss is {self.values[-1]} at step {len(self.values)}")


class TimedFlow(TimedRun):
    """A flow that trains for so many CPU seconds; the time of measuring it is not counted."""

    def __init__(self, flow: Flow, seed: int, faces: Faces):
        self.trainer = FlowTrainer(flow, seed)
        self.log = Losses()
        self.loader = iter(batches(faces, flow.batch, seed))
        self.cpu_seconds = 0.0
        self.seconds = 0.0


def flow_faces(net: nn.Module, count: int, steps: int, *key: int | str) -> Tensor:
    """A U-Net and a key -> (count, 3, 64, 64) images in [-1, 1], by Euler steps."""
    noise = torch.randn(count, 3, 64, 64, generator=rng(*key))
    return torch.cat([euler(net, part, steps) for part in noise.split(256)]).clamp(-1, 1)


# ---- one run ----


def numbers_of(images: Tensor, faces: Faces, judge: Judge, seed: int) -> dict:
    """Images in [-1, 1] -> FID, KID x 1000, precision and recall, against as many real faces."""
    rows = torch.randperm(len(faces), generator=rng(seed, "rows"))[: len(images)].tolist()
    real = extract_features(judge, faces[rows])
    fake = extract_features(judge, to_pixels(images))
    size = min(500, len(images))
    precision, recall = precision_recall(real, fake)
    return {
        "FID": metrics.fid(real, fake),
        "KID x 1000": 1000 * metrics.kid(real, fake, seed, subsets=20, size=size)[0],
        "precision": precision,
        "recall": recall,
    }


class Side:
    """One run of the GAN (a recipe's name) or of the flow: how it trains and how it generates."""

    def __init__(self, name: str, seed: int, faces: Faces):
        self.is_flow = name == "flow"
        self.seed = seed
        if self.is_flow:
            self.settings = asdict(Flow())
            self.timed = TimedFlow(Flow(), seed, faces)
            networks = [self.timed.trainer.net]
        else:
            recipe = recipes.get(name)
            self.settings = recipe_json.to_json(recipe)
            self.timed = TimedRun(recipe, seed, faces)
            networks = [self.timed.trainer.G, self.timed.trainer.D]
        self.weights = [sum(p.numel() for p in net.parameters()) for net in networks]

    def generate(self, count: int, steps: int, use: str) -> tuple[Tensor, float]:
        """-> (count, 3, 64, 64) images, and the CPU seconds for one of them."""
        if self.is_flow:
            start = time.process_time()
            images = flow_faces(self.timed.trainer.ema, count, steps, self.seed, use)
        else:
            G = self.timed.trainer.ema_generator()
            start = time.process_time()
            images = generate(G, sample_z(count, G.z_dim, self.seed, use))
        return images, (time.process_time() - start) / count

    def row(self, steps: int, count: int, faces: Faces, judge: Judge) -> dict:
        """-> the numbers of `count` images that were made in so many Euler steps (a GAN: in 1)."""
        images, seconds = self.generate(count, steps, "measured")
        numbers = numbers_of(images, faces, judge, self.seed)
        return self.timed.row() | {"Euler steps": steps, "seconds per image": seconds} | numbers


def training_memory(name: str) -> int | None:
    """-> the most MB by which five training steps enlarge a process; None but on Linux.

    To be called in a fresh process: one that has trained before has memory to use again.
    """
    torch.set_num_threads(1)
    faces = load_faces("drawn")
    before = resident_memory().get("RssAnon")
    if before is None:
        return None
    peaks = {}
    with peak_memory(peaks, name):
        timed = Side(name, 0, faces).timed
        for _ in range(5):
            timed.trainer.step(next(timed.loader))
    return round(peaks[name]["RssAnon"] - before)


def run(name: str, seed: int, marks: list, count: int, folder: str) -> dict:
    """Train one side for `marks[-1]` CPU seconds -> its numbers at each mark and at the end."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    run_folder = folder_of(Path(folder), name, seed, marks[-1])
    faces = load_faces("drawn")
    side = Side(name, seed, faces)
    job = {"name": name, "seed": seed, "settings": side.settings, "marks": marks, "faces": count}
    job = json.loads(json.dumps(job))
    result = begun(run_folder, job)
    if result is None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            megabytes = pool.submit(training_memory, name).result()
        result = {"weights": side.weights, "training MB": megabytes, "rows": []}
        (run_folder / STATE).unlink(missing_ok=True)
        write_json(result | {"job": job | {"marks": []}}, run_folder / "flow.json")
    if result.get("job") == job:
        return result
    result |= {"job": job, "machine": processor(), "torch": torch.__version__}
    measure(side, result, faces, run_folder)
    return result


def folder_of(folder: Path, name: str, seed: int, budget: int) -> Path:
    """-> where a run is kept. The long runs are separate: another machine may make them."""
    return folder / name / (f"{seed}_long" if budget == LONGEST else str(seed))


def begun(folder: Path, job: dict) -> dict | None:
    """-> what a run of this job, to these marks or others, has left in its folder."""
    file = folder / "flow.json"
    if not file.exists():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    is_same = result["job"] | {"marks": job["marks"]} == job
    return result if is_same else None


def measure(side: Side, result: dict, faces: Faces, folder: Path) -> None:
    """Train to each mark, and add a row of numbers for each to the result.

    At the end, the flow of seed 0 has a row for each other number of Euler steps, too. The faces of
    the figure are left in `folder`, as MARK_STEPS.png.
    """
    judge = load_judge()
    job = result["job"]
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / STATE).exists():
        side.timed.load(folder / STATE, faces)
    for mark in job["marks"]:
        if any(row["mark"] == mark for row in result["rows"]):
            continue
        if side.timed.cpu_seconds > mark + SAVE_EVERY:
            raise ValueError(
                f"{folder} has trained for {side.timed.cpu_seconds:.0f} CPU seconds, and was not"
                f" measured at {mark}: delete it, and run again"
            )
        try:
            train_until(side.timed, mark, folder / STATE)
            result["rows"] += rows_at(mark, side, job, faces, judge, folder)
        except FloatingPointError as error:
            result["rows"].append(side.timed.row() | {"mark": mark, "ended": str(error)})
        result["date"] = str(date.today())
        has_ended = "ended" in result["rows"][-1]
        reached = [done for done in job["marks"] if done <= mark or has_ended]
        write_json(result | {"job": job | {"marks": reached}}, folder / "flow.json")
        if has_ended:
            break


def rows_at(
    mark: int, side: Side, job: dict, faces: Faces, judge: Judge, folder: Path
) -> list[dict]:
    """-> the numbers at a mark, for one or several numbers of Euler steps."""
    all_steps = [EULER_STEPS if side.is_flow else 1]
    if side.is_flow and side.seed == 0 and mark == job["marks"][-1]:
        all_steps += SWEEP
    rows = []
    for steps in all_steps:
        rows.append({"mark": mark} | side.row(steps, job["faces"], faces, judge))
        print(f"{job['name']}, seed {side.seed}: {rows[-1]}", flush=True)
        shown, _ = side.generate(SHOWN, steps, "fixed")
        plotting.grid(shown, SHOWN).save(folder / f"{mark:05}_{steps:02}.png")
    return rows


def train_until(timed: TimedRun, mark: float, file: Path) -> None:
    """Train up to a mark in CPU seconds. Every `SAVE_EVERY` of them, the run is saved."""
    while timed.cpu_seconds < mark:
        timed.train_until(min(mark, timed.cpu_seconds + SAVE_EVERY))
        timed.save(file)


# ---- all runs ----


def jobs_of(budgets: list, seeds: int, is_long: bool = False) -> list[tuple[str, int, list]]:
    """Budgets in CPU seconds -> (side, seed, marks) of each run, the longest of a seed first.

    With `is_long`, two runs of seed 0 have the longest budget.
    """
    jobs = []
    if is_long:
        jobs += [("flow", 0, [MARKS[-1], LONGEST]), ("long", 0, gan_marks(LONGEST))]
    marks_of_recipes = {}
    for budget in sorted(budgets):
        name = next(name for name, longest in GAN_RECIPES.items() if budget <= longest)
        marks = marks_of_recipes.setdefault(name, set())
        marks.update(gan_marks(budget))
    for seed in range(seeds):
        jobs.append(("flow", seed, sorted(budgets)))  # first: measuring it takes longer
        for name, marks in marks_of_recipes.items():
            jobs.append((name, seed, sorted(marks)))
    return jobs


def gan_marks(budget: int) -> list[int]:
    """-> the CPU seconds at which a GAN of this budget is measured."""
    return [mark for mark in MARKS if mark < budget] + [budget]


def run_all(jobs: list[tuple], processes: int, count: int, folder: Path) -> list[dict]:
    """-> the result of `run` for each job."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes started here
    load_faces("drawn")  # before two processes would draw them
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, *job, count, str(folder)) for job in jobs]
        return [future.result() for future in futures]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", type=int, nargs="+", default=[60, 600])
    parser.add_argument("--long", action="store_true", help=f"two runs of {LONGEST} s, too")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2))
    parser.add_argument("--faces", type=int, default=COUNT, help="per number")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    if args.faces != COUNT and args.out == plotting.RECORDED:
        parser.error(f"the record has {COUNT} faces per number: name another folder with --out")
    if max(args.budgets) >= LONGEST:
        parser.error(f"a budget is below {LONGEST} CPU seconds; --long adds that one")
    folder = device.data_folder() / "flow"
    jobs = jobs_of(args.budgets, args.seeds, args.long)
    runs = run_all(jobs, args.processes, args.faces, folder)
    budgets = sorted({*args.budgets, LONGEST} if args.long else args.budgets)
    publish(runs, budgets, TRIED, folder, args.out)
    print(f"\n{table(runs, budgets)}\n")


if __name__ == "__main__":
    main()
