"""Ten minutes on an NVIDIA GPU: what works there, how fast it is, and how the faces look.

python tests/benchmarks/gpu.py [--data ZIP_OR_FOLDER] [--out FOLDER] [--only PART ...] [--small]
-> gpu.json in FOLDER (default: recorded/) with the results of each part; beside it sample grids and
a film strip, each with its caption in a .json: gpu_synthetic_1.png, gpu_synthetic_2.png,
gpu_synthetic_film.png. With `--data`, real faces by any name that `load_faces` takes, also
gpu_real_1.png and so on.

Each part is a process with a timeout. gpu.json is written after each part. A part that fails leaves
its last lines of stderr there, one that is too slow its timeout, both beside what they had measured
by then, and the next part runs. Preparing the faces comes on top of the ten minutes.
`--search 45` instead tries recipes for a GPU's default, 45 seconds each -> gpu_search.json.
`--small` does all of it in about a minute, on a CPU too, to see that it works: its numbers mean
nothing.
"""

import argparse
import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from loops import OurLoop, flops, limit, steps_per_second, wait_for_gpu
from record import processor, versions, without_build, write_json, write_png

from animegan_helpers import checkpoints, device, drawn, metrics, plotting, recipe_json, recipes
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.distributed import Distributed
from animegan_helpers.generator import Generator, sample
from animegan_helpers.history import Log, read_history
from animegan_helpers.judge import load_judge
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.recipes import Recipe
from animegan_helpers.rng import rng
from animegan_helpers.run_writer import Run
from animegan_helpers.runs import load_generator
from animegan_helpers.speed import PLAIN, Speed, best_speed, self_check, to_device
from animegan_helpers.trainer import Trainer, train_step
from animegan_helpers.training import train

TIMEOUTS = {  # part: the seconds that it may take on a T4, its start included; 600 in all
    "device": 25,
    "precision": 40,
    "resume": 80,
    "rates": 45,
    "synthetic": 115,
    "real": 110,
    "profile": 25,
    "graph": 90,
    "long": 40,
    "processes": 30,
}
MARKS = (5, 15, 30, 60, 90)  # seconds of training, shown in a film strip; the last is its end
SMALL_SIZES = {"width": 4, "batch": 8}
MATRIX_SIZES = (2048, 4096, 8192)
PAGE = Path(__file__).parents[2] / "notebooks" / "10_make_it_fast.ipynb"
CELLS = ("import functools", "class Compiled:", "class Graphed:", "def graphed_step(")  # of PAGE
RUNGS = {  # of part "graph": recipe, words that say how; what may fail comes last
    "eager": ("300-epochs", ""),
    "graph": ("300-epochs", "graph"),
    "eager, float32": ("300-epochs", "float32"),
    "graph, float32": ("300-epochs", "float32 graph"),
    "eager, with R1": ("default-gpu", ""),
    "graph, with R1": ("default-gpu", "graph"),
    "compiled": ("300-epochs", "compiled"),
    "compiled, graph": ("300-epochs", "compiled graph"),
}
TRIES = {  # of the search: changes to the default of a GPU
    "as it is": {},
    "rates doubled": {"lr_g": 4e-4, "lr_d": 4e-4},
    "rates 1e-3": {"lr_g": 1e-3, "lr_d": 1e-3},
    "rates 1e-3, decay from step 1000": {"lr_g": 1e-3, "lr_d": 1e-3, "lr_decay_start": 1000},
    "R1 8": {"r1": 8.0},
    "EMA over 200 steps": {"ema": 0.995},
    "batch 64": {"batch": 64},
    "batch 256, rates doubled": {"batch": 256, "lr_g": 4e-4, "lr_d": 4e-4},
    "width 32": {"width": 32},
    "width 96": {"width": 96},
    "DiffAugment": {"augment": True},
}


@dataclass(frozen=True)
class Job:
    """What a part is given. The parent writes it to job.json, the part's process reads it."""

    work: str  # a folder; each part has one of its own in it
    out: str  # the folder for images
    synthetic: str  # the folder of a prepared set
    real: str | None  # of another one, if there is one
    small: bool
    minutes: float  # for all parts
    search: float | None = None  # seconds of a try
    part: str = ""  # a name in PARTS or TRIES

    @property
    def folder(self) -> Path:
        """The part's own folder."""
        return Path(self.work) / self.part

    def recipe(self, name: str, **changes: object) -> Recipe:
        """-> a recipe with some of its numbers changed; in a small job a small one."""
        if self.small:
            changes |= SMALL_SIZES
        return recipes.get(name, **changes)

    def scaled(self, seconds: float) -> float:
        """Seconds of a job of ten minutes -> seconds of this one."""
        return 0.05 if self.small else seconds * self.minutes / 10

    def keep(self, result: dict) -> None:
        """Write what the part has measured so far."""
        write_json(result, self.folder / "result.json")


class Steps:
    """A recipe's trainer on the GPU, by default in the package's precision, and its batches."""

    def __init__(self, job: Job, recipe: str, speed: Speed | None = None, data: str | None = None):
        self.recipe = job.recipe(recipe)
        self.where = device.pick().device
        self.loop = OurLoop(self.recipe, self.where, speed)
        faces = to_device(Faces(data or job.synthetic), self.where)
        self.loader = iter(batches(faces, self.recipe.batch))

    def run(self, steps: int) -> float:
        """Train for some steps -> the seconds that they took."""
        wait_for_gpu()
        start = time.perf_counter()
        for _ in range(steps):
            self.loop.step(next(self.loader))
        wait_for_gpu()
        return time.perf_counter() - start

    def per_second(self, seconds: float, warm_up: int) -> float:
        """-> steps per second, after a warm-up of some steps."""
        return steps_per_second(self.loop.step, self.loader, seconds, warm_up)


def half_dtypes(where: torch.device) -> list[torch.dtype]:
    """-> half-precision types to measure, the package's choice first. A CPU has both, slowly."""
    best = best_speed(where).dtype
    if best is None and device.is_cuda(where):
        return []
    if best == torch.float16:
        return [torch.float16]
    return [torch.bfloat16, torch.float16]


def name_of(dtype: torch.dtype | None) -> str:
    """A type of a `Speed` -> its name, such as "bfloat16"."""
    return str(dtype or torch.float32).removeprefix("torch.")


def weights_of(trainer: Trainer) -> torch.Tensor:
    """-> all weights of G and D in one row, on the CPU."""
    weights = [*trainer.G.parameters(), *trainer.D.parameters()]
    return torch.cat([weight.detach().cpu().flatten() for weight in weights])


# ---- 1 device, 2 precision, 3 resume ----


def try_device(job: Job) -> dict:
    """-> what was picked, its versions, a convolution, the rates of matrix products."""
    machine = device.pick()
    where = machine.device
    result = {"picked": str(machine), "device": where.type, "CUDA": torch.version.cuda}
    result["cuDNN"] = torch.backends.cudnn.version()
    if device.is_cuda(where):
        result["capability"] = list(torch.cuda.get_device_capability(where))
        result["free and total GB"] = [size / 1e9 for size in torch.cuda.mem_get_info(where)]
    images = torch.randn(8, 16, 32, 32, generator=rng(0, "images"))
    weight = torch.randn(32, 16, 4, 4, generator=rng(0, "weights"))
    start = time.perf_counter()
    output = F.conv2d(images.to(where), weight.to(where), stride=2).cpu()
    result["seconds of the first convolution"] = time.perf_counter() - start
    difference = (output - F.conv2d(images, weight, stride=2)).abs().max().item()
    result["its largest difference from the CPU's"] = difference
    job.keep(result)
    if where.type != "cuda":
        return result | {"GFLOP/s": {"float32": limit(where, sizes=(256,))}}
    rates = {"float32": limit(where, sizes=MATRIX_SIZES)}
    for dtype in half_dtypes(where):
        rates[name_of(dtype)] = limit(where, dtype, MATRIX_SIZES)
    torch.backends.cudnn.allow_tf32 = False  # above, products use TF32 where convolutions do
    rates["float32, without TF32"] = limit(where, sizes=MATRIX_SIZES)
    return result | {"GFLOP/s": rates}


def compare_precisions(job: Job) -> dict:
    """-> self-checks of two recipes in half precision; float32 on the GPU and on the CPU."""
    where = device.pick().device
    checks = {}
    for name in ("default-gpu", "300-epochs"):
        recipe = job.recipe(name)
        images = Faces(job.synthetic)[: recipe.batch]
        for dtype in half_dtypes(where):
            plain = Trainer(recipe, device=where, speed=PLAIN)
            fast = Trainer(recipe, device=where, speed=Speed(dtype))
            checks[f"{name}, {name_of(dtype)}"] = asdict(self_check(plain, fast, images))
            job.keep({"self-checks": checks})
    return {"self-checks": checks, "float32, GPU and CPU": compare_with_cpu(job, where)}


def compare_with_cpu(job: Job, where: torch.device, steps: int = 5) -> dict:
    """A few float32 steps on both devices, without TF32 -> how far apart they are."""
    torch.backends.cudnn.allow_tf32 = False  # that of matrix products is off anyway
    recipe = job.recipe("default-gpu", width=8, batch=16)
    images = Faces(job.synthetic)[: recipe.batch]
    numbers = []
    changes = []
    for place in ("cpu", where):
        trainer = Trainer(recipe, device=place, speed=PLAIN)
        before = weights_of(trainer)
        numbers.append(torch.stack([trainer.step(images).cpu() for _ in range(steps)]))
        changes.append(weights_of(trainer) - before)
    return {
        "steps": steps,
        "loss_gap": (numbers[1] - numbers[0]).abs().max().item(),
        "cosine": F.cosine_similarity(*changes, dim=0).item(),
    }


def stop_and_resume(job: Job) -> dict:
    """-> a run from the shell, stopped and resumed; a run that moves to the GPU and back."""
    result = {"from the shell": resume_in_shell(job), "moved": []}
    job.keep(result)
    faces = Faces(job.synthetic)
    recipe = job.recipe("default-gpu", width=16, batch=16)
    run = job.folder / "moved"
    for steps, place in ((3, "cpu"), (6, device.pick().device), (9, "cpu")):
        trainer = train(recipe, faces, run, steps=steps, device=place, resume=steps > 3)
        row = {"device": str(place), "dtype": name_of(trainer.speed.dtype)}
        result["moved"].append(row | {"steps": trainer.steps_done})
        job.keep(result)
    return result


def resume_in_shell(job: Job) -> dict:
    """`train`, stopped by SIGINT after its first grids, and resumed -> how both ended."""
    run = job.folder / "shell"
    steps = 80 if job.small else 600
    command = [sys.executable, "-m", "animegan_helpers", "train", "--steps", str(steps)]
    command += ["--data", job.synthetic, "--run", str(run)]
    if job.small:
        command += ["--width", "4", "--batch", "8"]
    grid = run / "grids" / ("step_00000016.png" if job.small else "step_00000064.png")
    start = time.perf_counter()
    process = subprocess.Popen(command)
    while process.poll() is None and not grid.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    codes = [process.wait()]
    stopped_at = checkpoints.newest(run)["steps_done"]
    codes.append(subprocess.run([*command, "--resume"]).returncode)
    return {
        "exit codes": codes,
        "steps": [stopped_at, checkpoints.newest(run)["steps_done"]],
        "history is complete": read_history(run)["step"].tolist() == list(range(1, steps + 1)),
        "seconds": time.perf_counter() - start,
    }


# ---- 4 rates, 5 faces ----


def measure_rates(job: Job) -> dict:
    """-> steps per second in float32 and half precision, round by round; the cost of a save."""
    where = device.pick().device
    dtypes = [None, *half_dtypes(where)[:1]]
    trainings = {}
    for dtype in dtypes:
        speed = replace(best_speed(where), dtype=dtype)
        trainings[name_of(dtype)] = Steps(job, "default-gpu", speed)
    rates = {}
    for turn in range(3):
        warm_up = 10 if turn == 0 and not job.small else 1
        for name, training in trainings.items():
            for benchmark in (True, False):
                torch.backends.cudnn.benchmark = benchmark
                rate = training.per_second(job.scaled(1.5), warm_up)
                rates.setdefault(f"{name}, cudnn.benchmark {benchmark}", []).append(rate)
    medians = {name: statistics.median(rounds) for name, rounds in rates.items()}
    result = {"recipe": "default-gpu", "steps/s": medians, "rounds": rates}
    job.keep(result)
    return result | {"a save": cost_of_a_save(trainings["float32"].loop.trainer, job.folder)}


def cost_of_a_save(trainer: Trainer, folder: Path) -> dict:
    """-> the seconds of three saves of a checkpoint, and its size."""
    file = folder / "checkpoint.pt"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        checkpoints.save(trainer.state(), file)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "MB": file.stat().st_size / 1e6}


@contextmanager
def timed_saves() -> Iterator[list[dict]]:
    """Within it each save of a run adds its step and its seconds to the list that it gives."""
    saves = []
    save = Run.save

    def timed_save(run: Run, trainer: Trainer, log: Log) -> None:
        wait_for_gpu()  # for the steps before the save, which are no part of it
        start = time.perf_counter()
        save(run, trainer, log)
        saves.append({"step": trainer.steps_done, "seconds": time.perf_counter() - start})

    Run.save = timed_save
    try:
        yield saves
    finally:
        Run.save = save


class MarksCallback:
    """A callback of `train`: keeps a sample grid, and its label, at each mark and at the end."""

    def __init__(self, marks: Sequence[float]):
        self.marks_left = list(marks)  # in seconds
        self.grids = []
        self.labels = []
        self.last_step = 0

    def __call__(self, trainer: Trainer, log: Log) -> None:
        mark_reached = self.marks_left and trainer.seconds >= self.marks_left[0]
        is_due = log.finished or mark_reached
        if not is_due or trainer.steps_done == self.last_step:
            return
        self.last_step = trainer.steps_done
        self.marks_left = [mark for mark in self.marks_left if mark > trainer.seconds]
        self.grids.append(plotting.grid(trainer.fixed_faces(), 8))
        self.labels.append(f"{trainer.seconds:.0f} s,\nstep {trainer.steps_done:,}")


def train_on(job: Job, faces: Faces) -> tuple[Generator, dict]:
    """The default of a GPU trains for 90 s -> the EMA generator, and how the run went.

    A film strip and two sample grids are left in the job's `out`.
    """
    machine = device.pick()
    recipe = job.recipe("default-gpu")
    marks = MarksCallback([job.scaled(mark) for mark in MARKS])
    length = {"steps": 3} if job.small else {"minutes": job.scaled(MARKS[-1]) / 60}
    run = job.folder / "run"
    with timed_saves() as saves:
        trainer = train(recipe, faces, run, device=machine.device, callback=marks, **length)
    steps = trainer.steps_done
    seconds = trainer.seconds
    while_training = [save["seconds"] for save in saves if 0 < save["step"] < steps]
    result = {
        "recipe": recipe_json.to_json(recipe),
        "images in the set": len(faces),
        "dtype": name_of(trainer.speed.dtype),
        "steps": steps,
        "seconds": seconds,
        "images/s": steps * recipe.batch / seconds,
        "steps in 15 minutes, extrapolated": round(900 * steps / seconds),
        "saves": saves,
        "share of the time that saving took": sum(while_training) / seconds,
    }
    job.keep(result)
    G = trainer.ema_generator()
    save_images(job, marks, G, caption_of(result, job.part, machine))
    return G, result


def caption_of(result: dict, kind: str, machine: device.Machine) -> str:
    """How a run went -> the caption of its images."""
    dtype = "half precision" if result["dtype"] != "float32" else "float32"
    return (
        f"Recipe {result['recipe']['name']}, width {result['recipe']['width']}, on"
        f" {result['images in the set']:,} {kind} faces: {result['steps']:,} steps of"
        f" {result['recipe']['batch']} images in {result['seconds']:.0f} s on {machine.name} in"
        f" {dtype} (torch {without_build(torch.__version__)}, {date.today()})."
    )


def save_images(job: Job, marks: MarksCallback, G: Generator, caption: str) -> None:
    """A film strip and two sample grids -> PNGs in the job's `out`, and a .json beside each."""
    film = plotting.strip(marks.grids, marks.labels)
    images = {"film": (film, "Film strip of eight latent vectors, from noise to faces")}
    for seed in (1, 2):
        grid = plotting.grid(sample(G, 64, seed), 8, zoom=2)
        images[f"{seed}"] = (grid, f"64 faces, eight by eight, seed {seed}")
    for name, (image, alt) in images.items():
        path = Path(job.out) / f"gpu_{job.part}_{name}.png"
        write_png(image, path)
        write_json({"caption": caption, "alt": f"{alt}. {caption}"}, path.with_suffix(".json"))


def train_on_synthetic(job: Job) -> dict:
    """-> how a run on the synthetic faces went, and the measures of its faces."""
    faces = Faces(job.synthetic)
    G, result = train_on(job, faces)
    count = 70 if job.small else 2000
    return result | {"measured": metrics.measure(G, faces, load_judge(), count=count, seeds=(0,))}


def train_on_real(job: Job) -> dict:
    """-> how a run on the real faces went. Nothing here can measure them: look at the images."""
    return train_on(job, Faces(job.real))[1]


# ---- 6 profile, 7 graph, 8 long ----


def profile_steps(job: Job) -> dict:
    """-> the operations of a step, how busy they keep the GPU, and the most expensive ones."""
    training = Steps(job, "default-gpu")
    steps = 3 if job.small else 20
    training.run(steps)
    seconds = training.run(steps)  # the profiler slows down the launches
    with torch.profiler.profile() as profiler:
        training.run(steps)
    microseconds = Counter()
    counts = Counter()
    for event in profiler.events():
        if is_operation(event, on_gpu=training.where.type == "cuda"):
            microseconds[event.name] += event.time_range.elapsed_us()
            counts[event.name] += 1
    most_expensive = {}
    for name, total in microseconds.most_common(10):
        row = {"share": total / microseconds.total(), "per step": counts[name] / steps}
        most_expensive[name[:120]] = row
    return {
        "steps": steps,
        "seconds of a step": seconds / steps,
        "operations of a step": counts.total() / steps,
        "share of the time in which the GPU computes": microseconds.total() / 1e6 / seconds,
        "most expensive": most_expensive,
    }


def is_operation(event: torch.autograd.profiler_util.FunctionEvent, on_gpu: bool) -> bool:
    """-> whether an event is a kernel of the GPU; on a CPU, an operation that calls no other."""
    if on_gpu:
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
        return is_kernel and not event.is_user_annotation
    return event.name.startswith("aten::") and not event.cpu_children


def page_10() -> dict:
    """-> what the cells of page 10 on compiling and on CUDA graphs define, by name."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = {}
    for text in CELLS:
        (source,) = [source for source in sources if text in source]
        exec(compile(source, PAGE.name, "exec"), names)
    return names


def climb_page_10(job: Job) -> dict:
    """-> images per second of each of RUNGS, and their share of the rate of matrix products."""
    where = device.pick().device
    page = page_10()
    best = best_speed(where)
    matrix_rates = {}
    result = {}
    for name, (recipe, how) in RUNGS.items():
        speed = best
        has_scaler = best.dtype == torch.float16  # it needs the CPU in each step
        if "float32" in how or ("graph" in how and has_scaler):
            speed = replace(best, dtype=None)
        training = Steps(job, recipe, speed)
        trainer = training.loop.trainer
        if "compiled" in how:
            trainer.train_step = page["compiled_step"](train_step)
        if "graph" in how:
            trainer.train_step = page["graphed_step"](trainer.train_step)
            page["use_capturable_adams"](trainer)
        row = {"dtype": name_of(speed.dtype), "seconds of the first step": training.run(1)}
        rate = training.per_second(job.scaled(1.5), warm_up=40) * training.recipe.batch
        if speed.dtype not in matrix_rates:
            dtype = speed.dtype or torch.float32
            matrix_rates[speed.dtype] = 1e9 * limit(where, dtype, MATRIX_SIZES)
        share = rate * flops(training.recipe) / matrix_rates[speed.dtype]
        row |= {"images/s": rate, "share of the matrix rate": share}
        training.loop.log.fetch()
        losses = [step["loss_d"] for step in training.loop.log.rows]
        row["D's loss at steps 1, 8, 40"] = [losses[0], losses[7], losses[39]]
        result[name] = row
        job.keep(result)
        del trainer, training
        gc.collect()  # before the next rung records its graph
    return result


def run_long(job: Job) -> dict:
    """-> the time of source 1's whole run, extrapolated from up to 2,000 steps after a warm-up."""
    training = Steps(job, "300-epochs", data=job.real)
    steps = 2 if job.small else 250
    training.run(1 if job.small else 20)
    rounds = []
    while len(rounds) < 8 and sum(rounds) < job.scaled(25):
        rounds.append(training.run(steps))
    rate = steps * len(rounds) / sum(rounds)
    return {
        "recipe": training.recipe.name,
        "steps": steps * len(rounds),
        "steps/s": [steps / seconds for seconds in rounds],
        "minutes of all 149,100 steps, extrapolated": training.recipe.steps / rate / 60,
    }


# ---- 9 processes, and the search ----


def train_as_one_of_two(job: Job) -> dict:
    """In each of two processes: train together -> how far apart their weights are."""
    # both processes get the same GPU: neither `distributed.join` nor `device.pick` would do that
    where = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    processes = Distributed(dist.get_rank(), dist.get_world_size())
    result = {"processes": processes.world_size, "device": where.type}
    for name in ("default-gpu", "300-epochs"):  # batch norm in G; in both networks
        recipe = job.recipe(name, width=16, batch=16)
        images = Faces(job.synthetic)[: recipe.batch]
        trainer = Trainer(recipe, device=where, distributed=processes)
        numbers = torch.stack([trainer.step(images) for _ in range(4)])
        weights = [torch.empty_like(weights_of(trainer)) for _ in range(2)]
        dist.all_gather(weights, weights_of(trainer))
        result[name] = {
            "steps": trainer.steps_done,
            "finite": bool(numbers.isfinite().all()),
            "largest difference of a weight": (weights[0] - weights[1]).abs().max().item(),
        }
    dist.destroy_process_group()
    return result


def try_recipe(job: Job) -> dict:
    """-> how one of TRIES went, and the numbers of its faces."""
    from race import numbers_of  # slow to load

    recipe = job.recipe("default-gpu", **TRIES[job.part])
    faces = Faces(job.synthetic)
    run = job.folder / "run"
    trainer = train(recipe, faces, run, device=device.pick().device, minutes=job.search / 60)
    result = {
        "recipe": recipe_json.to_json(recipe),
        "steps": trainer.steps_done,
        "seconds": trainer.seconds,
        "images/s": trainer.steps_done * recipe.batch / trainer.seconds,
    }
    job.keep(result)
    return result | numbers_of(load_generator(run), faces, load_judge(), 0)


PARTS = {
    "device": try_device,
    "precision": compare_precisions,
    "resume": stop_and_resume,
    "rates": measure_rates,
    "synthetic": train_on_synthetic,
    "real": train_on_real,
    "profile": profile_steps,
    "graph": climb_page_10,
    "long": run_long,
    "processes": train_as_one_of_two,
}


# ---- each part in a process ----


def run_part(job: Job) -> None:
    """In a process of its own: a part, or a try -> result.json in its folder."""
    has_gpu = device.pick().device.type == "cuda"
    if has_gpu or job.small or job.part == "device":
        part = PARTS.get(job.part, try_recipe)
        result = part(job)
    else:
        result = {"skipped": "no NVIDIA GPU could be used: see part device"}
    if os.environ.get("RANK", "0") == "0":  # of two processes the first one writes
        job.keep(result)


def reason_to_skip(job: Job) -> str:
    """-> why no process is started for a part; "" if one is."""
    if job.part == "real" and job.real is None:
        return "--data names no real faces"
    if job.part == "graph" and not torch.cuda.is_available():
        return "CUDA graphs need an NVIDIA GPU"
    return ""


def command_of(job: Job) -> list[str]:
    """-> the command that does a job in a process of its own, or in two."""
    command = [sys.executable]
    if job.part == "processes":
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return [*command, __file__, "--part", job.part, "--work", job.work]


class PartProcess:
    """A part that runs in a process of its own, from the moment it is made."""

    def __init__(self, job: Job, timeout: float):
        self.job = job
        self.timeout = timeout
        self.start = time.perf_counter()
        job.folder.mkdir()
        self.stderr = job.folder / "stderr.txt"
        with open(self.stderr, "wb") as file:
            self.process = subprocess.Popen(
                command_of(job), stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
            )

    def seconds(self) -> float:
        """-> the seconds since its start."""
        return time.perf_counter() - self.start

    def is_over(self) -> bool:
        """-> whether it has ended, or must."""
        return self.process.poll() is not None or self.seconds() > self.timeout

    def end(self) -> None:
        """End it and all that it has started. Torchrun, asked first, ends its own processes."""
        if self.process.poll() is not None:
            return
        if os.name != "posix":
            self.process.kill()
            self.process.wait()
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    def outcome(self) -> dict:
        """End it if need be -> what it measured, and how it ended unless that was in order."""
        code = self.process.poll()  # None if it still runs
        self.end()
        lines = self.stderr.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        warned = [line for line in lines if "Warning: " in line]
        outcome = {}
        if code is None:
            outcome["timeout"] = self.timeout
        elif code:
            if len(lines) > 60:  # torchrun's own report comes last, the error before it
                lines = [*lines[:30], "...", *lines[-30:]]
            outcome["error"] = "\n".join([*lines, f"exit code {code}"])
        elif warned:
            outcome["warnings"] = warned[:5]
        result = self.job.folder / "result.json"
        if result.exists():
            outcome |= json.loads(result.read_text(encoding="utf-8"))
        return outcome | {"seconds in all": round(self.seconds(), 1)}


def run_all(job: Job, timeouts: dict[str, float], results: dict, file: Path) -> None:
    """Parts and their timeouts -> `results["parts"]`, written to the file after each part.

    They run one after the other; of a small job, whose numbers mean nothing, two at a time.
    """
    write_json(asdict(job), Path(job.work) / "job.json")
    results["parts"] = {}
    waiting = [replace(job, part=part) for part in timeouts]
    running = []
    try:
        while waiting or running:
            while waiting and len(running) < (2 if job.small else 1):
                next_job = waiting.pop(0)
                if reason_to_skip(next_job):
                    record({"skipped": reason_to_skip(next_job)}, next_job, results, file)
                else:
                    running.append(PartProcess(next_job, timeouts[next_job.part]))
            for part in [part for part in running if part.is_over()]:
                running.remove(part)
                record(part.outcome(), part.job, results, file)
            time.sleep(0.05)
    finally:  # Ctrl-C
        for part in running:
            part.end()


def record(outcome: dict, job: Job, results: dict, file: Path) -> None:
    """Add a part's outcome to the results, write them to the file, print a line."""
    results["parts"][job.part] = outcome
    write_json(results, file)
    ending = next((key for key in ("error", "timeout", "skipped") if key in outcome), "done")
    print(f"{job.part:<34}{outcome.get('seconds in all', 0):6.1f} s  {ending}", flush=True)


def prepared(args: argparse.Namespace, work: Path) -> tuple[dict, dict]:
    """-> the folders of the prepared sets, "synthetic" and "real"; what preparing them took."""
    folders = {"real": None}
    facts = {}
    for name, source in (("synthetic", "drawn"), ("real", args.data)):
        if source is None:
            continue
        start = time.perf_counter()
        if name == "synthetic" and args.small:
            count = 512 if args.search else 140
            faces = prepare(drawn.write(work / "drawn", count), work / "faces")
        else:
            faces = load_faces(source)
        folders[name] = str(faces.folder.resolve())
        facts[name] = {"images": len(faces), "seconds": round(time.perf_counter() - start, 1)}
    return folders, facts


def measure(args: argparse.Namespace, work: Path) -> None:
    """All parts that were asked for, or the search -> a JSON file in `args.out`."""
    folders, facts = prepared(args, work)
    results = versions("cuda" if torch.cuda.is_available() else "cpu")
    results |= {"processor": processor(), "small": args.small, "prepared": facts}
    settings = {"small": args.small, "minutes": args.minutes, "search": args.search}
    job = Job(str(work), str(args.out.resolve()), **folders, **settings)
    if args.search:
        tries = list(TRIES)[: 3 if args.small else None]
        timeouts = {name: args.search + 60 for name in tries}
        file = args.out / "gpu_search.json"
    else:
        parts = args.only or TIMEOUTS
        timeouts = {name: TIMEOUTS[name] * args.minutes / 10 for name in parts}
        file = args.out / "gpu.json"
    run_all(job, timeouts, results, file)
    print(f"the results are in {file}")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="real faces: a zip, a folder, a prepared set, or a public set's name")
    add("--out", type=Path, default=plotting.RECORDED)
    add("--only", nargs="+", choices=TIMEOUTS, metavar="PART", help=", ".join(TIMEOUTS))
    add("--small", action="store_true")
    add("--minutes", type=float, default=10, help="of all parts: trainings and timeouts follow")
    add("--search", type=float, metavar="SECONDS", help="try recipes, each for so long")
    add("--part", help=argparse.SUPPRESS)  # of a process that is started here
    add("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.part:
        settings = json.loads((args.work / "job.json").read_text(encoding="utf-8"))
        run_part(replace(Job(**settings), part=args.part))
        return
    if (args.small or args.only) and args.out == plotting.RECORDED:
        parser.error("--small and --only don't make the whole record: name a folder with --out")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        measure(args, Path(work))


if __name__ == "__main__":
    main()
