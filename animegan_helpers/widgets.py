"""Training becomes one picture that changes while you watch. Used from page 05 on."""

import time

from IPython.display import display

from . import plotting


class LiveView:
    """A `watch` for `training.train`: 32 faces above the losses, one picture drawn anew every few seconds."""

    def __init__(self, seconds: float = 6.0):
        self.seconds, self.last, self.handle = seconds, 0.0, None

    def __call__(self, game, history: list[dict], done: bool = False) -> None:
        now = time.perf_counter()
        if now - self.last < self.seconds and not done:
            return
        faces = plotting.grid(game.fixed_faces(32), columns=8)
        figure = plotting.live(
            faces, history, f"Step {game.step:,}, {game.seconds:.0f} seconds: faces of 32 fixed codes, and the losses."
        )
        if self.handle:
            self.handle.update(figure)
        else:
            self.handle = display(figure, display_id=True)
        self.last = time.perf_counter()
