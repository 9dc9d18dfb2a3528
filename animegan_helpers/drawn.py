"""A seed becomes a drawn anime face, 64x64, with its attributes; built for page 01.

Everything is drawn in points: a picture is 64 points wide whatever its size in pixels, x counts from the middle of
the face, y from the top. All shapes are polygons on a canvas several times too large, shrunk at the end.
"""

import colorsys
import csv
import math
import os
import random
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw
from tqdm import tqdm

# hue, lightness, saturation
HAIR = {"black": (.67, .17, .22), "brown": (.065, .33, .46), "red": (.985, .46, .66), "orange": (.075, .60, .92),
        "blond": (.130, .72, .88), "white": (.63, .93, .36), "pink": (.925, .77, .86), "purple": (.755, .56, .52),
        "blue": (.600, .55, .76), "green": (.385, .50, .46)}
EYES = {"brown": (.060, .34, .55), "gold": (.120, .52, .95), "red": (.985, .48, .80), "pink": (.910, .66, .90),
        "purple": (.755, .52, .70), "blue": (.605, .50, .90), "aqua": (.500, .52, .85), "green": (.360, .42, .70)}
SKIN = {"fair": (.035, .945, .90), "light": (.075, .870, .84), "tan": (.075, .725, .60), "brown": (.060, .540, .42),
        "dark": (.050, .370, .36)}
# half the width and half the height of an open eye, and how far its outer corner hangs, in points
SHAPES = {"round": (5.3, 5.6, 0.0), "tall": (4.7, 6.6, -.3), "sharp": (5.8, 4.7, -1.9), "droopy": (5.5, 5.2, 1.7)}
# style: the locks of the fringe, the hindmost first, as (x of the root, x and y of the tip, width, bend), how blunt
# they are, and whether each has a twin on the other side
FRINGES = {
    "straight": (((-8.4, -13.5, 32, 7, -1.2), (8.4, 13.5, 32, 7, 1.2), (-5.3, -8.6, 31.8, 7, -.8),
                  (5.3, 8.6, 31.8, 7, .8), (-2.6, -4.2, 31.5, 7, -.4), (2.6, 4.2, 31.5, 7, .4), (0, 0, 31.3, 6, 0)),
                 9, False),
    "swept": (((-7, -15, 37, 8, 3), (-6, 15.5, 38, 9, -6), (-6.5, 11.5, 34, 9, -6.5), (-7, 6.5, 32.5, 9, -6),
               (-8, 1, 31, 8, -4.5), (-8, -5, 30.5, 7, -1.5), (-8, -10.5, 32, 7, 1)), 2.2, False),
    "parted": (((5, 16, 41, 9, -4), (2.6, 14.4, 36, 9, -6), (1.2, 11.6, 31.5, 9, -6), (.4, 7.4, 27.5, 8, -4.5)),
               2.2, True),
    "messy": (((-8, -12, 36, 8, 1), (9, 15, 35, 8, 1), (-6, -8, 31, 8, 1), (7, 11.5, 32, 8, 1),
               (-3, -3.5, 34, 7.5, 1.2), (4, 7.5, 34, 8, 1.2), (0, 2.2, 30.5, 7, 1)), 2.2, False),
    "curly": (((9, 14.5, 33, 9, 0), (6, 9.6, 30.5, 8.5, .6), (2.8, 4.9, 29.5, 8, .6), (-.2, .4, 29.6, 7.5, 0)),
              5, True),
    "twin tails": (((8, 15, 37, 8, -1.5), (6, 10.5, 31, 7.5, -1), (3, 6, 31.5, 7.5, -.6), (.3, .3, 34, 6.5, 0)),
                   2.2, True),
    "ponytail": (((-5, -15, 39, 7, 2.5), (6, 15.5, 38, 8, -3), (4, 11, 33, 8, -4), (2, 5.5, 31.5, 8, -3),
                  (1, -1, 31, 7, 1), (0, -7, 32, 7.5, 3), (-3, -11.5, 34, 7, 3)), 2.2, False),
    "buns": (((8, 15, 36, 8, -1.5), (7, 11, 30, 7.5, -1.5), (4, 7, 29.5, 7.5, -1.2), (1.5, 2.6, 29.5, 6.5, -.6)),
             2.2, True),
}

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
# the share of the first value; the others share the rest. What is not named here is uniform.
FIRST = {"eyes": .75, "accessory": .45}

INK, WHITE = (52, 30, 48), (255, 255, 255)
COLOURS = ((228, 52, 72), (255, 120, 170), (255, 205, 60), (70, 130, 235), (60, 190, 150), (250, 250, 255))
PIVOT = 42          # the point of the face, from the top, about which the head turns and grows
EYE_LINE = 37.5


def attributes(seed: int, index: int = 0) -> dict:
    """Face `index` of the set `seed`, as a dict: the nine of `ATTRIBUTES`, then numbers.

    `tilt` in degrees, `scale` a factor, `x` and `y` in 64ths of the picture; `seed` decides all that has no name
    (strands, clothes, background, shades). It depends on no other face: a larger set begins with the smaller one.
    """
    rng = random.Random(f"face {seed} {index}")
    face = {}
    for name, values in ATTRIBUTES.items():
        first, pick = rng.random() < FIRST.get(name, 0), rng.random()
        rest = values[1:] if name in FIRST else values
        face[name] = values[0] if first else rest[int(pick * len(rest))]
    tilt = max(-15.0, min(15.0, rng.gauss(0, 6)))
    return face | {"tilt": round(tilt, 2), "scale": round(rng.uniform(.92, 1.12), 3), "x": round(rng.uniform(-2, 2), 2),
                   "y": round(rng.uniform(-1.5, 1.5), 2), "seed": rng.getrandbits(31)}


def draw(attributes: dict, size: int = 64) -> Image.Image:
    """Attributes as `attributes` gives them -> an RGB picture, size x size. The same dict, the same picture.

    Raises ValueError for a size below 16, a missing attribute, or a value that `ATTRIBUTES` does not have.
    """
    if size < 16:
        raise ValueError(f"size is {size}; the smallest face is 16 pixels wide")
    for name in (*ATTRIBUTES, "tilt", "scale", "x", "y", "seed"):
        if name not in attributes:
            raise ValueError(f"the attribute {name!r} is missing")
    for name, values in ATTRIBUTES.items():
        if attributes[name] not in values:
            raise ValueError(f"{name} is {attributes[name]!r}; it can be {', '.join(map(repr, values))}")
    pen = _Pen(attributes, size)
    side = pen.rng("side").choice((-1, 1))
    hair = _hair_tones(pen)
    skin = _tone(SKIN[pen.face["skin"]], pen.rng("skin"), .006, .015)
    fringe = _fringe(pen, side)
    _background(pen)
    pen.aim(pen.face["tilt"])
    _hair_back(pen, hair, side)
    pen.aim(pen.face["tilt"] * .3)
    _body(pen, skin)
    pen.aim(pen.face["tilt"])
    _face(pen, skin, fringe)
    _mouth(pen, skin)
    for at in (-1, 1):
        _eye(pen, at, side, skin)
    _hair_front(pen, hair, fringe, side)
    _brows(pen, hair)
    _accessory(pen, hair, -side)       # away from the ponytail
    return pen.image.resize((size, size), Image.Resampling.LANCZOS)


def write(folder, count: int, seed: int = 0, size: int = 64, workers: int | None = None) -> Path:
    """Draws faces 0 to count - 1 of the set `seed` into folder/images/000000.png ..., and folder/labels.csv.

    `workers` processes (default: one a core; 1 draws in this one). The folder appears when it is whole, or not at all.
    Raises ValueError for count < 1, FileExistsError where the folder exists and is not empty.
    """
    folder = Path(folder)
    if count < 1:
        raise ValueError(f"count is {count}; a set has at least one face")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty: choose another folder, or remove it")
    chunks = [range(start, min(start + 50, count)) for start in range(0, count, 50)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        hidden.chmod(0o755)         # mkdtemp's folders are for the owner alone
        (hidden / "images").mkdir()
        with (ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool,
              (hidden / "labels.csv").open("w", newline="", encoding="utf-8") as labels,
              tqdm(total=count, desc="drawing", unit="face") as bar):
            table = csv.DictWriter(labels, ["file", *attributes(seed)])
            table.writeheader()
            for rows in (pool.map if pool else map)(partial(_write_chunk, hidden, seed, size), chunks):
                table.writerows(rows)
                bar.update(len(rows))
        if folder.exists():
            folder.rmdir()          # empty, as looked at above; Windows renames onto nothing that exists
        hidden.rename(folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return folder


def read_labels(folder) -> list[dict]:
    """folder/labels.csv -> a dict for each picture: `file`, then its attributes; numbers as floats."""
    with (Path(folder) / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value if name in ATTRIBUTES or name == "file" else float(value) for name, value in row.items()}
                for row in csv.DictReader(file)]


def _write_chunk(folder, seed, size, indices):
    rows = []
    for index in indices:
        face = attributes(seed, index)
        rows.append({"file": f"{index:06d}.png", **face})
        draw(face, size).save(folder / "images" / rows[-1]["file"])
    return rows


# ---- the pen: points in, pixels out ----

class _Pen:
    """A canvas, the place of the head on it, and the random numbers of one face."""

    def __init__(self, face, size):
        self.face = face
        self.pixels = size * max(3, math.ceil(192 / size))
        self.unit = self.pixels / 64
        self.image = Image.new("RGB", (self.pixels, self.pixels))
        self.canvas = ImageDraw.Draw(self.image)
        self.aim(0)

    def rng(self, part):
        """Own random numbers for each part: another hair style leaves the background as it is."""
        return random.Random(f"{part} {int(self.face['seed'])}")

    def aim(self, tilt):
        """How far the head, or what follows it, is turned from now on, in degrees."""
        scale = 1.05 * self.face["scale"] * self.unit
        cos, sin = scale * math.cos(math.radians(tilt)), scale * math.sin(math.radians(tilt))
        self.across, self.down = np.array([cos, sin]), np.array([-sin, cos])
        middle = np.array([32 + self.face["x"], PIVOT + self.face["y"]]) * self.unit
        self.origin = middle - PIVOT * self.down

    def place(self, points):
        """(n, 2) points of the head -> pixels of the canvas: turned, scaled, moved."""
        p = np.asarray(points, float)
        return p[:, :1] * self.across + p[:, 1:] * self.down + self.origin

    def mask(self, *shapes):
        """Where the shapes are: what `within` takes."""
        mask = Image.new("L", self.image.size)
        canvas = ImageDraw.Draw(mask)
        for points in shapes:
            canvas.polygon(self.place(points).ravel().tolist(), fill=255)
        return mask

    def line(self, *curves, colour, width=.5):
        for points in curves:
            self._line(self.place(_smooth(points, False)), colour, width)

    def _line(self, xy, colour, width):
        self.canvas.line(xy.ravel().tolist(), fill=colour, width=max(1, round(width * self.unit)), joint="curve")

    def shape(self, *shapes, fill, line=None, width=.6, within=None, opacity=1.0):
        """Fills polygons with a colour, or a pair: the first at the top of each, the second at its bottom.

        First the outlines of all, then the insides: shapes drawn together melt into one.
        """
        shapes = [self.place(points) for points in shapes]
        for xy in shapes if line else ():
            self._line(np.concatenate([xy, xy[:2]]), line, 1.6 * width)
        for xy in shapes:
            plain = not isinstance(fill[0], tuple)
            if plain and within is None and opacity == 1:
                self.canvas.polygon(xy.ravel().tolist(), fill=fill)
                continue
            left, top = (max(0, math.floor(v)) for v in xy.min(0).tolist())
            right, bottom = (min(self.pixels, math.ceil(v) + 1) for v in xy.max(0).tolist())
            if right <= left or bottom <= top:
                continue            # all outside of the picture
            box, extent = (left, top, right, bottom), (right - left, bottom - top)
            mask = Image.new("L", extent)
            ImageDraw.Draw(mask).polygon((xy - (left, top)).ravel().tolist(), fill=round(255 * opacity))
            if within is not None:
                mask = ImageChops.multiply(mask, within.crop(box))
            self.image.paste(fill if plain else _gradient(*fill, extent), box, mask)


def _gradient(top, bottom, extent):
    t = (np.arange(extent[1]) / extent[1])[:, None, None]
    column = (np.array(top) * (1 - t) + np.array(bottom) * t + .5).astype(np.uint8)
    return Image.fromarray(column).resize(extent, Image.Resampling.NEAREST)


T = np.arange(6)[:, None] / 6
CURVE = np.stack([-T + 2 * T**2 - T**3, 2 - 5 * T**2 + 3 * T**3, T + 4 * T**2 - 3 * T**3, T**3 - T**2]) / 2
LONG = np.linspace(0, 1, 13)[:, None]
CIRCLE = np.array([(math.cos(k * math.pi / 14), math.sin(k * math.pi / 14)) for k in range(28)])


def _smooth(points, closed=True):
    """A Catmull-Rom curve through the points; a point given twice is a corner."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    n = len(p) - 3
    pieces = sum(CURVE[k] * p[k:k + n, None] for k in range(4))
    pieces = pieces[(p[1:n + 1] != p[2:n + 2]).any(1)]      # between the two points of a corner is a loop
    return pieces.reshape(-1, 2) if closed else np.concatenate([pieces.reshape(-1, 2), p[-1:]])


def _ellipse(x, y, rx, ry):
    return CIRCLE * (rx, ry) + (x, y)


def _lock(root, tip, width, bend=0.0, blunt=2.2):
    """A tapering stroke from root to tip, bent by `bend`: 13 points down one edge, 13 up the other."""
    dx, dy = tip[0] - root[0], tip[1] - root[1]
    normal = np.array([-dy, dx]) / math.hypot(dx, dy)
    middle = np.array(root) + LONG * (dx, dy) + normal * bend * 4 * LONG * (1 - LONG)
    half = normal * width / 2 * (1 - LONG**blunt)
    return np.concatenate([middle + half, (middle - half)[::-1]])


def _mirror(points):
    """The right half of a shape, from top to bottom -> the whole."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def _twins(points):
    """A shape on the right -> the same shape on both sides."""
    points = np.asarray(points, float)
    return points, points * (-1, 1)


# ---- colours ----

def _mix(a, b, share):
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b))


def _rgb(hue, lightness, saturation):
    return tuple(round(255 * v) for v in colorsys.hls_to_rgb(hue % 1, min(1, max(0, lightness)), min(1, saturation)))


def _tone(hls, rng, hue=.012, light=.03):
    return _rgb(hls[0] + rng.uniform(-hue, hue), hls[1] + rng.uniform(-light, light), hls[2] * rng.uniform(.9, 1.08))


def _hair_tones(pen):
    base = _tone(HAIR[pen.face["hair_color"]], pen.rng("hair colour"))
    shade = _mix(_mix((0, 0, 0), base, .80), (84, 48, 130), .17)
    return {"base": base, "shade": shade, "light": _mix(base, (255, 250, 255), .52 if sum(base) > 200 else .34),
            "tip": _mix(base, shade, .4), "line": _mix(_mix((0, 0, 0), shade, .56), (50, 20, 60), .3)}


# ---- the parts, from back to front ----

def _background(pen):
    rng = pen.rng("background")
    hue, light = rng.random(), rng.uniform(.74, .88)
    top = _rgb(hue, light, rng.uniform(.45, .75))
    bottom = _rgb(hue + rng.uniform(-.12, .12), light + rng.uniform(.02, .10), .6)
    pen.image.paste(_gradient(top, bottom, pen.image.size))


def _body(pen, skin):
    rng = pen.rng("clothes")
    cloth = _rgb(rng.random(), rng.choice((.3, .55, .9)), rng.uniform(.4, .7))
    trim = rng.choice((WHITE, (250, 215, 90), (225, 70, 85), (40, 50, 95)))
    kind = rng.choice(("sailor", "shirt", "round"))
    line, shade = _mix(cloth, INK, .6), _mix(skin, (170, 70, 80), .32)
    pen.shape(_smooth(_mirror([(4.5, 56.5), (10, 58.6), (19, 61), (24, 68), (25, 90)])), fill=cloth, line=line)
    pen.shape(_mirror([(4.6, 44), (4.7, 56.5), (8, 59), (0, 66)]), fill=(shade, skin))
    collar = {"round": [_smooth(_mirror([(0, 59.3), (5, 56.6), (8.8, 57.6), (8, 61.2), (0, 63.8)]))],
              "sailor": _twins([(4.6, 55.2), (10, 58.2), (13, 68), (2, 72), (0, 65.5)]),
              "shirt": _twins([(4.6, 54.8), (9.5, 57.8), (7.5, 64), (.6, 62)])}[kind]
    pen.shape(*collar, fill=_mix(cloth, WHITE, .75) if kind == "shirt" else trim, line=line, width=.4)
    if kind == "sailor":
        pen.line(*_twins([(7.2, 56.8), (7.6, 62), (2, 69)]), colour=cloth, width=.7)


def _face(pen, skin, fringe):
    line, shade = _mix(skin, (110, 35, 45), .55), _mix(skin, (185, 75, 100), .34)
    head = _smooth(_mirror([(0, 16.6), (8, 18), (14.4, 24), (15.3, 32), (14.9, 39), (12.7, 44.5), (7.7, 49.6),
                            (2.2, 52.7)]))
    pen.shape(head, fill=(skin, _mix(skin, (255, 190, 170), .12)), line=line)
    mask = pen.mask(head)
    pen.image.paste(shade, mask=ImageChops.multiply(mask, pen.mask(*(points + (0, 1.9) for points in fringe))))
    for width in (4.4, 3.1):            # two thin layers make a soft blush
        pen.shape(*_twins(_ellipse(10, 44.7, width, .66 * width)), fill=(250, 95, 110), within=mask, opacity=.20)
    pen.line([(.3, 43.4), (-.5, 44.7), (.4, 45)], colour=_mix(skin, (150, 50, 50), .5))


def _mouth(pen, skin):
    line, kind = _mix(skin, (120, 25, 40), .8), pen.face["mouth"]
    curves = {"smile": [(-3.4, 47.2), (-1.5, 48.6), (1.5, 48.6), (3.4, 47.2)], "neutral": [(-2.1, 48.2), (2.1, 48.2)],
              "cat": [(-3.6, 47.2), (-1.9, 48.8), *[(0, 47.4)] * 2, (1.9, 48.8), (3.6, 47.2)]}
    if kind in curves:
        pen.line(curves[kind], colour=line, width=.75)
    elif kind == "small o":
        pen.shape(_ellipse(0, 48.3, 1.8, 2), fill=line)
        pen.shape(_ellipse(0, 48.8, 1.1, 1.1), fill=(225, 90, 100))
    else:
        mouth = _smooth(_mirror([(0, 47), *[(4, 46.4)] * 2, (2.5, 50), (.8, 51.1)]))
        mask = pen.mask(mouth)
        pen.shape(mouth, fill=(150, 35, 55), line=line, width=.35)
        pen.shape(_ellipse(0, 51, 2.5, 2), fill=(245, 125, 130), within=mask)
        pen.shape([(-3, 46), (3, 46), (2.4, 47.9), (-2.4, 47.9)], fill=WHITE, within=mask)


def _eye(pen, at, side, skin):
    """The eye at the left (at = -1) or the right (1) of the picture; u counts outwards from its middle, v downwards."""
    (w, h, hang), kind = SHAPES[pen.face["eye_shape"]], pen.face["eyes"]
    hang = hang if kind != "half" else .4 * hang + .4       # tired, not cross

    def spot(us, vs):
        return [(at * (8.6 + u * w), EYE_LINE + v + hang * u) for u, v in zip(us, vs)]

    def stroke(curve, thin, thick):
        """A line that swells outwards."""
        swell = thin + (thick - thin) * np.linspace(0, 1, len(curve))[:, None] ** .8
        pen.shape(np.concatenate([curve + (0, .35), (curve - (0, 1) * swell)[::-1]]), fill=INK)

    if kind == "closed" or (kind == "wink" and at == side):
        up = -1 if kind == "wink" or pen.rng("lids").random() < .5 else 1       # a laughing arc, or a sleeping one
        stroke(_smooth(spot((-1, -.55, .1, .7, 1), 2 + up * np.array((-1.1, 1.1, 1.8, .8, -1.1))), False), .5, 1.5)
        pen.line(*(spot((u, u + .3), np.array((v, v + 1.6)) * up + 2) for u, v in ((.62, 1.4), (.98, -.5))), colour=INK,
                 width=.65)
        return
    lid = np.array((.2, -.76, -1, -.7, .12) if kind != "half" else (.35, .0, -.12, .0, .3))
    upper = spot((-1, -.62, .1, .72, 1), h * lid)
    eye = _smooth(upper[:1] + upper + upper[-1:] + spot((.78, .1, -.62), (.72 * h, .98 * h, .8 * h)))
    mask = pen.mask(eye)
    base = _tone(EYES[pen.face["eye_color"]], pen.rng("eye colour"), .01, .03)
    x, y = at * 8.3, EYE_LINE + .02 * h
    pen.shape(eye, fill=(244, 243, 252))
    for dx, dy, rx, ry, fill in (
            (0, 0, .78, .98, _mix(base, (20, 0, 40), .75)), (0, 0, .69, .90, (_mix(base, (20, 5, 45), .62), base)),
            (0, .54, .46, .30, _mix(base, WHITE, .36)), (0, -.02, .30, .42, _mix(base, (15, 0, 35), .88)),
            (-.30, -.40 if kind != "half" else .1, .30, .27, WHITE), (.30, .42, .16, .14, WHITE)):
        pen.shape(_ellipse(x + dx * w, y + dy * h, rx * w, ry * h), fill=fill, within=mask)
    stroke(np.concatenate([_smooth(upper, False), spot((1.2,), ((lid[-1] - .2) * h,))]), .6, 1.9)
    pen.line(spot((1, .78, .2), (.2 * h, .74 * h, h)), colour=_mix(INK, skin, .3), width=.45)
    if kind == "half":
        pen.line(spot((-.7, .1, .8), h * lid[1:4] - 2.4), colour=_mix(skin, (120, 40, 50), .6))


def _brows(pen, hair):
    height, slope = pen.rng("brows").uniform(-.7, .3), pen.rng("slopes").uniform(-.3, 1.3)
    pen.shape(*_twins(_lock((4.2, 29.6 + height - slope / 2), (12.6, 29.9 + height + slope / 2), 1.2, -.7, 1.2)),
              fill=hair["line"])


def _length(pen):
    return ATTRIBUTES["hair_length"].index(pen.face["hair_length"])


def _fringe(pen, side):
    """The locks over the forehead, as polygons, the hindmost first."""
    rng, style = pen.rng("fringe"), pen.face["hair_style"]
    locks, blunt, twins = FRINGES[style]
    wild = {"messy": 1.4, "straight": .35}.get(style, .6)
    return [_lock((s * root, 11 + abs(root) * .1), (s * x + rng.uniform(-wild, wild), y + rng.uniform(-wild, wild)),
                  width, s * bend, blunt)
            for root, x, y, width, bend in locks for s in ((-1, 1) if twins else (side,))]


def _hair_back(pen, hair, side):
    rng, style = pen.rng("back"), pen.face["hair_style"]
    length, tie = _length(pen), rng.choice(COLOURS)
    dark, line = (hair["tip"], hair["shade"]), hair["line"]
    if style == "buns":
        pen.shape(*_twins(_ellipse(15, 10, 6.4, 6.2)), fill=(hair["base"], hair["tip"]), line=line)
        for curl in [(11, 11), (14.5, 7), (18.5, 9)], [(12.5, 13.5), (15.5, 10), (17.5, 11.5)]:
            pen.line(*_twins(curl), colour=line)
    if style in ("twin tails", "ponytail"):
        end = (42, 55, 74)[length] + rng.uniform(-1, 1)
        top = [(14, 14), (19, 11), (25, 17)] if style == "twin tails" else [(6, 9), (12, 2.5), (21, 4), (26, 14)]
        tail = [*top, (28, .45 * end + 10), (26.8, .75 * end + 4), *[(23, end)] * 2, (19.8, .75 * end + 2),
                (18.2, .5 * end + 6), (17, 21), (12, 14)]
        strand = [top[0], (top[-1][0] - 1.5, 20), (24.5, .6 * end + 8), (23, end - 3)]
        tails, strands, ties = _twins(_smooth(tail)), _twins(strand), _twins(_ellipse(17.6, 13.6, 1.9, 2.9))
        if style == "ponytail":
            tails, strands = [tails[0] * (side, 1)], [strands[0] * (side, 1)]
            ties = [_ellipse(side * 12.4, 7, 2.6, 2.6)]
        pen.shape(*tails, fill=(hair["base"], hair["shade"]), line=line)
        pen.line(*strands, colour=line)
        pen.shape(*ties, fill=tie, line=_mix(tie, INK, .6), width=.45)
        length = 0          # all but the tails is short
    end, wide = ((44, 57.5, 80)[length], (18, 20, 21.5)[length])
    shapes = [_smooth(_mirror([*CAP[:4], (wide, 30), (wide + .4, end - 10), (wide - (.5, 1.6, 0)[length], end - 2),
                               *[(wide - 3, end + 1.6)] * 2, (wide - 5, end - 1.5), *[(wide - 8.5, end + 1.5)] * 2,
                               (wide - 10, end - 1)]))]
    if style == "curly":
        shapes = [_smooth(_mirror([*CAP[:4], (19, 32), (18.5, end - 4), (8, end)]))]
        shapes += [_ellipse(s * np.interp(y, (22, 60), (17.5, 20)) + rng.uniform(-.6, .6), y, 4.7, 4.5)
                   for y in np.arange(21, min(end, 66), 5.6) for s in (-1, 1)]
    if style == "messy":
        shapes += [_lock((s * 9, y - 9), (s * out + rng.uniform(-1, 1), y + 4 + rng.uniform(-1, 1)), 11, -s * 2.5)
                   for y, out in ((24, 21.5), (31, 22.5), (38, 21.5), (44, 19.5)) for s in (-1, 1)]
    pen.shape(*shapes, fill=dark, line=line)
    for k in (2.4, 4.8) if length else ():
        pen.line(*_twins([(wide - k, 32), (wide - k + .3, end - 10), (wide - k - .8, end - 2)]), colour=line)


CAP = [(0, 6.6), (8, 7.8), (14.5, 13), (18, 22), (18.4, 31)]


def _hair_front(pen, hair, fringe, side):
    rng, style = pen.rng("front"), pen.face["hair_style"]
    body, line, length = (hair["base"], hair["tip"]), hair["line"], _length(pen)
    end = (42, 50, 60)[length] + rng.uniform(-1, 1)
    if style == "curly":        # side locks in front of the ears
        pen.shape(*(_ellipse(s * (16.6 + k % 2), 29 + 5 * k, 3.6, 3.8) for k in range(3 + 2 * length) for s in (-1, 1)),
                  fill=body, line=line)
    else:
        pen.shape(*_twins(_smooth([(12.5, 17), (16.8, 19), (18.9, 28), (18.8, .5 * end + 17), *[(15.4, end)] * 2,
                                   (13.6, .6 * end + 13), (13.4, 30)])), fill=body, line=line)
        pen.line(*_twins([(15.4, 27), (16.6, .5 * end + 16), (15.9, end - 4)]), colour=line, width=.4)
    cap = _smooth(_mirror([*CAP, CAP[-1], (16.2, 26), (12.5, 20.5), (6, 16.5), (0, 14.8)]))
    spikes = [(x * .5, 15, x + rng.uniform(-1.5, 1.5), y + rng.uniform(-1, 1), 10, b) for x, y, b in
              ((-15, 9, 2), (-8, 3.5, 1.5), (0, 2, -1), (8, 3, -2), (15.5, 8.5, -2.5))] if style == "messy" else []
    if rng.random() < .35:      # one hair that stands up
        spikes.append((0, 10, side * 6.5, 2.5, 2.6, side * 2.2))
    puffs = [_ellipse(s * x, y, 4.4, 4.2) for x, y in ((0, 8), (5.4, 8.6), (10.6, 11.4), (14.6, 16), (16.4, 21.6))
             for s in (-1, 1)] if style == "curly" else []
    pen.shape(cap, *(_lock(s[:2], s[2:4], *s[4:]) for s in spikes), *puffs, fill=hair["base"], line=line)
    for points in fringe:
        left, right = points[:13], points[:12:-1]
        pen.shape(points, fill=hair["base"])
        pen.shape(np.concatenate([left[4:], (left * .62 + right * .38)[:3:-1]]), fill=hair["tip"])
        pen._line(pen.place(points[6:21]), line, .5)        # only the free end of a lock has an edge that shows
    mask = pen.mask(cap, *fringe)
    ramp = Image.fromarray(np.interp(np.linspace(0, 64, pen.pixels), (16, 36), (0, 110)).astype(np.uint8)[:, None])
    pen.image.paste(hair["shade"], mask=ImageChops.multiply(mask, ramp.resize(mask.size, Image.Resampling.NEAREST)))
    x = np.linspace(-14, 14, 27)            # the ring of light: smooth above, ragged below
    top = 15.6 + .02 * x * x
    ragged = [rng.uniform(2, 4.8) if k % 2 else rng.uniform(.5, 2.2) for k in range(27)] * (1 - (x / 15) ** 4)
    pen.shape(np.concatenate([np.stack([x, top], 1), np.stack([x, top + ragged], 1)[::-1]]), fill=hair["light"],
              within=mask, opacity=.85)


# ---- what is worn ----

def _accessory(pen, hair, side):
    rng, kind, flip = pen.rng("accessory"), pen.face["accessory"], (side, 1)
    colour = rng.choice(COLOURS)
    look = {"fill": colour, "line": _mix(colour, INK, .65), "width": .45}
    if kind == "glasses":
        frame = rng.choice(((60, 45, 60), (200, 55, 65), (60, 80, 150)))
        rim = _smooth([(1.9, 35), (8.5, 32.2), (15.2, 34.4), (15.2, 40), (8.8, 44.6), (2.4, 41.8)])
        pen.shape(*_twins(rim), fill=WHITE, opacity=.1)
        pen.line(*_twins([*rim[::3], rim[0]]), [(-2, 37), (0, 36.2), (2, 37)], *_twins([(15.2, 36), (17, 35.2)]),
                 colour=frame, width=.75)
    elif kind == "ribbon":
        loops = _twins(_smooth([(0, 0), (4, -5), (8.2, -5), (8.4, 2.5), (4, 2.7)]))
        pen.shape(*(loop + (side * 10.5, 12) for loop in loops), **look)
        pen.shape(_ellipse(side * 10.5, 12.1, 2, 2.3), **look)
    elif kind == "hairclip":
        for y in (20.2, 23.4):
            pen.shape(_lock((8.2, y + 2), (14.8, y), 2.4, 0, 12) * flip, **look)
    elif kind == "headband":
        band = np.array([(-18.6, 25), (-15.6, 15.8), (-8.5, 10.8), (0, 9.4), (8.5, 10.8), (15.6, 15.8), (18.6, 25)])
        pen.shape(np.concatenate([_smooth(band, False), _smooth((band * (.9, 1) + (0, 2.8))[::-1], False)]), **look)
    elif kind == "flower":
        petals = [(math.cos(k * 1.2566 + .3), math.sin(k * 1.2566 + .3)) for k in range(5)]
        pen.shape(*(_ellipse(side * 12.5 + 3.2 * x, 15.5 + 3.2 * y, 2.5, 2.5) for x, y in petals), **look)
        pen.shape(_ellipse(side * 12.5, 15.5, 1.8, 1.8), fill=(255, 225, 110) if colour != (255, 205, 60) else WHITE)
    elif kind == "cat ears":
        ears = _twins([(4.4, 11.4), (8.2, 5.6), *[(14.8, -.4)] * 2, (17.6, 8), (17.4, 16.5)])
        pen.shape(*(_smooth(ear, False) for ear in ears), fill=hair["base"])
        pen.line(*ears, colour=hair["line"], width=.6)      # open below: hair goes over into ear
        inner = [*[(8.2, 10.4)] * 2, (10.4, 6.6), *[(14.2, 3)] * 2, (15.7, 8), *[(15.4, 13.8)] * 2]
        pen.shape(*_twins(_smooth(inner)), fill=((255, 170, 188), (225, 115, 145)))
