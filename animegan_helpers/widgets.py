"""A run becomes an image that changes (page 05), and a (z_dim,) latent vector sliders (page 06)."""

import io
import json
import random
import time
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from IPython.display import Javascript, display
from PIL import Image, PngImagePlugin

from . import alarms, checkpoints, latent, plotting
from .controls import Controls, button
from .device import data_folder
from .generator import Generator, generate, sample_z
from .history import Log
from .images import to_pixels
from .trainer import Trainer

NEIGHBORS = 4  # small faces below the large one
SMALL = 64  # pixels
GAP = 4
LARGE = NEIGHBORS * (SMALL + GAP) - GAP  # as wide as the row of small faces
WALK_FRAMES = 24


class LiveView:
    """A callback of `training.train`: 32 faces above both losses, updated every few seconds.

    The caption warns of what goes wrong (`alarms`). The last image stays in the saved notebook,
    since it is an output that is updated, not a widget.
    """

    def __init__(self, seconds: float = 6.0):
        self.seconds = seconds
        self.last_update = 0.0
        self.handle = None

    def __call__(self, trainer: Trainer, log: Log) -> None:
        """Show the trainer's faces and the log's losses, if an update is due or the run ends."""
        due = time.perf_counter() - self.last_update >= self.seconds
        if not log.rows or not (due or log.finished):
            return
        figure = self._figure(trainer, log.rows)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.last_update = time.perf_counter()

    def _figure(self, trainer, rows) -> plotting.Figure:
        faces = trainer.fixed_faces(32)
        grid = plotting.grid(faces, columns=8, zoom=plotting.zoom_for(faces))
        sentences = [
            f"Step {trainer.steps_done:,}, {trainer.seconds:.0f} seconds:"
            " faces from 32 fixed latent vectors, and the losses."
        ]
        for alarm in alarms.active_alarms(trainer, rows):
            sentences.append(f"WARNING: {alarm}.")
        every = 1 + len(rows) // 500  # more points take time, and look the same
        return plotting.live(grid, rows[::every], " ".join(sentences))


class Explorer(ipywidgets.HBox):
    """Sliders that move z, beside the face of z and, below that, four faces of its neighbors.

    `directions` are unit vectors (z_dim,) by name, as `pretrained.load_pretrained` returns them.
    A slider moves z by up to `reach` along one of them, or along one of its first `components`.
    Raises ValueError for a seed outside the range of its control.
    """

    def __init__(
        self,
        G: Generator,
        directions: dict[str, torch.Tensor],
        seed: int = 0,
        reach: float = 4.0,
        components: int = 4,
    ):
        layout = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__(layout=layout)
        self.G = G
        self.directions = directions
        self.reach = reach
        self.first_seed = seed
        self.components = {}
        for i, axis in enumerate(torch.eye(G.z_dim)[:components]):
            self.components[f"component {i + 1}"] = axis
        self.neighbors = sample_z(NEIGHBORS, G.z_dim, seed, "neighbors")
        self._random = random.Random(seed)
        self.controls = Controls(
            list(directions),
            list(self.components),
            G.z_dim,
            seed,
            reach,
            buttons=self._buttons(),
            on_change=self._update,
        )
        size = ipywidgets.Layout(width="402px", height="504px", flex="0 0 auto")
        self.image = ipywidgets.Image(format="png", layout=size)
        self.children = [self.image, self.controls]
        self._update()

    def _buttons(self) -> list[ipywidgets.Button]:
        return [
            button("Random", "random", "A random z; the sliders go back to 0", self.random),
            button("Walk", "play", "Walk from this face to a random one", self.walk),
            button("Save as PNG", "download", "Save this face in data/saved_faces", self.save),
            button("Copy the command", "copy", "Copy the line that shows this face", self.copy),
            button("Reset", "undo", "Back to the first face", self.reset),
        ]

    def __repr__(self):
        return "[an explorer: run this cell, then move its sliders]"

    def offsets(self) -> dict[str, float]:
        """-> how far z is moved along each direction and component; zeros are left out."""
        return self.controls.offsets()

    def z(self) -> torch.Tensor:
        """-> the latent vector (z_dim,) of the large face: the seed's, truncated, then moved."""
        z = sample_z(1, self.G.z_dim, self.controls.seed.value)[0]
        z = latent.truncate(z, round(self.controls.truncation.value, 2))
        vectors = {**self.directions, **self.components}
        for name, offset in self.offsets().items():
            z = z + offset * vectors[name]
        return z

    def command(self) -> str:
        """-> the line of Python that shows this face again."""
        seed = self.controls.seed.value
        truncation = round(self.controls.truncation.value, 2)
        return f"explorer.go({seed}, truncation={truncation}, offsets={self.offsets()})"

    def go(self, seed: int, truncation: float = 1.0, offsets: dict | None = None) -> None:
        """Set all controls, then generate once.

        Raises ValueError for an unknown direction, or a value outside its control's range.
        """
        self.controls.set(seed, truncation, offsets or {})

    def reset(self) -> None:
        """Back to the first face."""
        self.go(self.first_seed)

    def random(self) -> None:
        """On to a random latent vector."""
        self.go(self._random_seed())

    def walk(self, seconds: float = 1.5) -> None:
        """On to a random latent vector, along the arc to it, in at least `seconds`."""
        seed = self._random_seed()
        target = sample_z(1, self.G.z_dim, seed)[0]
        for z in latent.slerp(self.z(), target, WALK_FRAMES)[1:-1]:
            start = time.perf_counter()
            self._show(z)
            elapsed = time.perf_counter() - start
            time.sleep(max(0, seconds / WALK_FRAMES - elapsed))
        self.go(seed)

    def _random_seed(self) -> int:
        return self._random.randrange(self.controls.seed.max)

    def save(self) -> Path | None:
        """Save the face in data/saved_faces, as a new file; -> its path, None if that failed."""
        folder = data_folder() / "saved_faces"
        seed = self.controls.seed.value
        number = 1
        while (folder / f"seed-{seed}-{number}.png").exists():
            number += 1
        path = folder / f"seed-{seed}-{number}.png"
        try:
            checkpoints.atomic_write(path, self.png())
        except checkpoints.CheckpointError as error:
            self.controls.show_status(f"Not saved: {error}")
            return None
        self.controls.show_status(f"Saved as {path}")
        return path

    def copy(self) -> None:
        """Put the command on the clipboard, if the browser allows it."""
        self.controls.show_status(
            "Copied, if your browser allows it. Otherwise select the line above."
        )
        text = json.dumps(self.command())
        with self.controls.script:
            self.controls.script.clear_output()
            display(Javascript(f"navigator.clipboard?.writeText({text}).catch(() => 0)"))

    def png(self) -> bytes:
        """-> the large face as a PNG; its text "command" is the line that shows it again."""
        pixels = to_pixels(generate(self.G, self.z()[None]))[0]
        metadata = PngImagePlugin.PngInfo()
        metadata.add_text("command", self.command())
        return _png(_resized(pixels, LARGE), pnginfo=metadata)

    def figure(self, caption: str = "") -> plotting.Figure:
        """-> what the sliders do: for each direction a row of nine faces, from low to high.

        The middle one is at 0.
        """
        z = self.z()
        steps = torch.linspace(-self.reach, self.reach, 9)[:, None]
        rows = {}
        for name, direction in self.directions.items():
            distances = steps - self.controls.sliders[name].value
            rows[name] = generate(self.G, z + distances * direction)
        if not caption:
            caption = (
                f"Each row moves z along one direction, from {-self.reach:g} to {self.reach:g}."
            )
        alt = f"Rows of nine faces, a row for each direction: {', '.join(rows)}. {caption}"
        return plotting.show_rows(rows, caption, alt)

    def _update(self) -> None:
        self.controls.show_command(self.command())
        self._show(self.z())  # last: when the new image is visible, so is its command

    def _show(self, z) -> None:
        neighbors = latent.truncate(self.neighbors, self.controls.truncation.value)
        nearby = 0.9 * z + 0.44 * neighbors  # about as long as z
        pixels = to_pixels(generate(self.G, torch.cat([z[None], nearby])))
        page = Image.new("RGB", (LARGE, LARGE + GAP + SMALL), "white")
        page.paste(_resized(pixels[0], LARGE), (0, 0))
        for i, face in enumerate(pixels[1:]):
            left = i * (SMALL + GAP)
            page.paste(_resized(face, SMALL), (left, LARGE + GAP))
        self.image.value = _png(page, compress_level=1)


def _resized(pixels, size: int) -> Image.Image:
    return Image.fromarray(np.asarray(pixels)).resize((size, size), Image.Resampling.BICUBIC)


def _png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()
