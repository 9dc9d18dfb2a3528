"""The rows of a history and 64 faces become warnings of what goes wrong. Built on page 08.

Each alarm returns a sentence that names the symptom and a cure, or "" while all is well.
"""

import math
import statistics
from collections.abc import Callable

import torch
from tqdm import tqdm

from .history import Log
from .judge import AnyFaces
from .metrics import thumbnails
from .trainer import Trainer

WARM_UP = 300  # steps: before them, even the faces of a good run are alike


def not_finite(rows: list[dict]) -> str:
    """The rows of a history -> which number is the first that is not finite, and at which step."""
    for row in rows:
        for name, value in row.items():
            if not math.isfinite(value):
                return (
                    f"not finite: {name} is {value} at step {row['step']};"
                    " go back to a checkpoint before it, and try a lower learning rate"
                )
    return ""


def discriminator_won(rows: list[dict], steps: int = 200, gap: float = 0.98) -> str:
    """The rows of a history -> whether D's scores for real and fake are more than `gap` apart.

    The gap is the mean over the last `steps` steps. Fewer rows raise no alarm.
    """
    if len(rows) < steps:
        return ""
    mean = statistics.fmean(row["score_real"] - row["score_fake"] for row in rows[-steps:])
    if not mean > gap:  # NaN is no gap: `not_finite` reports it
        return ""
    return (
        f"D has won: over the last {steps} steps its scores for real and fake are {mean:.3f} apart;"
        " if it lasts, G learns far too slowly, or there is a bug: compare with the default recipe"
    )


def variety(faces: AnyFaces) -> float:
    """N faces -> the median distance of a face to the one most like it.

    The distance is the root mean square difference of `metrics.thumbnails`, of values in [-1, 1].
    64 real faces, synthetic or not, have about 0.25; below 0.06, neighbors look the same.
    """
    rows = thumbnails(faces)
    distances = torch.cdist(rows, rows).fill_diagonal_(math.inf)
    to_nearest = distances.min(dim=1).values
    return (to_nearest.median() / rows.shape[1] ** 0.5).item()


def mode_collapse(faces: AnyFaces, least: float = 0.06) -> str:
    """About 64 generated faces -> whether they are all alike: their variety is below `least`."""
    measured = variety(faces)
    if not measured < least:  # NaN is no variety: `not_finite` reports it
        return ""
    return (
        f"mode collapse: the faces are alike (variety {measured:.3f}, real faces have about 0.25);"
        " go back to a checkpoint before it, and give Adam the default recipe's betas, (0, 0.99):"
        " of the four cures that page 08 tries, only these worked"
    )


def active_alarms(trainer: Trainer, rows: list[dict]) -> list[str]:
    """A trainer and the rows of its history -> the sentences of all alarms that fire now.

    Mode collapse is only looked for after the first 300 steps.
    """
    alarms = [not_finite(rows), discriminator_won(rows)]
    if trainer.steps_done >= WARM_UP:
        alarms.append(mode_collapse(trainer.fixed_faces()))
    return [alarm for alarm in alarms if alarm]


class AlarmCallback:
    """A callback for one `training.train`: it checks about every `every` steps, and at the end.

    Each kind of alarm is written once. Callbacks are not called at every step, so it remembers the
    step from which on the next check is due.
    """

    def __init__(self, every: int = 200, write: Callable[[str], object] = tqdm.write):
        self.every = every
        self.write = write
        self.next_check = every
        self.kinds_written = set()

    def __call__(self, trainer: Trainer, log: Log) -> None:
        """Write the alarms that fire, if a check is due."""
        if trainer.steps_done < self.next_check and not log.finished:
            return
        self.next_check = trainer.steps_done + self.every
        for alarm in active_alarms(trainer, log.rows):
            kind = alarm.partition(":")[0]
            if kind not in self.kinds_written:
                self.write(f"Warning at step {trainer.steps_done:,}: {alarm}")
            self.kinds_written.add(kind)
