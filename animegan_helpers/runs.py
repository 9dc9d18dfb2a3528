"""A run's folder: recipe, history, sample grids, checkpoints, networks. Written, read, resumed."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import checkpoints, plotting, recipes
from .checkpoints import CheckpointError
from .generator import Generator, make_generator, sample
from .history import Log, json_lines, parse_rows, read_history
from .trainer import Trainer

PART_NAMES = {"opt_g": "G's optimizer", "opt_d": "D's optimizer"}  # parts of a state, in words


class Run:
    """The folder of a run while it trains. Only the main process writes (`writes`)."""

    def __init__(self, path: str | Path, images: int, steps_per_epoch: int, writes: bool = True):
        self.path = Path(path)
        self.images = images
        self.steps_per_epoch = steps_per_epoch
        self.writes = writes
        self.history_file = self.path / "history.jsonl"

    def open(self, trainer: Trainer) -> Log:
        """Write recipe.json and the history up to now; -> the log. Rows of lost steps are cut."""
        rows = []
        if self.writes:
            rows = self._rows_until(trainer.steps_done)
            recipe = json.dumps(recipes.to_json(trainer.recipe), indent=1)
            checkpoints.atomic_write(self.path / "recipe.json", recipe.encode())
            checkpoints.atomic_write(self.history_file, json_lines(rows).encode())
        self._rows_written = len(rows)
        self._saved_at = trainer.seconds  # of training
        self._saved_step = trainer.steps_done
        log = Log(trainer.speed.fetch_every, trainer.steps_done, rows)
        if trainer.steps_done == 0:
            self.save(trainer, log)
        return log

    def _rows_until(self, step) -> list[dict]:
        if step == 0 or not self.history_file.exists():
            return []
        text = self.history_file.read_text(encoding="utf-8", errors="replace")
        return [row for row in parse_rows(text) if row["step"] <= step]

    def save_due(self, trainer: Trainer) -> bool:
        """-> whether to save now: at steps 16, 32, 64 ..., after each epoch and every 2 minutes."""
        step = trainer.steps_done
        is_power_of_two = step >= 16 and step.bit_count() == 1
        is_end_of_epoch = step % self.steps_per_epoch == 0
        return is_power_of_two or is_end_of_epoch or trainer.seconds - self._saved_at > 120

    def save(self, trainer: Trainer, log: Log) -> None:
        """Write a sample grid of 64 faces, the new rows of the history, and a checkpoint.

        Raises FloatingPointError, before anything is written, if a part is not finite.
        """
        if not self.writes:
            return
        log.fetch()
        step = trainer.steps_done
        state = trainer.state()
        for name, part in state.items():
            if not _is_finite(part):
                part_name = PART_NAMES.get(name, name)
                cure = "try a lower learning rate"
                raise FloatingPointError(f"{part_name} is not finite at step {step}: {cure}")
        grid = io.BytesIO()
        plotting.grid(trainer.fixed_faces(), 8).save(grid, "PNG")
        checkpoints.atomic_write(self.path / "grids" / f"step_{step:08d}.png", grid.getvalue())
        self.write_history(log)
        state["images"] = self.images
        checkpoints.save(state, checkpoints.at_step(self.path, step))
        checkpoints.prune(self.path)
        self._saved_step = step
        self._saved_at = trainer.seconds

    def write_history(self, log: Log) -> None:
        """Append the new rows to history.jsonl. Raises CheckpointError if it can't be written."""
        if not self.writes:
            return
        try:
            with open(self.history_file, "a", encoding="utf-8") as file:
                file.write(json_lines(log.rows[self._rows_written :]))
        except OSError as error:
            reason = f"{self.history_file} can't be written ({error.strerror or error})"
            raise CheckpointError(f"{reason}: free some space, then resume") from error
        self._rows_written = len(log.rows)

    def finish(self, trainer: Trainer, log: Log) -> None:
        """Save the last state, and both networks: G.pth (the one to use, with EMA) and D.pth."""
        log.fetch()
        if not self.writes:
            return
        if self._saved_step != trainer.steps_done:
            self.save(trainer, log)
        checkpoints.save(trainer.ema_generator().state_dict(), self.path / "G.pth")
        checkpoints.save(trainer.D.state_dict(), self.path / "D.pth")

    @contextmanager
    def keep(self, log: Log) -> Iterator[None]:
        """If what happens within it fails, the rows that led to it are written, if they can be."""
        try:
            yield
        except BaseException:
            with suppress(CheckpointError):
                self.write_history(log)
            raise


def _is_finite(part) -> bool:
    if isinstance(part, dict):
        return all(_is_finite(value) for value in part.values())
    return not isinstance(part, torch.Tensor) or bool(part.isfinite().all())


def refuse_existing(run: str | Path) -> None:
    """Raises FileExistsError if the folder holds a run: a new one would overwrite it."""
    if checkpoints.saved(run):
        cure = "go on with it (--resume, resume=True) or choose another name"
        raise FileExistsError(f"{run} holds a run already: {cure}")


def new_run(folder: str | Path, name: str) -> Path:
    """-> `folder/name`, or `folder/name-2` and so on where that holds a run already."""
    run = Path(folder) / name
    number = 2
    while (run / "checkpoints").exists():
        run = Path(folder) / f"{name}-{number}"
        number += 1
    return run


def read_recipe(run: str | Path) -> recipes.Recipe:
    """A run's folder -> its recipe. Raises CheckpointError if it is not a run's folder."""
    try:
        text = (Path(run) / "recipe.json").read_text(encoding="utf-8")
        return recipes.from_json(json.loads(text))
    except (OSError, ValueError) as error:
        reason = f" ({error})" if "version 0.1" in str(error) else ""
        message = f"{run} is not a run's folder: it has no readable recipe.json{reason}"
        raise CheckpointError(message) from None


def load_generator(run: str | Path) -> Generator:
    """A run's folder -> its generator, in eval mode.

    Raises CheckpointError if it is not the folder of a finished run.
    """
    recipe = read_recipe(run)
    weights = checkpoints.load(Path(run) / "G.pth")
    with torch.random.fork_rng(devices=[]):  # weights are initialized, then replaced
        G = make_generator(recipe)
    try:
        G.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{run}/G.pth does not fit {run}/recipe.json: train again") from error
    return G.eval()


def resume(trainer: Trainer, run: str | Path, images: int) -> None:
    """The newest good checkpoint of a run -> the trainer.

    Raises CheckpointError if it was trained on another number of images, recipe or seed.
    """
    state = checkpoints.newest(run)
    trainer.load_state(state)
    if state.get("images") != images:
        begun = f"{run} was begun with {state.get('images')} images, not {images}"
        raise CheckpointError(f"{begun}: resume with the same data")


def start_from(trainer: Trainer, run: str | Path) -> None:
    """Fine-tuning: the networks of a finished run become the trainer's; all else begins anew.

    Raises CheckpointError if it is not a finished run, or has networks of another kind.
    """
    recipe = read_recipe(run)
    for network, file in ((trainer.G, "G.pth"), (trainer.D, "D.pth")):
        weights = checkpoints.load(Path(run) / file)
        try:
            network.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"{run} has other networks (recipe {recipe.name}, width {recipe.width}, latent"
                f" vectors of {recipe.z_dim}): go on from it with its own recipe and sizes, or"
                " begin anew, without from_run"
            ) from error
    trainer.reset_ema()


def _grid_files(run) -> list[Path]:
    paths = sorted((Path(run) / "grids").glob("step_*.png"))
    if not paths:
        raise FileNotFoundError(f"{run} has no grids: it is not a run's folder, or has not begun")
    return paths


def sample_grids(run: str | Path, count: int = 6) -> tuple[list[Image.Image], list[int]]:
    """A run's folder -> `count` of its sample grids, ever further apart, and their steps.

    The first and the last are among them. Raises FileNotFoundError if there are none.
    """
    paths = _grid_files(run)
    steps = [int(path.stem.removeprefix("step_")) for path in paths]
    count = min(count, len(paths))
    targets = [0, *np.geomspace(16, max(16, steps[-1]), count - 1)]  # even on a logarithmic scale
    chosen = []
    for i, target in enumerate(targets):
        nearest = int(np.abs(np.log1p(steps) - np.log1p(target)).argmin())
        earliest = chosen[-1] + 1 if chosen else 0  # each later than the one before
        latest = len(paths) - (count - i)  # and one left for each that follows
        chosen.append(min(max(nearest, earliest), latest))
    images = [Image.open(paths[i]).convert("RGB") for i in chosen]
    return images, [steps[i] for i in chosen]


def film(run: str | Path, path: str | Path, milliseconds: int = 150) -> Path:
    """A run's folder -> all its sample grids as a film, a .gif or .webp by the ending of `path`."""
    frames = [Image.open(file).convert("RGB") for file in _grid_files(run)]
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return Path(path)


def write_images(run: str | Path) -> list[Path]:
    """A finished run's folder -> the images that the sources show of theirs, written into it.

    losses.png and scores.png (one point a step), samples_1.png and samples_2.png (64 faces each),
    film.gif (64 fixed latent vectors, one frame a sample grid).
    """
    run = Path(run)
    G = load_generator(run)
    history = read_history(run)
    paths = []
    if history:  # a run that was stopped before its first step has none
        paths.append(plotting.show_losses(history).save(run / "losses.png"))
        paths.append(plotting.show_scores(history).save(run / "scores.png"))
    for seed in (1, 2):
        figure = plotting.show_grid(sample(G, 64, seed), f"64 new faces, from seed {seed}.", 8, 2)
        paths.append(figure.save(run / f"samples_{seed}.png"))
    return [*paths, film(run, run / "film.gif")]
