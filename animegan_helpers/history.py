"""(4,) numbers of each step become rows, and history.jsonl becomes curves. Built on page 05."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from .files import expand

NUMBERS = ("loss_d", "loss_g", "score_real", "score_fake")


class Log:
    """The history of a run in memory, `rows`: a dict of step, losses and scores for each step.

    Numbers are fetched from the device every `fetch_every` steps: each copy makes it wait.
    `finished` is set before the last call of a callback.
    """

    def __init__(self, fetch_every: int = 1, steps_done: int = 0, rows: list[dict] | None = None):
        self.fetch_every = fetch_every
        self.rows = rows or []
        self.finished = False
        self._next_step = steps_done + 1
        self._waiting = []
        self._rows_reported = len(self.rows)

    def append(self, numbers: torch.Tensor) -> None:
        """Keep the four numbers of `Trainer.step`, still on the device."""
        self._waiting.append(numbers)

    def fetch(self) -> None:
        """Numbers that wait on the device become rows.

        Raises FloatingPointError that names the step and the loss that is not finite.
        """
        if not self._waiting:
            return
        values = torch.stack(self._waiting).tolist()
        self._waiting.clear()
        for step_values in values:
            row = {"step": self._next_step}
            row.update(zip(NUMBERS, step_values))
            for name in ("loss_d", "loss_g"):
                if not math.isfinite(row[name]):
                    raise FloatingPointError(
                        f"{name} is {row[name]} at step {row['step']}: try a lower learning rate"
                    )
            self.rows.append(row)
            self._next_step += 1

    def fetched(self) -> bool:
        """Fetch numbers if they are due; -> whether there are rows that were not reported yet."""
        if len(self._waiting) >= self.fetch_every:
            self.fetch()
        has_news = len(self.rows) > self._rows_reported
        self._rows_reported = len(self.rows)
        return has_news


def json_lines(rows: list[dict]) -> str:
    """Rows -> the text of history.jsonl."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def parse_rows(text: str) -> list[dict]:
    """The text of history.jsonl -> its rows, up to a line that a power cut has torn."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def read_history(run: str | Path) -> dict[str, np.ndarray]:
    """A run's folder -> `step`, `loss_d`, `loss_g`, `score_real`, `score_fake`: one number a step.

    A run without a step gives {}. Raises FileNotFoundError without a history.jsonl.
    """
    text = (expand(run) / "history.jsonl").read_text(encoding="utf-8", errors="replace")
    return columns(parse_rows(text))


def columns(rows: list[dict]) -> dict[str, np.ndarray]:
    """Rows of a history -> an array for each of their names."""
    if not rows:
        return {}
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
