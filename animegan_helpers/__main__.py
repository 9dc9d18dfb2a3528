"""The package from a shell: python -m animegan_helpers draw, download, prepare, train and more."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Subset

from . import arguments, device, download, drawn, export, metrics, plotting, recipes, speed
from .alarms import AlarmCallback
from .checkpoints import CheckpointError
from .dataset import split
from .distributed import Distributed, join
from .generator import sample
from .images import find_images
from .judge import load_judge
from .prepare import load_faces, prepare
from .runs import load_generator, read_recipe, refuse_existing, write_images
from .trainer import Trainer
from .training import train

RECIPE_ROW = "{:<14}{:>5}{:>7}{:>7}  {:<14}{:<9}{:<9}{:<14}{:<9}{}"
RECIPE_TITLES = (
    "name",
    "width",
    "z_dim",
    "batch",
    "loss",
    "lr of G",
    "lr of D",
    "labels",
    "EMA",
    "length",
)


def draw_faces(args: Namespace) -> None:
    """draw: a folder of synthetic faces."""
    folder = drawn.write(args.out, args.count, seed=args.seed, size=args.size)
    print(f"{args.count:,} synthetic faces and labels.csv are in {folder}")


def download_set(args: Namespace) -> None:
    """download: a set's name -> a folder of images."""
    folder = download.get(args.name)
    run = Path("data/runs") / Path(args.name).stem
    print(f"{len(find_images(folder)):,} images are in {folder.resolve()}")
    print(f"train on them: python -m animegan_helpers train --data {args.name} --run {run}")


def prepare_set(args: Namespace) -> None:
    """prepare: a folder of images -> one array and a report."""
    faces = prepare(download.get(args.source), args.out, args.size)
    print(faces.report)
    print(f"the array is {faces.array.shape}, in {Path(args.out) / 'faces.npy'}")


def train_run(args: Namespace) -> None:
    """train: faces -> a run's folder, in one process or in those that torchrun started."""
    machine = device.pick()
    with join(machine.device) as (processes, own_device):
        train_in_process(args, machine, processes, own_device)


def train_in_process(
    args: Namespace,
    machine: device.Machine,
    processes: Distributed,
    own_device: torch.device,
) -> None:
    """One process's part of `train_run`. Only the main process writes and prints."""
    with processes.main_process_first():
        if processes.is_main and not args.resume:
            refuse_existing(args.run)  # before the data is prepared, which may take long
        recipe = recipe_of(args, gpu=machine.device.type == "cuda")
        faces = load_faces(args.data, recipe.size)
    if processes.is_main:
        print(faces.report)
        if processes.world_size > 1:
            print(f"{machine}, {processes.world_size} processes")
        else:
            print(machine)
        print(f"recipe {recipe.name}: {recipe.about}")
    trainer = train(
        recipe,
        faces,
        args.run,
        steps=args.steps,
        epochs=args.epochs,
        minutes=args.minutes,
        seed=args.seed,
        device=own_device,
        resume=args.resume,
        from_run=args.from_run,
        callback=AlarmCallback() if processes.is_main else None,
        speed=speed.PLAIN if args.plain else None,
        distributed=processes,
    )
    if processes.is_main:
        report_run(args.run, trainer)


def recipe_of(args: Namespace, gpu: bool) -> recipes.Recipe:
    """The options of `train` -> the recipe. A run that goes on keeps its own, and its rates."""
    changes = {
        "width": args.width,
        "z_dim": args.z_dim,
        "batch": args.batch,
        "size": args.size,
        "held_out": args.hold_out,
    }
    earlier_run = args.run if args.resume else args.from_run
    if args.recipe is None and earlier_run:
        recipe = read_recipe(earlier_run).changed(**changes)
    else:
        recipe = recipes.get(args.recipe or "default", gpu=gpu, **changes)
    if args.resume and args.recipe is None:
        return recipe
    return recipe.changed(lr_g=recipe.lr_g * args.rate, lr_d=recipe.lr_d * args.rate)


def report_run(run: Path, trainer: Trainer) -> None:
    """Write the images of a finished run, and print where they are."""
    grid = run / "faces.png"
    plotting.grid(trainer.fixed_faces(), 8, zoom=2).save(grid)
    names = ", ".join(path.name for path in write_images(run))
    minutes = trainer.seconds / 60
    print(
        f"{trainer.steps_done:,} steps in {minutes:.1f} minutes; 64 faces are in {grid.resolve()}"
    )
    print(f"also in this folder: {names}")
    print(f"more faces: python -m animegan_helpers sample --run {run}")
    print("train on: the same command with --resume, and more minutes, epochs or steps in all")


def sample_faces(args: Namespace) -> None:
    """sample: a run's generator -> one image of new faces."""
    faces = sample(load_generator(args.run), args.count, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plotting.grid(faces, zoom=2).save(args.out)
    print(f"{args.count} faces are in {args.out.resolve()}")


def measure_run(args: Namespace) -> None:
    """measure: a run's generator against real faces -> a table, and a JSON file."""
    G = load_generator(args.run)
    recipe = read_recipe(args.run)
    faces = load_faces(args.data, recipe.size)
    held_out = None
    if recipe.held_out:
        kept, held = split(len(faces), recipe.held_out)
        held_out = Subset(faces, held)
        faces = Subset(faces, kept)
    numbers = metrics.measure(G, faces, load_judge(), held_out, args.count, range(args.seeds))
    out = args.out or args.run / "measures.json"
    out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    print(metrics.format_table(numbers))
    print(f"the numbers of each seed are in {out.resolve()}")


def share_run(args: Namespace) -> None:
    """share: a run's generator, or the pretrained one -> a folder for others."""
    described = export.describe(args.run)
    if args.data:
        described["data"] = args.data
    if args.title:
        described["title"] = args.title
    for name, text in export.write(args.out, **described).items():
        print(f"{name}: {text}")
    page = (args.out / "faces.html").resolve()
    print(f"all of it is in {args.out.resolve()}; open {page.as_uri()} in a browser")


def list_recipes(args: Namespace) -> None:
    """recipes: the numbers of every recipe, two lines each."""
    print(RECIPE_ROW.format(*RECIPE_TITLES))
    for recipe in recipes.RECIPES.values():
        length = f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs} epochs"
        row = RECIPE_ROW.format(
            recipe.name,
            recipe.width,
            recipe.z_dim,
            recipe.batch,
            recipe.loss,
            f"{recipe.lr_g:g}",
            f"{recipe.lr_d:g}",
            format_labels(recipe),
            recipe.ema or "-",
            length,
        )
        print(row)
        print(f"    {recipe.about}")


def format_labels(recipe: recipes.Recipe) -> str:
    """A recipe -> its labels for real and fake images: "1, 0", "0.8-1, 0-0.2" or "-"."""
    if recipe.loss != "bce":
        return "-"
    if recipe.real_labels[0] == 1:
        return "1, 0"
    real_low, real_high = recipe.real_labels
    fake_low, fake_high = recipe.fake_labels
    return f"{real_low:g}-{real_high:g}, {fake_low:g}-{fake_high:g}"


COMMANDS = {
    "draw": draw_faces,
    "download": download_set,
    "prepare": prepare_set,
    "train": train_run,
    "sample": sample_faces,
    "measure": measure_run,
    "share": share_run,
    "recipes": list_recipes,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; -> its exit code. An error is one line on stderr, with exit code 2."""
    args = arguments.parser().parse_args(words)
    try:
        COMMANDS[args.command](args)
    except download.DownloadError as error:  # several lines: what was tried, and what to do
        print(f"animegan_helpers: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ArithmeticError, ImportError, CheckpointError) as error:
        print(f"animegan_helpers: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # not while training, which ends by itself and returns
        print("animegan_helpers: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
