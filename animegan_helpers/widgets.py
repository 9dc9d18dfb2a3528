"""Training becomes one picture that changes while you watch (page 05); a code becomes sliders, and a face beside them
that follows (pages 00 and 06)."""

import io
import itertools
import json
import random
import time
from html import escape

import ipywidgets
import numpy as np
import torch
from IPython.display import Javascript, display
from ipywidgets import Layout
from PIL import Image, PngImagePlugin

from . import checkpoints, latent, measure, plotting
from .device import data_folder
from .preprocess import to_pixels
from .training import codes, paint

SMALL, GAP, NEIGHBOURS, FRAMES = 64, 4, 4, 24
LARGE = NEIGHBOURS * (SMALL + GAP) - GAP  # pixels: the large face is as wide as the row of its neighbours

LABEL = {"description_width": "150px"}
LINE = """<textarea readonly rows="3" aria-label="the line that shows this face again" style="box-sizing: border-box;
width: 100%; padding: 4px 8px; border: 1px solid #bbb; font: 12px/1.4 monospace; resize: none; color: inherit;
background: transparent">{}</textarea>"""
TOLD = '<div role="status" style="overflow-wrap: anywhere; line-height: 1.4">{}</div>'


class LiveView:
    """A `watch` for `training.train`: 32 faces above the losses, one picture drawn anew every few seconds.

    Below them, in words, what goes wrong (`measure.alarms`).
    The last one stays in the saved notebook: it is an output that is updated, not a widget.
    """

    def __init__(self, seconds: float = 6.0):
        self.seconds, self.last, self.handle = seconds, 0.0, None

    def __call__(self, game, history: list[dict], done: bool = False) -> None:
        now = time.perf_counter()
        if now - self.last < self.seconds and not done:
            return
        faces = plotting.grid(game.fixed_faces(32), columns=8)
        rows = history[:: 1 + len(history) // 500]  # more points cost time, and can't be seen
        told = f"Step {game.step:,}, {game.seconds:.0f} seconds: faces of 32 fixed codes, and the losses."
        warnings = (f"WARNING, {alarm}." for alarm in measure.alarms(game, history))
        figure = plotting.live(faces, rows, " ".join([told, *warnings]))
        if self.handle:
            self.handle.update(figure)
        else:
            self.handle = display(figure, display_id=True)
        self.last = time.perf_counter()


class Explorer(ipywidgets.HBox):
    """Sliders that move a code, and beside them its face, above four faces of codes near it.

    `directions` are unit vectors (z_dim,) by name, as `latent.ready()` gives them with a G; sliders go from `-reach` to
    `reach` along them. The first `raw` numbers of the code have sliders of their own.
    """

    def __init__(self, G, directions: dict, seed: int = 0, reach: float = 4.0, raw: int = 4):
        numbers = {f"number {i + 1}": axis for i, axis in enumerate(torch.eye(G.z_dim)[:raw])}
        self.G, self.reach, self.start, self.dice = G, reach, seed, random.Random(seed)
        self.held = False  # while several controls are set, nothing is painted
        self.named, self.vectors, self.others = directions, directions | numbers, codes(NEIGHBOURS, G.z_dim, seed, 1)
        self.moves = {name: _slider(name, -reach, reach, 0.1, 0.0, "+.1f") for name in self.vectors}
        self.truncation = _slider("truncation", 0.0, 1.0, 0.05, 1.0, ".2f")
        self.seed = ipywidgets.BoundedIntText(
            seed, min=0, max=999_999, description="seed of the code", style=LABEL, layout=Layout(width="260px")
        )
        self.buttons = [
            _button("Random", "random", "Another random code; the sliders go back to the middle", self.random),
            _button("Walk", "play", "Walk from this face to that of another random code", self.walk),
            _button("Save as PNG", "download", "Write this face into data/pictures", self.save),
            _button("Copy the code", "copy", "Copy the line that shows this face again when you run it", self.copy),
            _button("Reset", "undo", "Back to the first face", self.reset),
        ]
        self.line, self.told, self.script = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.Output()
        self.image = ipywidgets.Image(format="png", layout=Layout(width="402px", height="504px", flex="0 0 auto"))
        for control in (*self.moves.values(), self.truncation, self.seed):
            control.observe(self._repaint, "value")
        self._repaint()

        by_number = ipywidgets.Accordion([ipywidgets.VBox([self.moves[name] for name in numbers])], selected_index=None)
        by_number.set_title(0, f"The first {raw} of the code's {G.z_dim} numbers, one by one")
        row = ipywidgets.HBox(self.buttons, layout=Layout(flex_flow="row wrap"))
        below = [by_number] * bool(numbers) + [self.truncation, self.seed, row, self.line, self.told, self.script]
        controls = [self.moves[name] for name in directions] + below
        column = ipywidgets.VBox(controls, layout=Layout(flex="1 1 400px", max_width="560px", margin="0 0 0 16px"))
        super().__init__([self.image, column], layout=Layout(flex_flow="row wrap", align_items="flex-start"))

    def __repr__(self):
        return "[an explorer: run this cell, then move its sliders]"

    def moved(self) -> dict[str, float]:
        """-> how far each direction or number is moved, without those that are not."""
        return {name: round(slider.value, 2) for name, slider in self.moves.items() if round(slider.value, 2)}

    def code(self) -> torch.Tensor:
        """-> the code whose face is shown, (z_dim,): the seed's, truncated, then moved."""
        code = latent.truncate(codes(1, self.G.z_dim, self.seed.value)[0], round(self.truncation.value, 2))
        return sum((far * self.vectors[name] for name, far in self.moved().items()), code)

    def text(self) -> str:
        """-> the line that shows this face again."""
        return f"explorer.go({self.seed.value}, truncation={round(self.truncation.value, 2)}, moves={self.moved()})"

    def go(self, seed: int, truncation: float = 1.0, moves: dict | None = None) -> None:
        """Set everything, then paint once. Raises ValueError for a direction that is not here, or too far along it."""
        moves = moves or {}
        for name, far in moves.items():
            if name not in self.moves or abs(far) > self.reach:
                raise ValueError(f"can't move {name!r} by {far}: up to {self.reach} for {', '.join(self.moves)}")
        if not (0 <= seed <= self.seed.max and 0 <= truncation <= 1):
            raise ValueError(f"seed {seed}, truncation {truncation}: from 0 to {self.seed.max}, and from 0 to 1")
        self.held = True
        try:
            self.seed.value, self.truncation.value = seed, truncation
            for name, slider in self.moves.items():
                slider.value = moves.get(name, 0.0)
        finally:
            self.held = False
        self._repaint()

    def reset(self) -> None:
        """Back to the first face."""
        self.go(self.start)

    def random(self) -> None:
        """Another code, drawn at random."""
        self.go(self.dice.randrange(self.seed.max))

    def walk(self, seconds: float = 1.5) -> None:
        """To another random code, on the arc between the two; `seconds` is how long it takes at least."""
        seed = self.dice.randrange(self.seed.max)
        for code in latent.spherical(self.code(), codes(1, self.G.z_dim, seed)[0], FRAMES)[1:-1]:
            before = time.perf_counter()
            self._show(code)
            time.sleep(max(0, seconds / FRAMES - (time.perf_counter() - before)))
        self.go(seed)

    def save(self):
        """Write the face into data/pictures, over no other file. -> its path, or None if that did not work."""
        names = (data_folder() / "pictures" / f"seed-{self.seed.value}-{number}.png" for number in itertools.count(1))
        path = next(path for path in names if not path.exists())
        try:
            checkpoints.write_whole(path, self.png())
        except checkpoints.CheckpointError as error:
            return self._tell(f"Not saved: {error}")
        self._tell(f"Saved as {path}")
        return path

    def copy(self) -> None:
        """Put the line that shows this face again on the clipboard, where the browser allows it."""
        self._tell("Copied, if your browser allows it; else select the line above.")
        with self.script:
            self.script.clear_output()
            display(Javascript(f"navigator.clipboard?.writeText({json.dumps(self.text())}).catch(() => 0)"))

    def png(self) -> bytes:
        """-> the large face as a file, with the line that shows it again in it."""
        info = PngImagePlugin.PngInfo()
        info.add_text("code", self.text())
        return _png(_enlarged(to_pixels(paint(self.G, self.code()[None]))[0], LARGE), pnginfo=info)

    def figure(self, caption: str = "") -> plotting.Figure:
        """-> what the sliders do, as a picture: for each direction a row of eight faces, from low to high."""
        steps, code = torch.linspace(-self.reach, self.reach, 8)[:, None], self.code()
        ways = [(steps - self.moves[name].value) * vector for name, vector in self.named.items()]
        rows = {name: paint(self.G, code + way) for name, way in zip(self.named, ways)}
        caption = caption or f"Each row moves one direction, from -{self.reach:g} to {self.reach:g}; most else stays."
        alt = f"Rows of eight faces, one row for each direction: {', '.join(self.named)}. {caption}"
        return plotting.show_rows(rows, caption, alt)

    def _repaint(self, change=None) -> None:
        if not self.held:
            self.line.value, self.told.value = LINE.format(escape(self.text())), ""
            self._show(self.code())  # last: who sees the new picture finds its line below it

    def _show(self, code) -> None:
        near = 0.9 * code + 0.44 * latent.truncate(self.others, self.truncation.value)  # about as long as the code
        pixels = to_pixels(paint(self.G, torch.cat([code[None], near])))
        page = Image.new("RGB", (LARGE, LARGE + GAP + SMALL), "white")
        page.paste(_enlarged(pixels[0], LARGE), (0, 0))
        for i, face in enumerate(pixels[1:]):
            page.paste(_enlarged(face, SMALL), (i * (SMALL + GAP), LARGE + GAP))
        self.image.value = _png(page, compress_level=1)

    def _tell(self, message: str) -> None:
        self.told.value = TOLD.format(escape(message))


def _slider(name, low, high, step, value, form) -> ipywidgets.FloatSlider:
    looks = {"style": LABEL, "layout": Layout(width="auto"), "readout_format": form}
    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, description=name, **looks)


def _button(name, icon, tooltip, act) -> ipywidgets.Button:
    button = ipywidgets.Button(description=name, icon=icon, tooltip=tooltip, layout=Layout(width="auto"))
    button.on_click(lambda _: act())
    return button


def _enlarged(pixels, size: int) -> Image.Image:
    return Image.fromarray(np.asarray(pixels)).resize((size, size), Image.Resampling.BICUBIC)


def _png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()
