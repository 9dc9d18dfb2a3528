"""The parts in this folder and synthetic faces become docs/train.html, one file without a server.

python browser/build.py          # draws 2,048 faces, which takes a minute or two
python browser/build.py --keep   # takes the faces of the docs/train.html that is there
"""

import argparse
import base64
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from animegan_helpers import drawn
from animegan_helpers.checkpoints import atomic_write

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "train.html"
COUNT = 2048
SIZE = 32
SEED = 0
COLUMNS = 32  # faces in a row of a sheet
PER_SHEET = 1024
LEVELS = 12  # steps of each color: fewer levels compress better
PARTS = ("style.css", "engine.js", "points.js", "measures.js", "worker.js", "curves.js", "page.js")


def face(index: int) -> np.ndarray:
    """Face `index` of the set -> (32, 32, 3) uint8, with colors rounded to 13 levels."""
    pixels = np.asarray(drawn.draw(drawn.attributes(SEED, index), SIZE))
    return np.round(np.round(pixels / 255 * LEVELS) * 255 / LEVELS).astype(np.uint8)


def to_sheet(faces: np.ndarray) -> bytes:
    """(N, 32, 32, 3) uint8 faces -> a lossless WebP file, 32 faces in a row."""
    rows = faces.reshape(-1, COLUMNS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
    image = Image.fromarray(rows.reshape(-1, COLUMNS * SIZE, 3))
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()


def from_sheet(sheet: bytes) -> np.ndarray:
    """The way back of `to_sheet`."""
    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
    rows = pixels.reshape(-1, SIZE, COLUMNS, SIZE, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, SIZE, SIZE, 3)


def sheets_in(html: str) -> list[bytes]:
    """A page -> the WebP files of its faces."""
    texts = re.findall(r"data:image/webp;base64,([\w+/=]+)", html)
    return [base64.b64decode(text) for text in texts]


def draw_sheets() -> list[bytes]:
    """-> the WebP files of all faces, drawn now."""
    faces = np.stack([face(index) for index in range(COUNT)])
    return [to_sheet(faces[start : start + PER_SHEET]) for start in range(0, COUNT, PER_SHEET)]


def page(sheets: list[bytes]) -> str:
    """The WebP files of the faces -> the HTML of the whole page."""
    parts = {name: (HERE / name).read_text(encoding="utf-8").rstrip() for name in PARTS}
    total = sum(int(from_sheet(sheet).sum(dtype=np.int64)) for sheet in sheets)
    parts["faces"] = json.dumps({"count": COUNT, "columns": COLUMNS, "sum": total})
    parts["kernel"] = base64.b64encode((HERE / "kernel.wasm").read_bytes()).decode()
    parts["sheets"] = "".join(_image(sheet) for sheet in sheets)
    parts["about"] = (
        f"Your browser trains the networks itself, on {COUNT:,} synthetic faces of {SIZE} pixels"
        " that were drawn by code. Nothing is loaded, nothing is sent."
    )
    html = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda match: parts[match[1]], html)


def _image(sheet: bytes) -> str:
    return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(sheet).decode()}">'


def main() -> None:
    """Write docs/train.html."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="keep the faces of docs/train.html")
    if parser.parse_args().keep:
        sheets = sheets_in(PAGE.read_text(encoding="utf-8"))
    else:
        sheets = draw_sheets()
    html = page(sheets).encode()
    atomic_write(PAGE, html)
    print(f"{PAGE.relative_to(HERE.parent)}: {len(html):,} bytes, {COUNT:,} faces")


if __name__ == "__main__":
    main()
