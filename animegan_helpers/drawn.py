"""A seed becomes a synthetic anime face, 64x64, and its attributes. Built for page 01.

This module is data and brush strokes: you can skip it. Lengths are in points. An image is 64 points
wide whatever its size in pixels; x counts from the middle of the face, y from the top. All shapes
are polygons on a canvas several times too large, which is scaled down at the end.
"""

import colorsys
import csv
import math
import random
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw
from tqdm import tqdm

from .device import MAX_PROCESSES, cpu_count
from .files import expand, names_in, new_folder

# fmt: off
# hue, lightness, saturation
HAIR = {
    "black": (0.67, 0.17, 0.22), "brown": (0.065, 0.33, 0.46), "red": (0.985, 0.46, 0.66),
    "orange": (0.075, 0.60, 0.92), "blond": (0.130, 0.72, 0.88), "white": (0.63, 0.93, 0.36),
    "pink": (0.925, 0.77, 0.86), "purple": (0.755, 0.56, 0.52), "blue": (0.600, 0.55, 0.76),
    "green": (0.385, 0.50, 0.46),
}
EYES = {
    "brown": (0.060, 0.34, 0.55), "gold": (0.120, 0.52, 0.95), "red": (0.985, 0.48, 0.80),
    "pink": (0.910, 0.66, 0.90), "purple": (0.755, 0.52, 0.70), "blue": (0.605, 0.50, 0.90),
    "aqua": (0.500, 0.52, 0.85), "green": (0.360, 0.42, 0.70),
}
SKIN = {
    "fair": (0.035, 0.945, 0.90), "light": (0.075, 0.870, 0.84), "tan": (0.075, 0.725, 0.60),
    "brown": (0.060, 0.540, 0.42), "dark": (0.050, 0.370, 0.36),
}
# half the width and half the height of an open eye, and how far its outer corner hangs
SHAPES = {
    "round": (5.3, 5.6, 0.0), "tall": (4.7, 6.6, -0.3), "sharp": (5.8, 4.7, -1.9),
    "droopy": (5.5, 5.2, 1.7),
}
# style: the locks of the fringe from back to front, each as (x of the root, x of the tip, y of the
# tip, width, bend); how blunt the locks are; whether each has a mirror image on the other side
FRINGES = {
    "straight": (
        ((-8.4, -13.5, 32, 7, -1.2), (8.4, 13.5, 32, 7, 1.2), (-5.3, -8.6, 31.8, 7, -0.8),
         (5.3, 8.6, 31.8, 7, 0.8), (-2.6, -4.2, 31.5, 7, -0.4), (2.6, 4.2, 31.5, 7, 0.4),
         (0, 0, 31.3, 6, 0)), 9, False),
    "swept": (
        ((-7, -15, 37, 8, 3), (-6, 15.5, 38, 9, -6), (-6.5, 11.5, 34, 9, -6.5),
         (-7, 6.5, 32.5, 9, -6), (-8, 1, 31, 8, -4.5), (-8, -5, 30.5, 7, -1.5),
         (-8, -10.5, 32, 7, 1)), 2.2, False),
    "parted": (
        ((5, 16, 41, 9, -4), (2.6, 14.4, 36, 9, -6), (1.2, 11.6, 31.5, 9, -6),
         (0.4, 7.4, 27.5, 8, -4.5)), 2.2, True),
    "messy": (
        ((-8, -12, 36, 8, 1), (9, 15, 35, 8, 1), (-6, -8, 31, 8, 1), (7, 11.5, 32, 8, 1),
         (-3, -3.5, 34, 7.5, 1.2), (4, 7.5, 34, 8, 1.2), (0, 2.2, 30.5, 7, 1)), 2.2, False),
    "curly": (
        ((9, 14.5, 33, 9, 0), (6, 9.6, 30.5, 8.5, 0.6), (2.8, 4.9, 29.5, 8, 0.6),
         (-0.2, 0.4, 29.6, 7.5, 0)), 5, True),
    "twin tails": (
        ((8, 15, 37, 8, -1.5), (6, 10.5, 31, 7.5, -1), (3, 6, 31.5, 7.5, -0.6),
         (0.3, 0.3, 34, 6.5, 0)), 2.2, True),
    "ponytail": (
        ((-5, -15, 39, 7, 2.5), (6, 15.5, 38, 8, -3), (4, 11, 33, 8, -4), (2, 5.5, 31.5, 8, -3),
         (1, -1, 31, 7, 1), (0, -7, 32, 7.5, 3), (-3, -11.5, 34, 7, 3)), 2.2, False),
    "buns": (
        ((8, 15, 36, 8, -1.5), (7, 11, 30, 7.5, -1.5), (4, 7, 29.5, 7.5, -1.2),
         (1.5, 2.6, 29.5, 6.5, -0.6)), 2.2, True),
}
# fmt: on

ATTRIBUTES = {
    "hair_color": tuple(HAIR),
    "hair_length": ("short", "medium", "long"),
    "hair_style": tuple(FRINGES),
    "eye_color": tuple(EYES),
    "eyes": ("open", "half", "closed", "wink"),
    "eye_shape": tuple(SHAPES),
    "mouth": ("smile", "open", "neutral", "small o", "cat"),
    "skin": tuple(SKIN),
    "accessory": ("none", "glasses", "ribbon", "hairclip", "headband", "flower", "cat ears"),
}
# The fraction of faces with the first value. The other values share the rest equally. Attributes
# that are not listed here are uniform.
FIRST = {"eyes": 0.75, "accessory": 0.45}
NUMBERS = ("tilt", "scale", "x", "y", "seed")  # the keys of a face that are no attribute

INK = (52, 30, 48)
WHITE = (255, 255, 255)
RED, PINK, YELLOW = (228, 52, 72), (255, 120, 170), (255, 205, 60)
COLORS = (RED, PINK, YELLOW, (70, 130, 235), (60, 190, 150), (250, 250, 255))  # of accessories
PIVOT = 42  # y of the point of the face about which the head turns and grows
EYE_LINE = 37.5  # y of the eyes


def attributes(seed: int, index: int = 0) -> dict:
    """Face `index` of the set `seed` -> a dict: its nine `ATTRIBUTES`, then its `NUMBERS`.

    `tilt` is in degrees, `scale` a factor, `x` and `y` are in 64ths of the image. The face's own
    `seed` decides everything without a name: strands, clothes, background, shades. A face does not
    depend on other faces, so a larger set begins with the smaller one.
    """
    rng = random.Random(f"face {seed} {index}")
    face = {}
    for name, values in ATTRIBUTES.items():
        first = rng.random() < FIRST.get(name, 0)
        choice = rng.random()
        rest = values[1:] if name in FIRST else values
        face[name] = values[0] if first else rest[int(choice * len(rest))]
    face["tilt"] = round(max(-15.0, min(15.0, rng.gauss(0, 6))), 2)
    face["scale"] = round(rng.uniform(0.92, 1.12), 3)
    face["x"] = round(rng.uniform(-2, 2), 2)
    face["y"] = round(rng.uniform(-1.5, 1.5), 2)
    face["seed"] = rng.getrandbits(31)
    return face


def draw(attributes: dict, size: int = 64) -> Image.Image:
    """A dict of `attributes` -> an RGB image, size x size. The same dict gives the same image.

    Raises ValueError for a size below 16, a missing attribute, or a value that is not among
    `ATTRIBUTES`.
    """
    _check(attributes, size)
    pen = _Pen(attributes, size)
    side = pen.rng("side").choice((-1, 1))
    hair = _hair_tones(pen)
    skin = _tone(SKIN[pen.face["skin"]], pen.rng("skin"), 0.006, 0.015)
    fringe = _fringe(pen, side)
    _background(pen)
    pen.turn(pen.face["tilt"])
    _hair_back(pen, hair, side)
    pen.turn(pen.face["tilt"] * 0.3)
    _body(pen, skin)
    pen.turn(pen.face["tilt"])
    _face(pen, skin, fringe)
    _mouth(pen, skin)
    _eye(pen, -1, side, skin)
    _eye(pen, 1, side, skin)
    _hair_front(pen, hair, fringe, side)
    _brows(pen, hair)
    _accessory(pen, hair, -side)  # away from the ponytail
    return pen.image.resize((size, size), Image.Resampling.LANCZOS)


def _check(attributes, size):
    if size < 16:
        raise ValueError(f"size is {size}; the smallest face is 16 pixels wide")
    for name in (*ATTRIBUTES, *NUMBERS):
        if name not in attributes:
            raise ValueError(f"the attribute {name!r} is missing")
    for name, values in ATTRIBUTES.items():
        value = attributes[name]
        if value not in values:
            raise ValueError(f"{name} is {value!r}; it can be {', '.join(map(repr, values))}")


def write(
    folder: str | Path, count: int, seed: int = 0, size: int = 64, workers: int | None = None
) -> Path:
    """Draw faces 0 to count - 1 of the set `seed` into folder/images/, with folder/labels.csv.

    Uses `workers` processes; the default is one per CPU, and 1 draws in this process. The folder
    appears when it is complete, or not at all. Raises ValueError for a count below 1 or a
    size below 16, and FileExistsError if the folder exists and is not empty.
    """
    folder = expand(folder)
    if count < 1:
        raise ValueError(f"count is {count}; a set has at least one face")
    if folder.exists() and (not folder.is_dir() or names_in(folder)):
        raise FileExistsError(
            f"{folder} exists and is not empty: choose another folder or empty it"
        )
    with new_folder(folder, lambda other: _same_set(hidden, other)) as hidden:
        _fill(hidden, count, seed, size, workers)
    return folder


def _same_set(folder: Path, other: Path) -> bool:
    """-> whether another process has meanwhile drawn the same faces."""
    for name in ("labels.csv", "images/000000.png"):
        if not (other / name).exists():
            return False
        if (other / name).read_bytes() != (folder / name).read_bytes():
            return False
    return True


def _fill(folder, count, seed, size, workers):
    """Write the images and labels.csv into a folder."""
    (folder / "images").mkdir()
    chunks = [range(start, min(start + 50, count)) for start in range(0, count, 50)]
    workers = min(workers or cpu_count(), MAX_PROCESSES, len(chunks))
    pool = ProcessPoolExecutor(workers) if workers > 1 else nullcontext()
    labels = (folder / "labels.csv").open("w", newline="", encoding="utf-8")
    with pool, labels, tqdm(total=count, desc="drawing", unit="face") as bar:
        table = csv.DictWriter(labels, ["file", *attributes(seed)])
        table.writeheader()
        parallel_map = pool.map if workers > 1 else map
        for rows in parallel_map(partial(_write_chunk, folder, seed, size), chunks):
            table.writerows(rows)
            bar.update(len(rows))


def _write_chunk(folder, seed, size, indices):
    rows = []
    for index in indices:
        face = attributes(seed, index)
        file = f"{index:06d}.png"
        draw(face, size).save(folder / "images" / file)
        rows.append({"file": file, **face})
    return rows


def read_labels(folder: str | Path) -> list[dict]:
    """folder/labels.csv -> a dict for each image: `file`, its attributes, its numbers as floats."""
    with (expand(folder) / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in row.keys() - ATTRIBUTES.keys() - {"file"}:
            row[name] = float(row[name])
    return rows


def has_labels(folder: str | Path) -> bool:
    """-> whether folder/labels.csv is one that `write` made, not that of another set."""
    try:
        with (expand(folder) / "labels.csv").open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), None) == ["file", *attributes(0)]
    except (OSError, UnicodeError, csv.Error):
        return False


# ---- the pen: points in, pixels out ----


class _Pen:
    """A canvas, the position of the head on it, and the random numbers of one face."""

    def __init__(self, face, size):
        self.face = face
        self.pixels = size * max(3, math.ceil(192 / size))
        self.unit = self.pixels / 64
        self.image = Image.new("RGB", (self.pixels, self.pixels))
        self.canvas = ImageDraw.Draw(self.image)
        self.turn(0)

    def rng(self, part):
        """Each part has its own random numbers: another hair style leaves the background alone.

        The name of a part seeds its numbers, so renaming one changes every synthetic face.
        """
        return random.Random(f"{part} {int(self.face['seed'])}")

    def turn(self, tilt):
        """From now on the head, or what follows it, is turned by `tilt` degrees."""
        scale = 1.05 * self.face["scale"] * self.unit
        cos = scale * math.cos(math.radians(tilt))
        sin = scale * math.sin(math.radians(tilt))
        self.across = np.array([cos, sin])
        self.down = np.array([-sin, cos])
        middle = np.array([32 + self.face["x"], PIVOT + self.face["y"]]) * self.unit
        self.origin = middle - PIVOT * self.down

    def to_canvas(self, points):
        """(n, 2) points of the head -> (n, 2) pixels of the canvas: turned, scaled, moved."""
        p = np.asarray(points, float)
        return p[:, :1] * self.across + p[:, 1:] * self.down + self.origin

    def mask(self, *shapes):
        """Polygons -> the mask of what they cover, for `shape(..., within=mask)`."""
        mask = Image.new("L", self.image.size)
        canvas = ImageDraw.Draw(mask)
        for points in shapes:
            canvas.polygon(self.to_canvas(points).ravel().tolist(), fill=255)
        return mask

    def line(self, *curves, color, width=0.5):
        """Draw smooth curves through the given points."""
        for points in curves:
            self.stroke(self.to_canvas(_smooth(points, False)), color, width)

    def stroke(self, xy, color, width):
        """Draw straight lines between pixels of the canvas; the width is in points."""
        pixels = max(1, round(width * self.unit))
        self.canvas.line(xy.ravel().tolist(), fill=color, width=pixels, joint="curve")

    def shape(self, *shapes, fill, line=None, width=0.6, within=None, opacity=1.0):
        """Fill polygons with a color, or with a pair of colors for their top and their bottom.

        All outlines are drawn before the insides, so shapes drawn together merge into one.
        """
        polygons = [self.to_canvas(points) for points in shapes]
        if line:
            for xy in polygons:
                self.stroke(np.concatenate([xy, xy[:2]]), line, 1.6 * width)
        plain = not isinstance(fill[0], tuple) and within is None and opacity == 1
        for xy in polygons:
            if plain:
                self.canvas.polygon(xy.ravel().tolist(), fill=fill)
            else:
                self._fill(xy, fill, within, opacity)

    def _fill(self, xy, fill, within, opacity):
        """Fill one polygon inside its bounding box: a gradient, a mask, or a thin layer."""
        left, top = (max(0, math.floor(v)) for v in xy.min(0).tolist())
        right, bottom = (min(self.pixels, math.ceil(v) + 1) for v in xy.max(0).tolist())
        if right <= left or bottom <= top:
            return  # outside of the image
        box = (left, top, right, bottom)
        extent = (right - left, bottom - top)
        mask = Image.new("L", extent)
        inside = (xy - (left, top)).ravel().tolist()
        ImageDraw.Draw(mask).polygon(inside, fill=round(255 * opacity))
        if within is not None:
            mask = ImageChops.multiply(mask, within.crop(box))
        if isinstance(fill[0], tuple):
            fill = _gradient(*fill, extent)
        self.image.paste(fill, box, mask)


def _gradient(top, bottom, extent):
    """Two colors -> an image that changes from the first at its top to the second at its bottom."""
    t = (np.arange(extent[1]) / extent[1])[:, None, None]
    column = (np.array(top) * (1 - t) + np.array(bottom) * t + 0.5).astype(np.uint8)
    return Image.fromarray(column).resize(extent, Image.Resampling.NEAREST)


# ---- curves ----

T = np.arange(6)[:, None] / 6
CURVE = [-T + 2 * T**2 - T**3, 2 - 5 * T**2 + 3 * T**3, T + 4 * T**2 - 3 * T**3, T**3 - T**2]
CURVE = np.stack(CURVE) / 2  # the four weights of a Catmull-Rom curve, at six points of each piece
LONG = np.linspace(0, 1, 13)[:, None]
CIRCLE = np.array([(math.cos(k * math.pi / 14), math.sin(k * math.pi / 14)) for k in range(28)])


def _smooth(points, closed=True):
    """A Catmull-Rom curve through the points. A point given twice is a corner."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    n = len(p) - 3
    pieces = sum(CURVE[k] * p[k : k + n, None] for k in range(4))
    moves = (p[1 : n + 1] != p[2 : n + 2]).any(1)
    curve = pieces[moves].reshape(-1, 2)  # between the two points of a corner there is a loop
    return curve if closed else np.concatenate([curve, p[-1:]])


def _ellipse(x, y, rx, ry):
    return CIRCLE * (rx, ry) + (x, y)


def _lock(root, tip, width, bend=0.0, blunt=2.2):
    """A tapering lock of hair, bent by `bend`: 13 points down one edge, 13 up the other."""
    dx, dy = tip[0] - root[0], tip[1] - root[1]
    normal = np.array([-dy, dx]) / math.hypot(dx, dy)
    middle = np.array(root) + LONG * (dx, dy) + normal * bend * 4 * LONG * (1 - LONG)
    half = normal * width / 2 * (1 - LONG**blunt)
    return np.concatenate([middle + half, (middle - half)[::-1]])


def _mirror(points):
    """The right half of a shape, from top to bottom -> the whole shape."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def _twins(points):
    """A shape on the right -> the same shape on both sides."""
    points = np.asarray(points, float)
    return points, points * (-1, 1)


# ---- colors ----


def _mix(a, b, share):
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b))


def _rgb(hue, lightness, saturation):
    rgb = colorsys.hls_to_rgb(hue % 1, min(1, max(0, lightness)), min(1, saturation))
    return tuple(round(255 * v) for v in rgb)


def _tone(hls, rng, hue=0.012, light=0.03):
    """A color of a table -> a slightly different one for this face, as RGB."""
    h = hls[0] + rng.uniform(-hue, hue)
    l = hls[1] + rng.uniform(-light, light)
    s = hls[2] * rng.uniform(0.9, 1.08)
    return _rgb(h, l, s)


def _hair_tones(pen):
    base = _tone(HAIR[pen.face["hair_color"]], pen.rng("hair colour"))  # a seed: keep its spelling
    shade = _mix(_mix((0, 0, 0), base, 0.80), (84, 48, 130), 0.17)
    return {
        "base": base,
        "shade": shade,
        "light": _mix(base, (255, 250, 255), 0.52 if sum(base) > 200 else 0.34),
        "tip": _mix(base, shade, 0.4),
        "line": _mix(_mix((0, 0, 0), shade, 0.56), (50, 20, 60), 0.3),
    }


# ---- the parts, from back to front ----


def _background(pen):
    rng = pen.rng("background")
    hue, light = rng.random(), rng.uniform(0.74, 0.88)
    top = _rgb(hue, light, rng.uniform(0.45, 0.75))
    bottom = _rgb(hue + rng.uniform(-0.12, 0.12), light + rng.uniform(0.02, 0.10), 0.6)
    pen.image.paste(_gradient(top, bottom, pen.image.size))


def _body(pen, skin):
    rng = pen.rng("clothes")
    cloth = _rgb(rng.random(), rng.choice((0.3, 0.55, 0.9)), rng.uniform(0.4, 0.7))
    trim = rng.choice((WHITE, (250, 215, 90), (225, 70, 85), (40, 50, 95)))
    kind = rng.choice(("sailor", "shirt", "round"))
    line = _mix(cloth, INK, 0.6)
    shade = _mix(skin, (170, 70, 80), 0.32)
    shoulders = _mirror([(4.5, 56.5), (10, 58.6), (19, 61), (24, 68), (25, 90)])
    pen.shape(_smooth(shoulders), fill=cloth, line=line)
    pen.shape(_mirror([(4.6, 44), (4.7, 56.5), (8, 59), (0, 66)]), fill=(shade, skin))  # the neck
    if kind == "round":
        collar = _mirror([(0, 59.3), (5, 56.6), (8.8, 57.6), (8, 61.2), (0, 63.8)])
        pen.shape(_smooth(collar), fill=trim, line=line, width=0.4)
    elif kind == "sailor":
        collar = _twins([(4.6, 55.2), (10, 58.2), (13, 68), (2, 72), (0, 65.5)])
        pen.shape(*collar, fill=trim, line=line, width=0.4)
        pen.line(*_twins([(7.2, 56.8), (7.6, 62), (2, 69)]), color=cloth, width=0.7)
    else:
        collar = _twins([(4.6, 54.8), (9.5, 57.8), (7.5, 64), (0.6, 62)])
        pen.shape(*collar, fill=_mix(cloth, WHITE, 0.75), line=line, width=0.4)


def _face(pen, skin, fringe):
    line = _mix(skin, (110, 35, 45), 0.55)
    shade = _mix(skin, (185, 75, 100), 0.34)
    upper = [(0, 16.6), (8, 18), (14.4, 24), (15.3, 32)]
    lower = [(14.9, 39), (12.7, 44.5), (7.7, 49.6), (2.2, 52.7)]
    head = _smooth(_mirror(upper + lower))
    pen.shape(head, fill=(skin, _mix(skin, (255, 190, 170), 0.12)), line=line)
    mask = pen.mask(head)
    shadow = pen.mask(*(points + (0, 1.9) for points in fringe))
    pen.image.paste(shade, mask=ImageChops.multiply(mask, shadow))
    for width in (4.4, 3.1):  # two thin layers make a soft blush
        cheeks = _twins(_ellipse(10, 44.7, width, 0.66 * width))
        pen.shape(*cheeks, fill=(250, 95, 110), within=mask, opacity=0.20)
    nose = [(0.3, 43.4), (-0.5, 44.7), (0.4, 45)]
    pen.line(nose, color=_mix(skin, (150, 50, 50), 0.5))


def _mouth(pen, skin):
    kind = pen.face["mouth"]
    line = _mix(skin, (120, 25, 40), 0.8)
    curves = {
        "smile": [(-3.4, 47.2), (-1.5, 48.6), (1.5, 48.6), (3.4, 47.2)],
        "neutral": [(-2.1, 48.2), (2.1, 48.2)],
        "cat": [(-3.6, 47.2), (-1.9, 48.8), *[(0, 47.4)] * 2, (1.9, 48.8), (3.6, 47.2)],
    }
    if kind in curves:
        pen.line(curves[kind], color=line, width=0.75)
    elif kind == "small o":
        pen.shape(_ellipse(0, 48.3, 1.8, 2), fill=line)
        pen.shape(_ellipse(0, 48.8, 1.1, 1.1), fill=(225, 90, 100))
    else:
        mouth = _smooth(_mirror([(0, 47), *[(4, 46.4)] * 2, (2.5, 50), (0.8, 51.1)]))
        mask = pen.mask(mouth)
        pen.shape(mouth, fill=(150, 35, 55), line=line, width=0.35)
        pen.shape(_ellipse(0, 51, 2.5, 2), fill=(245, 125, 130), within=mask)  # the tongue
        pen.shape([(-3, 46), (3, 46), (2.4, 47.9), (-2.4, 47.9)], fill=WHITE, within=mask)


def _eye(pen, at, side, skin):
    """Draw the eye at the left (at = -1) or at the right (1) of the image.

    u counts outward from the middle of the eye, in half widths; v counts downward, in points.
    """
    w, h, hang = SHAPES[pen.face["eye_shape"]]
    kind = pen.face["eyes"]
    half = kind == "half"
    if half:
        hang = 0.4 * hang + 0.4  # tired, not cross

    def to_points(us, vs):
        return [(at * (8.6 + u * w), EYE_LINE + v + hang * u) for u, v in zip(us, vs)]

    if kind == "closed" or (kind == "wink" and at == side):
        _closed_eye(pen, to_points)
        return
    lid = np.array((0.35, 0.0, -0.12, 0.0, 0.3) if half else (0.2, -0.76, -1, -0.7, 0.12))
    upper = to_points((-1, -0.62, 0.1, 0.72, 1), h * lid)
    lower = to_points((0.78, 0.1, -0.62), (0.72 * h, 0.98 * h, 0.8 * h))
    eye = _smooth(upper[:1] + upper + upper[-1:] + lower)
    mask = pen.mask(eye)
    base = _tone(EYES[pen.face["eye_color"]], pen.rng("eye colour"), 0.01, 0.03)  # a seed: keep
    x, y = at * 8.3, EYE_LINE + 0.02 * h
    pen.shape(eye, fill=(244, 243, 252))
    iris = (_mix(base, (20, 5, 45), 0.62), base)
    for dx, dy, rx, ry, fill in (
        (0, 0, 0.78, 0.98, _mix(base, (20, 0, 40), 0.75)),
        (0, 0, 0.69, 0.90, iris),
        (0, 0.54, 0.46, 0.30, _mix(base, WHITE, 0.36)),
        (0, -0.02, 0.30, 0.42, _mix(base, (15, 0, 35), 0.88)),  # the pupil
        (-0.30, 0.1 if half else -0.40, 0.30, 0.27, WHITE),  # two highlights
        (0.30, 0.42, 0.16, 0.14, WHITE),
    ):
        pen.shape(_ellipse(x + dx * w, y + dy * h, rx * w, ry * h), fill=fill, within=mask)
    corner = to_points((1.2,), ((lid[-1] - 0.2) * h,))
    _lashes(pen, np.concatenate([_smooth(upper, False), corner]), 0.6, 1.9)
    lower_lid = to_points((1, 0.78, 0.2), (0.2 * h, 0.74 * h, h))
    pen.line(lower_lid, color=_mix(INK, skin, 0.3), width=0.45)
    if half:
        fold = to_points((-0.7, 0.1, 0.8), h * lid[1:4] - 2.4)
        pen.line(fold, color=_mix(skin, (120, 40, 50), 0.6))


def _closed_eye(pen, to_points):
    laughing = pen.face["eyes"] == "wink" or pen.rng("lids").random() < 0.5
    up = -1 if laughing else 1  # the arc of a laughing eye, or of a sleeping one
    arc = to_points((-1, -0.55, 0.1, 0.7, 1), 2 + up * np.array((-1.1, 1.1, 1.8, 0.8, -1.1)))
    _lashes(pen, _smooth(arc, False), 0.5, 1.5)
    for u, v in ((0.62, 1.4), (0.98, -0.5)):
        lash = to_points((u, u + 0.3), np.array((v, v + 1.6)) * up + 2)
        pen.line(lash, color=INK, width=0.65)


def _lashes(pen, curve, thin, thick):
    """Draw a line that gets thicker from its start to its end."""
    width = thin + (thick - thin) * np.linspace(0, 1, len(curve))[:, None] ** 0.8
    pen.shape(np.concatenate([curve + (0, 0.35), (curve - (0, 1) * width)[::-1]]), fill=INK)


def _brows(pen, hair):
    height = pen.rng("brows").uniform(-0.7, 0.3)
    slope = pen.rng("slopes").uniform(-0.3, 1.3)
    inner = (4.2, 29.6 + height - slope / 2)
    outer = (12.6, 29.9 + height + slope / 2)
    pen.shape(*_twins(_lock(inner, outer, 1.2, -0.7, 1.2)), fill=hair["line"])


def _length(pen):
    """0, 1 or 2: short, medium or long hair."""
    return ATTRIBUTES["hair_length"].index(pen.face["hair_length"])


def _fringe(pen, side):
    """The locks over the forehead, as polygons, from back to front."""
    rng = pen.rng("fringe")
    style = pen.face["hair_style"]
    locks, blunt, mirrored = FRINGES[style]
    wild = {"messy": 1.4, "straight": 0.35}.get(style, 0.6)
    polygons = []
    for root_x, tip_x, tip_y, width, bend in locks:
        for s in (-1, 1) if mirrored else (side,):
            root = (s * root_x, 11 + abs(root_x) * 0.1)
            tip = (s * tip_x + rng.uniform(-wild, wild), tip_y + rng.uniform(-wild, wild))
            polygons.append(_lock(root, tip, width, s * bend, blunt))
    return polygons


def _hair_back(pen, hair, side):
    rng = pen.rng("back")
    style = pen.face["hair_style"]
    length = _length(pen)
    tie = rng.choice(COLORS)
    if style == "buns":
        _buns(pen, hair)
    if style in ("twin tails", "ponytail"):
        _tails(pen, hair, side, tie, (42, 55, 74)[length] + rng.uniform(-1, 1))
        length = 0  # everything but the tails is short
    line = hair["line"]
    end = (44, 57.5, 80)[length]
    wide = (18, 20, 21.5)[length]
    tip = wide - (0.5, 1.6, 0)[length]
    outer = [*CAP[:4], (wide, 30), (wide + 0.4, end - 10), (tip, end - 2)]
    first_tip = [*[(wide - 3, end + 1.6)] * 2, (wide - 5, end - 1.5)]
    second_tip = [*[(wide - 8.5, end + 1.5)] * 2, (wide - 10, end - 1)]
    shapes = [_smooth(_mirror(outer + first_tip + second_tip))]
    if style == "curly":
        shapes = [_smooth(_mirror([*CAP[:4], (19, 32), (18.5, end - 4), (8, end)]))]
        for y in np.arange(21, min(end, 66), 5.6):
            for s in (-1, 1):
                x = s * np.interp(y, (22, 60), (17.5, 20)) + rng.uniform(-0.6, 0.6)
                shapes.append(_ellipse(x, y, 4.7, 4.5))
    if style == "messy":
        for y, out in ((24, 21.5), (31, 22.5), (38, 21.5), (44, 19.5)):
            for s in (-1, 1):
                end_point = (s * out + rng.uniform(-1, 1), y + 4 + rng.uniform(-1, 1))
                shapes.append(_lock((s * 9, y - 9), end_point, 11, -s * 2.5))
    pen.shape(*shapes, fill=(hair["tip"], hair["shade"]), line=line)
    if length:
        for k in (2.4, 4.8):
            strand = [(wide - k, 32), (wide - k + 0.3, end - 10), (wide - k - 0.8, end - 2)]
            pen.line(*_twins(strand), color=line)


def _buns(pen, hair):
    buns = _twins(_ellipse(15, 10, 6.4, 6.2))
    pen.shape(*buns, fill=(hair["base"], hair["tip"]), line=hair["line"])
    for curl in [(11, 11), (14.5, 7), (18.5, 9)], [(12.5, 13.5), (15.5, 10), (17.5, 11.5)]:
        pen.line(*_twins(curl), color=hair["line"])


def _tails(pen, hair, side, tie, end):
    """Draw twin tails, or one ponytail on the given side, down to y = end."""
    ponytail = pen.face["hair_style"] == "ponytail"
    top = [(14, 14), (19, 11), (25, 17)]
    if ponytail:
        top = [(6, 9), (12, 2.5), (21, 4), (26, 14)]
    outer = [(28, 0.45 * end + 10), (26.8, 0.75 * end + 4)]
    inner = [(19.8, 0.75 * end + 2), (18.2, 0.5 * end + 6), (17, 21), (12, 14)]
    tail = _smooth([*top, *outer, *[(23, end)] * 2, *inner])
    strand = [top[0], (top[-1][0] - 1.5, 20), (24.5, 0.6 * end + 8), (23, end - 3)]
    if ponytail:
        tails = [tail * (side, 1)]
        strands = [np.array(strand) * (side, 1)]
        ties = [_ellipse(side * 12.4, 7, 2.6, 2.6)]
    else:
        tails = _twins(tail)
        strands = _twins(strand)
        ties = _twins(_ellipse(17.6, 13.6, 1.9, 2.9))
    pen.shape(*tails, fill=(hair["base"], hair["shade"]), line=hair["line"])
    pen.line(*strands, color=hair["line"])
    pen.shape(*ties, fill=tie, line=_mix(tie, INK, 0.6), width=0.45)


CAP = [(0, 6.6), (8, 7.8), (14.5, 13), (18, 22), (18.4, 31)]


def _hair_front(pen, hair, fringe, side):
    rng = pen.rng("front")
    style = pen.face["hair_style"]
    line = hair["line"]
    _side_locks(pen, hair, rng)
    cap = _smooth(_mirror([*CAP, CAP[-1], (16.2, 26), (12.5, 20.5), (6, 16.5), (0, 14.8)]))
    shapes = [cap]
    if style == "messy":
        for x, y, bend in ((-15, 9, 2), (-8, 3.5, 1.5), (0, 2, -1), (8, 3, -2), (15.5, 8.5, -2.5)):
            tip = (x + rng.uniform(-1.5, 1.5), y + rng.uniform(-1, 1))
            shapes.append(_lock((x * 0.5, 15), tip, 10, bend))
    if rng.random() < 0.35:  # one hair that sticks up
        shapes.append(_lock((0, 10), (side * 6.5, 2.5), 2.6, side * 2.2))
    if style == "curly":
        for x, y in ((0, 8), (5.4, 8.6), (10.6, 11.4), (14.6, 16), (16.4, 21.6)):
            shapes += [_ellipse(s * x, y, 4.4, 4.2) for s in (-1, 1)]
    pen.shape(*shapes, fill=hair["base"], line=line)
    for points in fringe:
        left, right = points[:13], points[:12:-1]
        pen.shape(points, fill=hair["base"])
        pen.shape(np.concatenate([left[4:], (left * 0.62 + right * 0.38)[:3:-1]]), fill=hair["tip"])
        pen.stroke(pen.to_canvas(points[6:21]), line, 0.5)  # only the free end shows an edge
    _shade_and_shine(pen, hair, pen.mask(cap, *fringe), rng)


def _side_locks(pen, hair, rng):
    length = _length(pen)
    end = (42, 50, 60)[length] + rng.uniform(-1, 1)
    fill = (hair["base"], hair["tip"])
    line = hair["line"]
    if pen.face["hair_style"] == "curly":  # in front of the ears
        curls = []
        for k in range(3 + 2 * length):
            curls += [_ellipse(s * (16.6 + k % 2), 29 + 5 * k, 3.6, 3.8) for s in (-1, 1)]
        pen.shape(*curls, fill=fill, line=line)
    else:
        outer = [(12.5, 17), (16.8, 19), (18.9, 28), (18.8, 0.5 * end + 17)]
        inner = [(13.6, 0.6 * end + 13), (13.4, 30)]
        pen.shape(*_twins(_smooth([*outer, *[(15.4, end)] * 2, *inner])), fill=fill, line=line)
        strand = [(15.4, 27), (16.6, 0.5 * end + 16), (15.9, end - 4)]
        pen.line(*_twins(strand), color=line, width=0.4)


def _shade_and_shine(pen, hair, mask, rng):
    """Darken the hair downward, and draw the ring of light: smooth above, ragged below."""
    ramp = np.interp(np.linspace(0, 64, pen.pixels), (16, 36), (0, 110)).astype(np.uint8)
    ramp = Image.fromarray(ramp[:, None]).resize(mask.size, Image.Resampling.NEAREST)
    pen.image.paste(hair["shade"], mask=ImageChops.multiply(mask, ramp))
    x = np.linspace(-14, 14, 27)
    top = 15.6 + 0.02 * x * x
    depths = [rng.uniform(2, 4.8) if k % 2 else rng.uniform(0.5, 2.2) for k in range(27)]
    bottom = top + depths * (1 - (x / 15) ** 4)
    ring = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    pen.shape(ring, fill=hair["light"], within=mask, opacity=0.85)


# ---- accessories ----


def _accessory(pen, hair, side):
    rng = pen.rng("accessory")
    kind = pen.face["accessory"]
    color = rng.choice(COLORS)
    look = {"fill": color, "line": _mix(color, INK, 0.65), "width": 0.45}
    if kind == "glasses":
        _glasses(pen, rng.choice(((60, 45, 60), (200, 55, 65), (60, 80, 150))))
    elif kind == "ribbon":
        loops = _twins(_smooth([(0, 0), (4, -5), (8.2, -5), (8.4, 2.5), (4, 2.7)]))
        pen.shape(*(loop + (side * 10.5, 12) for loop in loops), **look)
        pen.shape(_ellipse(side * 10.5, 12.1, 2, 2.3), **look)
    elif kind == "hairclip":
        for y in (20.2, 23.4):
            pen.shape(_lock((8.2, y + 2), (14.8, y), 2.4, 0, 12) * (side, 1), **look)
    elif kind == "headband":
        right = [(8.5, 10.8), (15.6, 15.8), (18.6, 25)]
        band = np.array([*((-x, y) for x, y in reversed(right)), (0, 9.4), *right])
        lower = (band * (0.9, 1) + (0, 2.8))[::-1]
        pen.shape(np.concatenate([_smooth(band, False), _smooth(lower, False)]), **look)
    elif kind == "flower":
        angles = [k * 1.2566 + 0.3 for k in range(5)]
        centers = [(12.5 * side + 3.2 * math.cos(a), 15.5 + 3.2 * math.sin(a)) for a in angles]
        pen.shape(*(_ellipse(x, y, 2.5, 2.5) for x, y in centers), **look)
        center = WHITE if color == YELLOW else (255, 225, 110)
        pen.shape(_ellipse(side * 12.5, 15.5, 1.8, 1.8), fill=center)
    elif kind == "cat ears":
        ears = _twins([(4.4, 11.4), (8.2, 5.6), *[(14.8, -0.4)] * 2, (17.6, 8), (17.4, 16.5)])
        pen.shape(*(_smooth(ear, False) for ear in ears), fill=hair["base"])
        pen.line(*ears, color=hair["line"], width=0.6)  # open below, where hair becomes ear
        inner = [*[(8.2, 10.4)] * 2, (10.4, 6.6), *[(14.2, 3)] * 2, (15.7, 8), *[(15.4, 13.8)] * 2]
        pen.shape(*_twins(_smooth(inner)), fill=((255, 170, 188), (225, 115, 145)))


def _glasses(pen, frame):
    rim = _smooth([(1.9, 35), (8.5, 32.2), (15.2, 34.4), (15.2, 40), (8.8, 44.6), (2.4, 41.8)])
    pen.shape(*_twins(rim), fill=WHITE, opacity=0.1)
    rims = _twins([*rim[::3], rim[0]])
    bridge = [(-2, 37), (0, 36.2), (2, 37)]
    temples = _twins([(15.2, 36), (17, 35.2)])
    pen.line(*rims, bridge, *temples, color=frame, width=0.75)
