"""The steps and seconds of a training become steps per second, and a warning if it gets slow.

Used on page 05; page 10 shows why other processes slow a training down so much.
"""

import os

WINDOW = 10  # seconds of training over which a rate is measured
OPENMP_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class StepRate:
    """The rate of a training: `per_second` of the last window, and `best`, the highest of all."""

    def __init__(self, steps_done: int = 0, seconds: float = 0.0):
        self.per_second = 0.0  # 0: not known yet
        self.best = 0.0
        self._start = (steps_done, seconds)
        self._slow_windows = 0
        self._has_warned = False

    def update(self, steps_done: int, seconds: float) -> str:
        """Steps and seconds of training so far -> a warning, or "".

        It warns once: after two windows in a row below half of the best rate.
        """
        steps_before, seconds_before = self._start
        elapsed = seconds - seconds_before
        if elapsed <= 0:
            return ""
        rate = (steps_done - steps_before) / elapsed
        if elapsed < WINDOW:
            if not self.best:  # the first window: show what is known
                self.per_second = rate
            return ""
        self._start = (steps_done, seconds)
        self.per_second = rate
        self.best = max(self.best, rate)
        self._slow_windows = self._slow_windows + 1 if rate < self.best / 2 else 0
        if self._slow_windows < 2 or self._has_warned:
            return ""
        self._has_warned = True
        return self._warning()

    def _warning(self) -> str:
        text = (
            f"training runs at {self.per_second:.1f} steps/s, less than half of its best rate,"
            f" {self.best:.1f}: another process may be using the CPU"
        )
        if not any(name in os.environ for name in OPENMP_SETTINGS):
            text += (
                ". To lose less beside it, stop, set the environment variable"
                " OMP_WAIT_POLICY=PASSIVE before Python starts, and resume (page 10 shows why)"
            )
        return text
