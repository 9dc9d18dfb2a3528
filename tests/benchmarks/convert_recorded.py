"""What version 0.1 recorded becomes what version 0.2 reads: names change, numbers do not.

`convert_recorded` rewrites the JSON files in recorded/, and draws again what is drawn from them.
Sample grids and film strips stay as they are, except for words in their labels. Converted files
stay as they are.
"""

import json
from pathlib import Path

import numpy as np
from make_pretrained import draw_sliders
from PIL import Image
from race_figures import publish as publish_race
from race_groups import GROUPS
from record import write_json
from run_figures import publish as publish_benchmark
from second_set import METHODS, SHOWN_MARKS

from animegan_helpers import plotting, recipes

SECOND_SETS = ("second_set", "drawn_to_real")
OTHERS = ("minutes",)  # written by notebooks/execute.py
KEYS = {
    "lr_fall": "lr_decay_start",
    "d_start": "d_init",
    "colours": "color pairs",
    "GFLOP a picture": "GFLOP per image",
    "pictures/s": "images/s",
    "pictures": "images",
    "prepared pictures": "prepared images",
    "decoding alone, pictures/s": "decoding alone, images/s",
    "95 of 100 under ms": "95th percentile ms",
    "other real ones": "other real faces",
    "real ones, blurred": "real faces, blurred",
    "drawn faces": "synthetic faces",
    "from nothing": "from scratch",
    "faces a second": "faces per second",
}
NAMES = {  # of recipes, of the ladder's rungs, and of a race's entries
    "ready": "pretrained",
    "narrow, small batches, he": "narrow, small batches, He init",
    "pairs": "relativistic",
    "average": "EMA",
    "our pace": "tuned learning rate and Adam",
    "codes of 32": "z_dim 32",
    "average of 100 steps": "EMA over 100 steps",
    "R1 8, average of 200": "R1 8, EMA over 200 steps",
    "... mirrored faces, too": "... with flips",
    "... rates fall from step 500": "... rates decay from step 500",
    "... 3e-3, fall from step 250": "... rates 3e-3, decay from step 250",
    "... fall, width 20": "... decay, width 20",
    "... fall, batch 16": "... decay, batch 16",
    "average of 100, rates fall from step 500": "EMA over 100 steps, rates decay from step 500",
    "R1 8, average of 200, fall from 500": "R1 8, EMA over 200 steps, decay from step 500",
    "R1 8, average of 200, fall from 500, batch 16": (
        "R1 8, EMA over 200 steps, decay from step 500, batch 16"
    ),
    "rates fall from step 2000": "rates decay from step 2000",
    "width 24, rates fall from step 500": "width 24, rates decay from step 500",
}
PHRASES = {  # in captions and alt texts
    "real pictures, replicated": "real images, replicated",
    "The plain game on": "The non-saturating GAN loss (recipe `bce`) on",
    "the same codes": "the same latent vectors",
    "What you should see on two cores: the same eight codes": "Eight fixed latent vectors",
    "on drawn faces after 60": "on synthetic faces, after 60",
    ", which is what two cores spend in the minutes beside them": (
        ". This is what you should see on two cores after the minutes beside the rows"
    ),
    ", from nothing, and from a run": ". Training started from scratch, or continued a run",
    ", at its rates and at a quarter of them": (
        ": with its learning rates, or slowly, with a quarter of them"
    ),
    "drawn faces": "synthetic faces",
    "from rough to neat": "from blurred to clear",
    "Film strip, noise to faces": "Film strip, from noise to faces",
    "the ready generator": "the pretrained generator",
    "faces a second": "faces per second",
}


def converted(data):
    """Any part of a record -> the same with new keys, names and phrases."""
    if isinstance(data, list):
        return [converted(part) for part in data]
    if isinstance(data, str):
        return converted_text(data)
    if not isinstance(data, dict):
        return data
    result = {KEYS.get(key, key): converted(value) for key, value in data.items()}
    is_recipe = "about" in result
    if is_recipe:
        result["about"] = recipes.RECIPES[result["name"]].about
    return result


def converted_text(text: str) -> str:
    """A name, a caption or an alt text -> the same in the words of today."""
    if text in NAMES:
        return NAMES[text]
    for old, new in PHRASES.items():
        text = text.replace(old, new)
    return text


def relabel(path: Path, labels: list[str]) -> None:
    """A figure of labeled rows -> the same with other labels of the same width, in place.

    The palette and all pixels to the right of the labels stay as they are.
    """
    image = Image.open(path)
    row_height = image.height // len(labels)
    empty_rows = [Image.new("RGB", (1, row_height), "white") for _ in labels]
    left = plotting.label_rows(empty_rows, labels)
    left = np.asarray(left.convert("L"), dtype=int)[:, :-1]  # (H, W), shades of gray
    palette = np.array(image.getpalette()).reshape(-1, 3)
    distances = np.abs(palette - np.arange(256)[:, None, None]).sum(2)  # (256 shades, colors)
    indices = distances.argmin(1)[left]
    image.paste(Image.fromarray(indices.astype(np.uint8)), (0, 0))
    image.save(path, optimize=True)


def convert_recorded() -> None:
    """Convert all of recorded/, and draw its figures of numbers again."""
    for path in sorted(plotting.RECORDED.glob("*.json")):
        name = path.stem
        if name in OTHERS:
            continue
        old = json.loads(path.read_text(encoding="utf-8"))
        new = converted(old)
        if name in GROUPS:
            publish_race(name, new)
        elif name == "benchmark":
            publish_benchmark(new, plotting.RECORDED)
        elif new != old:
            write_json(new, path)
        if name in SECOND_SETS and new != old:
            labels = [f"{way},\n{mark} steps" for mark in SHOWN_MARKS for way in METHODS]
            relabel(path.with_suffix(".png"), labels)
    draw_sliders()
