"""(N, 3, H, W) images and histories become figures with a caption and alt text. All pages.

Where a function takes images, they are (N, 3, H, W) in [-1, 1] or (N, H, W, 3) uint8.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .figures import Figure, Images, from_matplotlib, grid, label_columns, label_rows, stack, strip

# Okabe and Ito's colors, safe for color-blind readers: D is blue, G is orange.
BLUE = "#0072B2"
ORANGE = "#D55E00"
RECORDED = Path(__file__).parent / "recorded"


# ---- images ----


def zoom_for(images: Images, pixels: int = 64) -> int:
    """Images -> the zoom at which small ones are up to `pixels` wide; 1 for larger ones."""
    longer_side = max(images.shape[1:])  # in both layouts, (3, H, W) and (H, W, 3)
    return max(1, pixels // longer_side)


def show_grid(
    images: Images,
    caption: str,
    columns: int | None = None,
    zoom: int = 1,
    alt: str = "",
) -> Figure:
    """Images -> a figure of all of them in a grid, by default about a square."""
    if not alt:
        alt = f"A grid of {len(images)} images: {caption}"
    return Figure(grid(images, columns, zoom), caption, alt)


def show_rows(
    rows: Mapping[str, Images],
    caption: str,
    alt: str = "",
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Images by their label -> a figure with a labeled row for each label.

    Small images are enlarged, to up to 64 pixels. `columns` has, for some or all rows, the labels
    above their images.
    """
    if not alt:
        alt = f"Rows of images: {', '.join(rows)}. {caption}"
    grids = []
    for name, images in rows.items():
        image = grid(images, columns=len(images), zoom=zoom_for(images))
        if columns and name in columns:
            image = label_columns(image, columns[name])
        grids.append(image)
    return Figure(label_rows(grids, rows), caption, alt)


def film_strip(
    grids: Sequence[Image.Image],
    labels: Sequence[str],
    caption: str,
    alt: str = "",
    faces: int = 8,
) -> Figure:
    """Sample grids of the same latent vectors at different steps -> a figure.

    It has a labeled row for each grid: the first `faces` of its faces.
    """
    if not alt:
        alt = f"Film strip: the same {faces} latent vectors at {', '.join(labels)}. {caption}"
    return Figure(strip(grids, labels, faces), caption, alt)


def recorded(name: str) -> Figure:
    """The name of a saved result -> its figure; the caption names the data, machine, and time."""
    text = (RECORDED / f"{name}.json").read_text(encoding="utf-8")
    metadata = json.loads(text)
    image = Image.open(RECORDED / f"{name}.png").convert("RGB")
    return Figure(image, metadata["caption"], metadata["alt"])


# ---- a prepared set's report ----


def show_report(faces: Any, caption: str = "", alt: str = "", columns: int = 12) -> Figure:
    """A prepared set (`dataset.Faces`) -> a figure of what its report lists: a row for each kind.

    Of each kind the first `columns` images are shown, each at least 64 pixels wide.
    """
    report = faces.report
    if not caption:
        caption = f"What stands out in the {report.unique:,} images of {report.source}."
    listed = _listed_names(report)
    if not listed:
        listed["nothing\nunusual"] = faces.names
    zoom = zoom_for(faces.array)
    grids = []
    for names in listed.values():
        rows = _rows_of(names, faces)
        grids.append(grid(faces.array[rows[:columns]], columns, zoom))
    if not alt:
        labels = "; ".join(listed).replace("\n", ", ")
        alt = f"Rows of small images: {labels}. {caption}"
    return Figure(label_rows(grids, listed), caption, alt)


def _listed_names(report: Any) -> dict[str, list[str]]:
    """A report -> the names of the images that it lists, by a label of two lines; no empty row."""
    listed = {}
    if report.unusual:
        listed["most\nunusual"] = report.unusual
    copies_of = Counter(report.duplicates.values())
    kinds = {
        "tiny": list(report.tiny),
        "not RGB": list(report.not_rgb),
        "duplicated": [name for name, _ in copies_of.most_common()],
    }
    for kind, names in kinds.items():
        if len(names) == 1:
            listed[f"{kind}\n1 image"] = names
        elif names:
            listed[f"{kind}\n{len(names):,} images"] = names
    return listed


def _rows_of(names: Sequence[str], faces: Any) -> list[int]:
    """Names of images -> their rows in the set, each once; a duplicate has its original's row.

    A name that is not in the set is left out.
    """
    row_of = {name: row for row, name in enumerate(faces.names)}
    originals = {}  # a dict, since it keeps the order, and each name once
    for name in names:
        original = faces.report.duplicates.get(name, name)
        if original in row_of:
            originals[original] = row_of[original]
    return list(originals.values())


# ---- curves ----


def show_losses(
    history: Mapping[str, Any],
    caption: str = "The losses of D and G.",
    alt: str = "",
) -> Figure:
    """A history, an array of numbers by key -> both losses over the steps, D's above G's.

    Each has its own scale, since G's loss may be many times as high as D's.
    """
    canvas = _canvas(height=4.4)
    upper, lower = canvas.subplots(2, 1, sharex=True)
    steps = history["step"]
    _draw_curve(upper, steps, history["loss_d"], BLUE, "-", "single steps", "moving average")
    _draw_curve(lower, steps, history["loss_g"], ORANGE, "--", "single steps", "moving average")
    upper.set(ylabel="D's loss")
    lower.set(ylabel="G's loss", xlabel="step")
    for axes in (upper, lower):
        _finish(axes)
    return from_matplotlib(canvas, caption, alt)


def show_scores(
    history: Mapping[str, Any],
    caption: str = "D's mean scores for real and generated images.",
    alt: str = "",
    fake: str = "generated",
) -> Figure:
    """A history -> D's mean scores over the steps, from 0 (fake) to 1 (real).

    `fake` is the name of what D compares with real images.
    """
    canvas = _canvas(height=3)
    axes = canvas.subplots()
    steps = history["step"]
    _draw_curve(axes, steps, history["score_real"], BLUE, "-", bold="real")
    _draw_curve(axes, steps, history["score_fake"], ORANGE, "--", bold=fake)
    axes.set(xlabel="step", ylabel="D's score", ylim=(0, 1))
    _finish(axes)
    return from_matplotlib(canvas, caption, alt)


def live(faces: Image.Image, rows: Sequence[dict], caption: str) -> Figure:
    """A sample grid and the rows of a history -> one figure: the grid above both losses."""
    history = {}
    for key in rows[0]:
        history[key] = [row[key] for row in rows]
    losses = show_losses(history, caption="")
    alt = f"Faces generated from fixed latent vectors, above the curves of both losses. {caption}"
    return Figure(stack(faces, losses.image), caption, alt)


def _canvas(height: float) -> Any:
    """-> an empty matplotlib figure, 7 inches wide."""
    from matplotlib.figure import Figure as Canvas  # slow; without pyplot no figure stays open

    return Canvas(figsize=(7, height), layout="constrained")


def _draw_curve(axes, steps, values, color, style, pale=None, bold=None) -> None:
    """Draw each step's value pale, and their moving average bold, with their labels."""
    window = max(1, len(steps) // 50)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=color, alpha=0.45, linewidth=0.7, label=pale)
    axes.plot(steps[window - 1 :], smooth, style, color=color, linewidth=1.8, label=bold)


def _finish(axes) -> None:
    """Add the legend above the curves, at the right; only whole steps are labeled."""
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
