"""Batches of faces become a trained generator: the loop. Built on page 05."""

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from . import runs
from .dataset import batches, describe, split
from .distributed import Distributed
from .files import expand
from .locks import lock
from .recipes import Recipe
from .run_writer import Run
from .speed import LEAST_SPEEDUP, PLAIN, Speed, self_check, to_device
from .step_rate import StepRate
from .stop_signals import stop_requested
from .trainer import Trainer


@dataclass(frozen=True)
class Length:
    """How long a run trains in all: `total` steps, or seconds of training."""

    total: float
    unit: str  # "step" or "s"

    def done(self, trainer: Trainer) -> float:
        """-> how much of it the trainer has behind it."""
        return trainer.steps_done if self.unit == "step" else trainer.seconds


def training_length(
    recipe: Recipe,
    steps: int | None,
    epochs: int | None,
    minutes: float | None,
    steps_per_epoch: int,
) -> Length:
    """Minutes, steps or epochs, else what the recipe says -> the length of the run.

    Raises ValueError for a number that is not above 0, or if neither you nor the recipe says it.
    """
    for name, value in {"steps": steps, "epochs": epochs, "minutes": minutes}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}: it must be above 0")
    if minutes is not None:
        return Length(60 * minutes, "s")
    if steps:
        return Length(steps, "step")
    if epochs:
        return Length(epochs * steps_per_epoch, "step")
    if recipe.steps:
        return Length(recipe.steps, "step")
    if recipe.epochs:
        return Length(recipe.epochs * steps_per_epoch, "step")
    raise ValueError(
        f"recipe {recipe.name} does not say how long to train: give steps, epochs or minutes"
    )


def train(
    recipe: Recipe,
    faces: Dataset,
    run: str | Path,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = False,
    from_run: str | Path | None = None,
    callback: Callable | None = None,
    workers: int = 0,
    speed: Speed | None = None,
    distributed: Distributed | None = None,
) -> Trainer:
    """Train on a `Faces` set until `steps`, `epochs` or `minutes` in all, or as the recipe says.

    `run` is a folder. `resume` goes on from its newest checkpoint; `from_run` starts with another
    run's networks. SIGINT (Ctrl-C, the notebook's stop button) ends it after the current step,
    saved; SIGTERM does, too, and then ends the process. `callback(trainer, log)` is called when
    `log.rows` has grown and once at the end. Raises FileExistsError for an existing run without
    `resume`, CheckpointError for a bad one, Locked for one in training, ValueError for wrong sizes.
    """
    run = expand(run)
    distributed = distributed or Distributed()
    if recipe.held_out:
        faces = Subset(faces, split(len(faces), recipe.held_out)[0])
    with _only_process(distributed, run, resume), stop_requested() as stop:
        faces = faces if workers else to_device(faces, device)
        trainer = Trainer(recipe, seed, device, speed=speed, distributed=distributed)
        _begin(trainer, run, faces, resume, from_run)
        loader = batches(faces, recipe.batch, seed, trainer.steps_done, workers)
        length = training_length(recipe, steps, epochs, minutes, steps_per_epoch=len(loader))
        _self_check(trainer, faces, is_choice=speed is not None)
        writer = Run(run, describe(faces), writes=distributed.is_main)
        _loop(trainer, loader, writer, length, stop, callback)
    return trainer


def _check_size(faces: Dataset, recipe: Recipe) -> None:
    """Raises ValueError for images of another size than the recipe's."""
    if len(faces) == 0:
        return  # `batches` says so
    height, width = faces[[0]].shape[1:3]
    if (height, width) != (recipe.size, recipe.size):
        raise ValueError(
            f"the images have {width}x{height} pixels, and recipe {recipe.name} is for"
            f" {recipe.size}x{recipe.size}: prepare the images at that size, or change the size of"
            " the recipe"
        )


@contextmanager
def _only_process(distributed: Distributed, run: Path, resume: bool) -> Iterator[None]:
    """Within it the process that writes to a run's folder holds its lock; a new run is new."""
    if not distributed.is_main:
        yield
        return
    with lock(run, "training"):
        if not resume:
            runs.refuse_existing(run)
        yield


def _begin(trainer, run, faces, resume, from_run) -> None:
    """Load what a run goes on from or starts from."""
    _check_size(faces, trainer.recipe)
    if resume and from_run:
        raise ValueError("choose one: a run is resumed (resume) or starts from another (from_run)")
    with trainer.distributed.main_process_first():
        if resume:
            runs.resume(trainer, run, len(faces))
        if from_run:
            runs.start_from(trainer, from_run)


def _self_check(trainer: Trainer, faces: Dataset, is_choice: bool) -> None:
    """The trainer goes on in float32 where half precision fails the self-check, and says why.

    So it does where half precision is slower, unless it was the caller's choice. The main process
    checks; all processes share its verdict.
    """
    recipe, processes = trainer.recipe, trainer.distributed
    plain_is_better = trainer.speed.dtype is None
    if trainer.speed.dtype and processes.is_main:
        images = next(iter(batches(faces, recipe.batch, trainer.seed)))
        images = images[: max(2, min(128, recipe.batch // processes.world_size))]  # must fit
        plain = Trainer(recipe, trainer.seed, trainer.device, speed=PLAIN)
        fast = Trainer(recipe, trainer.seed, trainer.device, speed=trainer.speed)
        check = self_check(plain, fast, images)
        print(check)
        if check.problem:
            warnings.warn(f"training in float32: {check.problem}", stacklevel=3)
        is_slower = check.speedup < LEAST_SPEEDUP and not is_choice
        if is_slower and not check.problem:
            print("training in float32: half precision is slower here")
        plain_is_better = bool(check.problem) or is_slower
    if processes.any(plain_is_better):
        trainer.speed = replace(trainer.speed, dtype=None)
        trainer.scaler = None


def _loop(
    trainer: Trainer,
    loader: DataLoader,
    run: Run,
    length: Length,
    stop: threading.Event,
    callback: Callable | None,
) -> None:
    log = run.open(trainer)
    start = time.perf_counter() - trainer.seconds
    rate = StepRate(trainer.steps_done, trainer.seconds)
    with _progress_bar(length, trainer, run) as bar, run.keep(log):
        for images in loader:
            if trainer.distributed.any(length.done(trainer) >= length.total or stop.is_set()):
                break
            log.append(trainer.step(images))  # flip, z, train_step, EMA
            trainer.seconds = time.perf_counter() - start
            if run.grid_due(trainer):
                run.save_grid(trainer)
            if run.save_due(trainer):
                run.save(trainer, log)
            if log.fetched():  # losses and scores come from the device every few steps
                _show_progress(bar, trainer, log, rate)
                if callback:
                    callback(trainer, log)
            bar.update(min(length.total, round(length.done(trainer))) - bar.n)
        run.finish(trainer, log)
        log.finished = True
        if callback and log.rows:
            callback(trainer, log)


def _progress_bar(length, trainer, run) -> tqdm:
    return tqdm(
        total=length.total,
        initial=round(length.done(trainer)),
        unit=length.unit,
        desc=run.path.name,
        mininterval=1,
        disable=not run.writes,
    )


def _show_progress(bar, trainer, log, rate) -> None:
    warning = rate.update(trainer.steps_done, trainer.seconds)
    if warning and not bar.disable:
        tqdm.write(warning, file=sys.stderr)
    row = log.rows[-1]
    numbers = {"step": trainer.steps_done, "steps/s": f"{rate.per_second:.1f}"}
    losses = {"D": f"{row['loss_d']:.2f}", "G": f"{row['loss_g']:.2f}"}
    bar.set_postfix(**numbers, **losses, refresh=False)
