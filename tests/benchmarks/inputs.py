"""What a learner waits for besides training: loaders, drawing, preparing, sliders."""

import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from loops import endless, image_folder, steps_per_second
from memory import peak_memory
from PIL import Image
from torch.utils.data import DataLoader

from animegan_helpers import drawn
from animegan_helpers.dataset import Faces, LazyFaces, batches
from animegan_helpers.image_files import find_images
from animegan_helpers.images import to_tensor
from animegan_helpers.prepare import prepare
from animegan_helpers.pretrained import load_pretrained
from animegan_helpers.widgets import Explorer

WHOLE = 63_632  # images of the source's set
TARGET = 30  # seconds in which they are to be prepared
PART = 250  # images that a process decodes at a time


def as_it_is(images):
    """The step of a loader whose images are floats in [-1, 1] already."""
    return images


def loader_rates(folder: Path, faces: Faces, batch: int, seconds: float) -> dict[str, float]:
    """-> images per second that each loader gives, as floats, with nothing else to do."""
    size = faces.report.size
    example = image_folder(folder, size)
    lazy = LazyFaces(folder, size)
    rates = {}
    for workers in (0, 2):
        loader = endless(DataLoader(example, batch, shuffle=True, num_workers=workers))
        rates[f"ImageFolder, {workers} workers"] = steps_per_second(as_it_is, loader, seconds)
    for workers in (0, 2):
        loader = iter(batches(lazy, batch, workers=workers))
        rates[f"lazy, {workers} workers"] = steps_per_second(to_tensor, loader, seconds)
    rates["prepared"] = steps_per_second(to_tensor, iter(batches(faces, batch)), seconds)
    return {name: round(batch * rate, 1) for name, rate in rates.items()}


def drawing_rates(folder: Path, count: int) -> dict[str, float]:
    """-> synthetic faces drawn and written per second, by one process and by all."""
    rates = {}
    for name, workers in (("one core", 1), ("all cores", None)):
        start = time.perf_counter()
        drawn.write(folder / name, count, workers=workers)
        rates[name] = round(count / (time.perf_counter() - start), 1)
    return rates


# ---- preparing ----


def replicate(folder: Path, out: Path, count: int) -> Path:
    """A folder of images -> `count` files made from them, all different in their last bytes."""
    out.mkdir()
    paths = find_images(folder)
    for i in range(count):
        path = paths[i % len(paths)]
        content = path.read_bytes()
        if i >= len(paths):
            content += str(i).encode()  # so that it is no duplicate
        (out / f"{i:06}{path.suffix}").write_bytes(content)
    return out


def decode(paths: list[Path]) -> int:
    """Decode images with Pillow -> how many."""
    for path in paths:
        with Image.open(path) as image:
            image.load()
    return len(paths)


def decoding_rate(paths: list[Path]) -> float:
    """-> images per second that Pillow decodes on all cores, measured on up to 8,000 of them."""
    parts = [paths[i : i + PART] for i in range(0, min(len(paths), 8000), PART)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, parts[: os.cpu_count()]))  # starts the processes, warms the disk
        start = time.perf_counter()
        decoded = sum(pool.map(decode, parts))
        return decoded / (time.perf_counter() - start)


def preparing(source: Path, work: Path, count: int, size: int) -> dict:
    """`count` images -> seconds and memory to prepare them, and the time of decoding alone."""
    folder = replicate(source, work / "images", count)
    peaks = {}
    decoding = decoding_rate(find_images(folder))
    start = time.perf_counter()
    cpu_start = time.process_time()
    with peak_memory(peaks, "MB"):
        report = prepare(folder, work / "prepared", size).report
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - cpu_start
    return {
        "images": count,
        "unique": report.unique,
        "seconds": round(seconds, 2),
        "CPU seconds": round(cpu_seconds, 2),
        "target": TARGET,
        "images/s": round(count / seconds, 1),
        "decoding alone, images/s": round(decoding, 1),
        "decoding alone, seconds": round(count / decoding, 2),
        **peaks,
    }


# ---- sliders ----


def slider_latency(moves: int) -> dict:
    """-> milliseconds from a slider's new value to the PNG of the new face, without the browser."""
    explorer = Explorer(*load_pretrained())
    slider = next(iter(explorer.controls.sliders.values()))
    milliseconds = []
    for i in range(moves + 3):
        start = time.perf_counter()
        slider.value = 0.1 * (1 + i % 20)
        milliseconds.append(1000 * (time.perf_counter() - start))
    in_order = sorted(milliseconds[3:])  # the first three warm up
    return {
        "moves": moves,
        "median ms": statistics.median(in_order),
        "95th percentile ms": in_order[int(0.95 * moves)],
    }
