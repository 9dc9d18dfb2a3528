"""Pictures and curves become figures: PNGs that carry a caption and a text for those who can't see them."""

import base64
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .preprocess import to_pixels

# Okabe and Ito's colours, told apart by colour-blind readers too: D is blue, G orange.
BLUE, ORANGE = "#0072B2", "#D55E00"
RECORDED = Path(__file__).parent / "recorded"


class Figure:
    """A PNG, its caption and its alt text. Jupyter shows it; `save` writes it."""

    def __init__(self, image: Image.Image, caption: str, alt: str = ""):
        self.image, self.caption, self.alt = _with_caption(image, caption), caption, alt or caption

    def png(self) -> bytes:
        """-> the bytes of the file, with 256 colours: a third of the size, and hardly another picture."""
        file = io.BytesIO()
        self.image.quantize(256).save(file, "PNG", optimize=True)
        return file.getvalue()

    def save(self, path) -> Path:
        """Write the figure as a PNG; -> its path."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.png())
        return Path(path)

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": f"[figure: {self.alt}]"}
        return data, {"image/png": {"alt": self.alt}}


def grid(pictures, columns: int | None = None, zoom: int = 1) -> Image.Image:
    """(N, 3, H, W) in [-1, 1], or (N, H, W, 3) uint8 -> one picture of all, two pixels of white between them."""
    pixels = np.asarray(to_pixels(pictures) if pictures.shape[1] == 3 and pictures.ndim == 4 else pictures)
    count, height, width, _ = pixels.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 2) + 2, columns * (width + 2) + 2, 3), 255, np.uint8)
    for i, face in enumerate(pixels):
        y, x = (i // columns) * (height + 2) + 2, (i % columns) * (width + 2) + 2
        sheet[y : y + height, x : x + width] = face
    return Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1))


def show_grid(pictures, caption: str, columns: int | None = None, zoom: int = 1, alt: str = "") -> Figure:
    """(N, 3, H, W) in [-1, 1], or (N, H, W, 3) uint8 -> a figure of all of them."""
    return Figure(grid(pictures, columns, zoom), caption, alt or f"{len(pictures)} pictures in a grid: {caption}")


def show_rows(rows: dict, caption: str, alt: str = "") -> Figure:
    """Pictures by their label -> a figure: a labelled row for each."""
    alt = alt or f"Rows of pictures: {', '.join(rows)}. {caption}"
    return Figure(labelled([grid(some, len(some)) for some in rows.values()], rows), caption, alt)


def film_strip(sheets, labels, caption: str, alt: str = "", faces: int = 8) -> Figure:
    """Sheets of one set of codes at different moments -> a figure: a row a moment, `faces` faces wide, labelled."""
    alt = alt or f"Film strip: the same {faces} codes at {', '.join(labels)}. {caption}"
    return Figure(strip(sheets, labels, faces), caption, alt)


def strip(sheets, labels, faces: int = 8) -> Image.Image:
    """The first `faces` faces of each sheet -> one picture, a row a sheet, with its label before it."""
    return labelled([_first_faces(sheet, faces) for sheet in sheets], labels)


def show_health(prepared, caption: str = "", alt: str = "", columns: int = 12) -> Figure:
    """A prepared set -> a figure of what stands out in it: a labelled row for each kind that there is."""
    report = prepared.report
    row = {name: i for i, name in enumerate(prepared.names)}
    row |= {copy: row[first] for copy, first in report.duplicates.items() if first in row}
    copied = [name for name, _ in Counter(report.duplicates.values()).most_common()]
    kinds = {"tiny": report.tiny, "not RGB": report.not_rgb, "more than once": copied}
    rows = {f"{kind}\n{len(names):,} picture{'s'[len(names) == 1 :]}": names for kind, names in kinds.items() if names}
    rows = ({"most unlike\nthe rest": report.unusual} if report.unusual else {}) | rows or {"all is well": row}
    chosen = [list(dict.fromkeys(row[name] for name in names if name in row))[:columns] for names in rows.values()]
    grids = [grid(prepared.array[some], columns, zoom=max(1, 64 // report.size)) for some in chosen]
    caption = caption or f"What stands out among the {report.unique:,} pictures of {report.source}."
    alt = alt or f"Rows of small pictures: {'; '.join(rows)}. {caption}".replace("\n", ", ")
    return Figure(labelled(grids, rows), caption, alt)


def labelled(rows, labels) -> Image.Image:
    """Pictures, and the text that stands before each -> one picture of all."""
    font = ImageFont.load_default(14)
    margin = int(max(font.getlength(line) for label in labels for line in label.split("\n"))) + 14
    page = Image.new("RGB", (margin + rows[0].width, sum(row.height for row in rows)), "white")
    draw, top = ImageDraw.Draw(page), 0
    for row, label in zip(rows, labels):
        draw.text((margin - 8, top + row.height / 2), label, "black", font, anchor="rm", align="right")
        page.paste(row, (margin, top))
        top += row.height
    return page


def _first_faces(sheet: Image.Image, faces: int) -> Image.Image:
    return sheet.crop((0, 0, min(sheet.width, 2 + faces * ((sheet.width - 2) // 8)), 2 + (sheet.height - 2) // 8))


def _grids(run) -> list[Path]:
    paths = sorted((Path(run) / "grids").glob("step_*.png"))
    if not paths:
        raise FileNotFoundError(f"{run} has no grids: it is not a run's folder, or it has not begun")
    return paths


def sheets(run, count: int = 6) -> tuple[list[Image.Image], list[int]]:
    """A run's folder -> `count` of its grids from the first to the last, ever further apart, and their steps."""
    paths = _grids(run)
    steps = [int(path.stem.split("_")[1]) for path in paths]
    count = min(count, len(paths))
    wanted = [0, *np.geomspace(16, max(16, steps[-1]), count - 1)]  # even on a logarithmic scale
    chosen, last = [], -1
    for left, target in zip(range(count - 1, -1, -1), wanted):
        nearest = int(np.abs(np.log1p(steps) - np.log1p(target)).argmin())
        last = min(max(nearest, last + 1), len(paths) - 1 - left)  # each later than the one before
        chosen.append(last)
    return [Image.open(paths[i]).convert("RGB") for i in chosen], [steps[i] for i in chosen]


def film(run, path, milliseconds: int = 150) -> Path:
    """A run's folder -> its grids as a film; the ending of `path`, .gif or .webp, decides which. -> `path`."""
    frames = [Image.open(p).convert("RGB") for p in _grids(run)]
    times = [milliseconds] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return Path(path)


def recorded(name: str) -> Figure:
    """The name of a result that took longer than a page -> its figure; the caption says data, machine and minutes."""
    told = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return Figure(Image.open(RECORDED / f"{name}.png").convert("RGB"), told["caption"], told["alt"])


def history(run) -> dict[str, np.ndarray]:
    """A run's folder -> its history: `step`, `loss_d`, `loss_g`, `score_real`, `score_fake`, one number a step."""
    with open(Path(run) / "history.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {}


def show_losses(history: dict, caption: str = "The losses of both networks.", alt: str = "") -> Figure:
    """A history -> the losses over the steps: each step pale, their moving average bold."""
    return _curves(history, {"loss_d": ("D's loss", BLUE), "loss_g": ("G's loss", ORANGE)}, "loss", caption, alt)


def show_scores(history: dict, caption: str = "What D says of real and fake faces.", alt: str = "") -> Figure:
    """A history -> D's mean scores for real and fake pictures over the steps, from 0 (fake) to 1 (real)."""
    curves = {"score_real": ("real", BLUE), "score_fake": ("fake", ORANGE)}
    return _curves(history, curves, "D's score", caption, alt, limits=(0, 1))


def live(faces: Image.Image, rows: list[dict], caption: str) -> Figure:
    """A sheet of faces and the rows of a history -> one figure of the faces above the losses."""
    losses = show_losses({key: [row[key] for row in rows] for key in rows[0]}, "", "").image
    page = Image.new("RGB", (max(faces.width, losses.width), faces.height + losses.height), "white")
    page.paste(faces, ((page.width - faces.width) // 2, 0))
    page.paste(losses, (0, faces.height))
    return Figure(page, caption, f"Faces drawn from fixed codes above the curves of both losses. {caption}")


def _curves(history, curves, ylabel, caption, alt, limits=None) -> Figure:
    from matplotlib.figure import Figure as Canvas  # slow to import; without pyplot no figure is left open

    canvas = Canvas(figsize=(7, 3), layout="constrained")
    axes = canvas.subplots()
    steps = np.asarray(history["step"])
    for i, (key, (label, colour)) in enumerate(curves.items()):
        values = np.asarray(history[key])
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.6)
        axes.plot(steps[window - 1 :], smooth, color=colour, linewidth=1.8, label=label, linestyle=("-", "--")[i])
    axes.set(xlabel="step", ylabel=ylabel, ylim=limits)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return from_matplotlib(canvas, caption, alt)


def from_matplotlib(canvas, caption: str, alt: str = "") -> Figure:
    """A matplotlib figure -> a figure with caption and alt text."""
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=100, facecolor="white")
    return Figure(Image.open(file).convert("RGB"), caption, alt)


def _with_caption(image: Image.Image, caption: str) -> Image.Image:
    font, line, width = ImageFont.load_default(14), 19, max(image.width, 420)
    lines = [""]
    for word in caption.split():
        if font.getlength(f"{lines[-1]} {word}") > width - 8:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    page = Image.new("RGB", (width, image.height + (10 + line * len(lines) if caption else 0)), "white")
    page.paste(image, (0, 0))
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(lines):
        draw.text((4, image.height + 5 + i * line), text, "#333333", font)
    return page
