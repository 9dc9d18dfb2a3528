"""A trainer becomes a run's folder: recipe, history, grids, checkpoints, networks. Page 05."""

import io
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from . import checkpoints, plotting, recipe_json
from .checkpoints import CheckpointError
from .history import Log, json_lines, parse_rows
from .runs import DATA, MEASURES, NETWORKS
from .trainer import Trainer

SAVE_SECONDS = 30  # at least this long between two checkpoints ...
SAVE_SHARE = 0.02  # ... and long enough that saving takes at most this share of the time
PART_NAMES = {"opt_g": "G's optimizer", "opt_d": "D's optimizer"}  # parts of a state, in words


class Run:
    """The folder of a run while it trains. Only the main process writes (`writes`)."""

    def __init__(self, path: str | Path, data: dict, writes: bool = True):
        """`data` is what `dataset.describe` says of the set that is trained on."""
        self.path = Path(path)
        self.data = data
        self.writes = writes
        self.history_file = self.path / "history.jsonl"

    def open(self, trainer: Trainer) -> Log:
        """Write recipe.json, data.json and the history up to now; -> the log, without lost steps.

        Networks from before the run was resumed are removed: its checkpoint holds them, too. So are
        damaged checkpoints and sample grids of later steps.
        """
        rows = []
        if self.writes:
            rows = self._rows_until(trainer.steps_done)
            recipe = json.dumps(recipe_json.with_version(trainer.recipe), indent=1)
            checkpoints.atomic_write(self.path / "recipe.json", recipe.encode())
            data = json.dumps(self.data, indent=1)
            checkpoints.atomic_write(self.path / DATA, data.encode())
            checkpoints.atomic_write(self.history_file, json_lines(rows).encode())
            for name in NETWORKS:
                (self.path / name).unlink(missing_ok=True)
            checkpoints.delete_after(self.path, trainer.steps_done)
            for grid in (self.path / "grids").glob("step_*.png"):
                if grid > self._grid(trainer.steps_done):
                    grid.unlink()
        self._rows_written = len(rows)
        self._saved_step = trainer.steps_done
        self._next_save = trainer.seconds + SAVE_SECONDS  # as trainer.seconds counts
        self._save_seconds = math.inf  # of the last save
        log = Log(trainer.speed.fetch_every, trainer.steps_done, rows)
        if trainer.steps_done == 0:
            self.save(trainer, log)
            self.save_grid(trainer)
        return log

    def _rows_until(self, step) -> list[dict]:
        if step == 0 or not self.history_file.exists():
            return []
        text = self.history_file.read_text(encoding="utf-8", errors="replace")
        by_step = {row["step"]: row for row in parse_rows(text) if row["step"] <= step}
        return [by_step[step] for step in sorted(by_step)]

    def save_due(self, trainer: Trainer) -> bool:
        """-> whether to save now: after 30 s, or later if saving would take more than 2 %."""
        return trainer.seconds >= self._next_save

    def grid_due(self, trainer: Trainer) -> bool:
        """-> whether the film needs a grid: at steps 16, 24, 32, 48, 64, 96, 128 and so on."""
        step = trainer.steps_done
        doublings = step.bit_length() - 4
        return doublings > 0 and step in (8 << doublings, 12 << doublings)

    def save_grid(self, trainer: Trainer) -> None:
        """Write a sample grid of 64 faces, a frame of the run's film."""
        if not self.writes:
            return
        grid = io.BytesIO()
        plotting.grid(trainer.fixed_faces(), 8).save(grid, "PNG")
        checkpoints.atomic_write(self._grid(trainer.steps_done), grid.getvalue())

    def _grid(self, step) -> Path:
        return self.path / "grids" / f"step_{step:08d}.png"

    def save(self, trainer: Trainer, log: Log) -> None:
        """Write the new rows of the history, and a checkpoint. Measures of an earlier one go.

        Raises FloatingPointError, before anything is written, if a part is not finite.
        """
        if not self.writes:
            return
        start = time.perf_counter()
        log.fetch()
        step = trainer.steps_done
        state = trainer.state()
        for name, part in state.items():
            if not _is_finite(part):
                part_name = PART_NAMES.get(name, name)
                cure = "try a lower learning rate"
                raise FloatingPointError(f"{part_name} is not finite at step {step}: {cure}")
        self.write_history(log)
        state["images"] = self.data["images"]
        checkpoints.save(state, checkpoints.at_step(self.path, step))
        with suppress(OSError):  # another process may read it now
            (self.path / MEASURES).unlink(missing_ok=True)
        checkpoints.prune(self.path)
        self._saved_step = step
        seconds = time.perf_counter() - start
        usual = min(seconds, self._save_seconds)  # a disk may stall once
        self._save_seconds = seconds
        self._next_save = trainer.seconds + max(SAVE_SECONDS, usual / SAVE_SHARE)

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
        self.save_grid(trainer)
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
