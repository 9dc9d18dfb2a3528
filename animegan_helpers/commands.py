"""The words of a shell become what a command does: draw, download, prepare, train and more."""

import io
import json
import warnings
from argparse import Namespace
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.utils.data import Dataset, Subset

from . import device, download, drawn, export, metrics, plotting, recipes, speed
from .alarms import AlarmCallback
from .checkpoints import atomic_write
from .dataset import describe, split
from .distributed import Distributed, join
from .generator import sample
from .image_files import find_images
from .judge import load_judge, resizing_note
from .prepare import load_faces, prepare
from .recipe_table import recipe_table
from .runs import MEASURES, load_generator, read_data, read_recipe, refuse_existing, write_images
from .trainer import Trainer
from .training import train

SOFTWARE = "animegan_helpers sample"  # in the images that `sample` writes


def draw_faces(args: Namespace) -> None:
    """draw: a folder of synthetic faces."""
    folder = drawn.write(args.out, args.count, seed=args.seed, size=args.size)
    print(f"{args.count:,} synthetic faces and labels.csv are in {folder}")


def download_set(args: Namespace) -> None:
    """download: a set's name -> a folder of images."""
    folder = download.get(args.name)
    run = Path("data/runs") / Path(args.name).stem
    print(f"{len(find_images(folder)):,} images are in {folder.resolve()}")
    print(f'train on them: python -m animegan_helpers train --data "{args.name}" --run "{run}"')


def prepare_set(args: Namespace) -> None:
    """prepare: a folder of images -> one array and a report."""
    recipes.check_size(args.size)
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
        recipe = recipe_of(args, gpu=device.is_cuda(machine.device))
        faces = load_faces(args.data, recipe.size)
    if processes.is_main:
        print(faces.report)
        where = machine.name if own_device.type == machine.device.type else "CPU"
        if processes.world_size > 1:
            where += f", {processes.world_size} processes"
        print(f"{where}: networks of width {recipe.width}, batches of {recipe.batch} images")
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
    print(f'more faces: python -m animegan_helpers sample --run "{run}"')
    print("to continue training: the same command with --resume, and more minutes, epochs or steps")


def sample_faces(args: Namespace) -> None:
    """sample: a run's generator -> one image of new faces."""
    _refuse_foreign_image(args.out)
    faces = sample(load_generator(args.run), args.count, args.seed)
    _write_image(plotting.grid(faces, zoom=2), args.out)
    print(f"{args.count} faces are in {args.out.resolve()}")


def _refuse_foreign_image(path: Path) -> None:
    """Raises FileExistsError if the file exists and `sample` has not written it."""
    if not path.exists():
        return
    try:
        with Image.open(path) as image:
            is_ours = image.info.get("Software") == SOFTWARE
    except (OSError, Image.DecompressionBombError):  # no image, or one that Pillow finds too large
        is_ours = False
    if not is_ours:
        raise FileExistsError(
            f"{path} exists, and is not a PNG written by `sample`: choose another name"
        )


def _write_image(image: Image.Image, path: Path) -> None:
    """Write an image file; a PNG is marked as ours, so that it may be replaced later."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format not in ("PNG", "JPEG", "WEBP"):
        raise ValueError(f"{path}: the name must end in .png, .jpg or .webp")
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    file = io.BytesIO()
    image.save(file, image_format, pnginfo=mark)
    atomic_write(path, file.getvalue())


def measure_run(args: Namespace) -> None:
    """measure: a run's generator against real faces -> a table, and a JSON file if it finished."""
    out = args.out or args.run / MEASURES
    _refuse_foreign_numbers(out)
    is_kept = bool(args.out) or (args.run / "G.pth").exists()  # a run in training will change
    G = load_generator(args.run)
    recipe = read_recipe(args.run)
    faces = load_faces(args.data, recipe.size)
    held_out = None
    if recipe.held_out:
        kept, held = split(len(faces), recipe.held_out)
        held_out = Subset(faces, held)
        faces = Subset(faces, kept)
    _warn_of_other_data(args.run, faces)
    numbers = metrics.measure(G, faces, load_judge(), held_out, args.count, range(args.seeds))
    if is_kept:
        atomic_write(out, json.dumps(numbers, indent=1).encode())
    print(metrics.format_table(numbers))
    count = min(args.count, len(faces) // 2)  # `metrics.measure` takes no more
    print(f"each seed compares {count:,} generated faces with {count:,} real ones")
    if note := resizing_note(recipe.size):
        print(note)
    if is_kept:
        print(f"the numbers of each seed are in {out.resolve()}")
    else:
        print("the run has not finished, so the numbers are not kept; --out keeps them in a file")


def _warn_of_other_data(run: Path, faces: Dataset) -> None:
    """Warn if a run is measured against other images than those that it was trained on."""
    measured = describe(faces)
    trained_on = measured | read_data(run)  # an old run does not say
    if any(trained_on[key] != measured[key] for key in ("name", "images")):
        warnings.warn(
            f"{run} was trained on {trained_on['images']:,} images of {trained_on['name']}, and is"
            f" measured against {measured['images']:,} images of {measured['name']}: name the"
            " run's own set with --data",
            stacklevel=2,
        )


def _refuse_foreign_numbers(path: Path) -> None:
    """Raises FileExistsError if the file exists and `measure` has not written it."""
    if not path.exists():
        return
    try:
        is_ours = "FID" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours:
        raise FileExistsError(
            f"{path} exists, and was not written by `measure`: choose another file with --out"
        )


def share_run(args: Namespace) -> None:
    """share: a run's generator, or the pretrained one -> a folder for others."""
    described = export.describe(args.run)
    if args.data:
        described["facts"].data = args.data
    if args.title:
        described["title"] = args.title
    for name, text in export.write(args.out, **described).items():
        print(f"{name}: {text}")
    page = (args.out / "faces.html").resolve()
    print(f"all of it is in {args.out.resolve()}; open {page.as_uri()} in a browser")


def list_recipes(args: Namespace) -> None:
    """recipes: the numbers of every recipe, two lines each."""
    print(recipe_table())


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
