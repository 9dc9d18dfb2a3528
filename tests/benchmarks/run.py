"""The plain loop and ours in one process, in turn, and whatever else a learner waits for.

python tests/benchmarks/run.py [--small] [--out FOLDER]
-> benchmark.json and benchmark.png in FOLDER (default: recorded/), a table in Markdown

Let nothing else run. Real images are prepared if ANIMEGAN_REAL_FACES names the folder of
animefacedataset.zip. `--small` does all of it in seconds, to see that it works: its numbers mean
nothing.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comparisons import compare_loops, compile_speed, ladder
from inputs import WHOLE, drawing_rates, loader_rates, preparing, slider_latency
from loops import image_folder, limit
from record import versions
from run_figures import publish, table
from torch.utils.data import DataLoader

from animegan_helpers import archives, device, download, drawn, plotting, recipes
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.recipes import Recipe
from animegan_helpers.speed import to_device


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    sizes: tuple  # (width, batch) of the networks
    matrix_sizes: tuple
    seconds: float  # per round of a loop
    rounds: int
    drawn: int  # synthetic faces to draw
    prepared: int  # images to prepare
    moves: int  # of a slider


FULL = Settings(
    sizes=((16, 32), (32, 64), (64, 128)),
    matrix_sizes=(1024, 2048, 4096),
    seconds=6,
    rounds=3,
    drawn=1000,
    prepared=WHOLE,
    moves=100,
)
SMALL = Settings(
    sizes=((4, 8),),
    matrix_sizes=(256,),
    seconds=0.05,
    rounds=1,
    drawn=60,
    prepared=150,
    moves=5,
)


def compare(recipe: Recipe, folder: Path, faces: Faces, rate: float, settings: Settings) -> dict:
    """Both loops with the networks of a recipe -> the row of `compare_loops`."""
    where = device.pick().device
    plain_loader = DataLoader(
        image_folder(folder, recipe.size),
        recipe.batch,
        shuffle=True,
        drop_last=True,
        num_workers=2,
    )
    loaders = (plain_loader, batches(to_device(faces, where), recipe.batch))
    return compare_loops(recipe, loaders, where, settings.seconds, settings.rounds, rate)


def measure(small: bool, work: Path) -> dict:
    """Everything, in one process -> its numbers. `work` is an empty folder for files made here."""
    settings = SMALL if small else FULL
    where = device.pick().device
    if small:
        folder = drawn.write(work / "drawn", 64)
        faces = prepare(folder, work / "faces")
    else:
        folder = download.get("drawn")
        faces = load_faces("drawn")
    sizes = [recipes.get("scores", width=w, batch=batch) for w, batch in settings.sizes]
    rate = limit(where, sizes=settings.matrix_sizes)
    results = versions(where) | {"small": small, "GFLOP/s": rate}
    results["steps"] = [compare(recipe, folder, faces, rate, settings) for recipe in sizes]
    results["loaders"] = loader_rates(folder, faces, sizes[-1].batch, settings.seconds / 2)
    results["drawing"] = drawing_rates(work / "speed", settings.drawn)
    real = os.environ.get("ANIMEGAN_REAL_FACES")
    results["prepared images"] = "synthetic images, replicated"
    if real and not small:
        folder = archives.unpack(Path(real) / "animefacedataset.zip", work / "real")
        results["prepared images"] = "real images, replicated"
    results["preparing"] = preparing(folder, work, settings.prepared, 64)
    results["sliders"] = slider_latency(settings.moves)
    results["compiled"] = {}
    if not small:  # compiling takes half a minute
        results["compiled"] = compile_speed(sizes[0], faces, where, settings.seconds)
    results["ladder"] = []
    if small or where.type == "cuda":
        results["ladder"] = ladder(sizes[-1], faces, where, settings.seconds)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    if args.small and args.out == plotting.RECORDED:
        parser.error("the numbers of --small mean nothing: name another folder with --out")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        results = measure(args.small, Path(work))
    results["seconds"] = round(time.perf_counter() - start)
    publish(results, args.out)
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}"
    print(f"{where}, {results['seconds']} s:\n\n{table(results)}")


if __name__ == "__main__":
    main()
