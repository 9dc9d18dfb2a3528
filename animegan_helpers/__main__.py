"""The same from a shell: python -m animegan_helpers draw, download, prepare, train, sample, measure, share, recipes."""

import argparse
import json
import sys
from pathlib import Path

from torch.utils.data import Subset

from . import (
    __version__,
    checkpoints,
    device,
    download,
    drawn,
    fast,
    measure,
    parallel,
    plotting,
    preprocess,
    recipes,
    share,
    training,
)

EXAMPLE = """the main job, from nothing to a picture of 64 faces, without a network:
  python -m animegan_helpers draw --count 4096 --seed 0 --out data/drawn
  python -m animegan_helpers train --data data/drawn --minutes 2 --run data/runs/first
  python -m animegan_helpers sample --run data/runs/first --count 64 --seed 0 --out faces.png
your own pictures (a folder, or a zip as Kaggle gives it):
  python -m animegan_helpers train --data pictures.zip --minutes 30 --run data/runs/mine
stopped (Ctrl-C)? Nothing is lost:
  python -m animegan_helpers train --data pictures.zip --minutes 30 --run data/runs/mine --resume"""


def draw(args):
    folder = drawn.write(args.out, args.count, seed=args.seed, size=args.size)
    print(f"{args.count:,} drawn faces and labels.csv are in {folder}")


def fetch(args):
    folder = download.get(args.name)
    print(f"{len(preprocess.find_pictures(folder)):,} pictures are in {folder.resolve()}")
    print(f"train on them: python -m animegan_helpers train --data {args.name} --run data/runs/{Path(args.name).stem}")


def prepare(args):
    prepared = preprocess.prepare(download.get(args.source), args.out, args.size)
    print(prepared.report)
    print(f"the array is {prepared.array.shape}, in {Path(args.out) / 'faces.npy'}")


def train(args):
    machine = device.pick()
    with parallel.join(machine.device) as (team, place):
        train_as(team, place, machine, args)


def train_as(team, place, machine, args):
    changes = {"width": args.width, "z_dim": args.z_dim, "batch": args.batch, "size": args.size}
    changes["held_out"] = args.hold_out
    with team.one_first():
        if not args.resume and not team.rank:
            training.refuse_old_run(args.run)  # before the data is prepared, which may take long
        before = args.run if args.resume else args.from_run
        if before and args.recipe is None:  # the run knows its own
            recipe = training.read_recipe(before).changed(**changes)
        else:
            recipe = recipes.get(args.recipe or "default", gpu=machine.device.type == "cuda", **changes)
        if before != args.run or args.recipe:  # a run that goes on has its rates
            recipe = recipe.changed(lr_g=recipe.lr_g * args.rate, lr_d=recipe.lr_d * args.rate)
        faces = preprocess.ready(args.data, recipe.size)
    if not team.rank:
        print(faces.report)
        print(f"{machine}" + (f", {team.size} processes" if team.size > 1 else ""))
        print(f"recipe {recipe.name}: {recipe.about}")
    length = {"steps": args.steps, "epochs": args.epochs, "minutes": args.minutes}
    game = training.train(
        recipe, faces, args.run, **length, seed=args.seed, device=place, resume=args.resume,
        from_run=args.from_run, watch=None if team.rank else measure.Watch(),
        speed=fast.PLAIN if args.plain else None, team=team,
    )  # fmt: skip
    if team.rank:
        return
    picture = Path(args.run) / "faces.png"
    plotting.grid(game.fixed_faces(), 8, zoom=2).save(picture)
    print("beside it:", ", ".join(path.name for path in training.write_pictures(args.run)))
    print(f"{game.step:,} steps in {game.seconds / 60:.1f} minutes; 64 faces are in {picture.resolve()}")
    print(f"more faces: python -m animegan_helpers sample --run {args.run}")
    print("train on: the same command with --resume, and more minutes, epochs or steps in all")


def sample(args):
    faces = training.sample(training.load_generator(args.run), args.count, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plotting.grid(faces, zoom=2).save(args.out)
    print(f"{args.count} faces are in {args.out.resolve()}")


def measure_run(args):
    G, recipe = training.load_generator(args.run), training.read_recipe(args.run)
    faces, held_out = preprocess.ready(args.data, recipe.size), None
    if recipe.held_out:
        faces, held_out = (Subset(faces, rows) for rows in preprocess.split(len(faces), recipe.held_out))
    numbers = measure.measure(G, faces, measure.load_judge(), held_out, args.count, range(args.seeds))
    out = args.out or args.run / "measures.json"
    out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    print(measure.table(numbers))
    print(f"the numbers of each seed are in {out.resolve()}")


def share_run(args):
    given = {name: value for name in ("data", "title") if (value := getattr(args, name))}
    for name, what in share.write(args.out, **(share.known(args.run) | given)).items():
        print(f"{name}: {what}")
    print(f"all of it is in {args.out.resolve()}; open {(args.out / 'faces.html').resolve().as_uri()} in a browser")


def show_recipes(args):
    row = "{:<14}{:>5}{:>7}{:>7}  {:<14}{:<9}{:<9}{:<14}{:<9}{}"
    print(row.format("name", "width", "z_dim", "batch", "loss", "lr of G", "lr of D", "labels", "average", "length"))
    for r in recipes.RECIPES.values():
        rates, labels = (f"{r.lr_g:g}", f"{r.lr_d:g}"), "{:g}-{:g}, {:g}-{:g}".format(*r.real_labels, *r.fake_labels)
        labels = "-" if r.loss != "bce" else labels if r.real_labels[0] < 1 else "1, 0"
        length = f"{r.steps:,} steps" if r.steps else f"{r.epochs} epochs"
        print(row.format(r.name, r.width, r.z_dim, r.batch, r.loss, *rates, labels, r.ema or "-", length))
        print(f"    {r.about}")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes above 0")
    return value


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help tells more)\n")


def parser() -> argparse.ArgumentParser:
    """-> the shell's commands; every help page says what comes in, what goes out, and shows a line to copy."""
    raw, defaults = argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter
    top = Parser("python -m animegan_helpers", description=__doc__, epilog=EXAMPLE, formatter_class=raw)
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text, formatter_class=defaults)
        sub.set_defaults(function=function)
        return sub.add_argument

    add = command("draw", draw, "draw anime faces by code: PNGs and labels.csv, the same ones for the same seed")
    add("--count", type=positive, default=4096, help="how many faces")
    add("--seed", type=natural, default=0, help="which faces")
    add("--size", type=positive, default=64, help="pixels along each side")
    add("--out", type=Path, default=Path("data/drawn"), help="the folder to make")

    known = [f"{name}: {known.pictures:,} pictures, {known.page()}" for name, known in download.SETS.items()]
    add = command("download", fetch, "get a set of faces: from where it lies already, or else from the network")
    commands.choices["download"].formatter_class = raw
    commands.choices["download"].epilog = "\n  ".join(
        ["public sets, re-uploads of pictures whose artists were not asked (page 01 tells more):", *known]
    )
    add("name", help="a public set (see below), a folder, a zip, or 'drawn'")

    add = command("prepare", prepare, "look at every picture once: report bad files and copies, keep one array")
    add("source", help="a folder of pictures, a zip, a public set's name, or 'drawn'")
    add("--size", type=positive, default=64, help="pixels along each side: 16, 32, 64 or 128")
    add("--out", type=Path, required=True, help="the folder for faces.npy, names.txt and report.json")

    add = command("train", train, "train a generator and a discriminator against each other")
    add(
        "--data",
        help="a folder, a zip, a prepared set, a public set, or 'drawn' (default: $ANIMEGAN_DATA, or else 'drawn')",
    )
    add("--recipe", help="its name; 'recipes' lists them (default: 'default', or with --resume the run's own)")
    length = commands.choices["train"].add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=minutes, help="train this long in all (none of the three: as the recipe says)"
    )
    length.add_argument("--epochs", type=positive, help="go through the pictures this often in all")
    length.add_argument("--steps", type=positive, help="train this many steps in all")
    add("--run", type=Path, required=True, help="the run's folder, such as data/runs/first")
    add("--seed", type=natural, default=0, help="of weights, order and noise: same seed, same faces")
    add("--resume", action="store_true", help="go on from the run's newest good checkpoint")
    add(
        "--from-run",
        type=Path,
        help="begin with the networks of this finished run (its recipe, unless --recipe is given)",
    )
    add("--hold-out", type=float, help="share of the pictures to keep from training, to be measured against")
    add("--rate", type=float, default=1.0, help="times the recipe's learning rates: below 1 if a run falls apart")
    add("--plain", action="store_true", help="on a GPU: float32, step by step, as on a CPU (it compares, and is slow)")
    add("--width", type=int, help="channels of the largest layer of features, instead of the recipe's")
    add("--z-dim", type=int, help="numbers in a code, instead of the recipe's")
    add("--batch", type=int, help="pictures a step, instead of the recipe's")
    add("--size", type=int, help="pixels along each side, instead of the recipe's")

    add = command("sample", sample, "draw new faces with a trained generator")
    add("--run", type=Path, required=True, help="the folder of a finished run")
    add("--count", type=positive, default=64, help="how many faces")
    add("--seed", type=natural, default=0, help="which faces")
    add("--out", type=Path, default=Path("faces.png"), help="the picture to write")

    add = command("measure", measure_run, "measure a generator: FID, KID, coverage, copies; a table and JSON")
    add("--run", type=Path, required=True, help="the folder of a finished run")
    add("--data", help="the faces it was trained on (default: $ANIMEGAN_DATA, or else 'drawn')")
    add("--count", type=positive, default=2000, help="how many faces a seed")
    add("--seeds", type=positive, default=3, help="how often, with other faces each time")
    add("--out", type=Path, help="the JSON to write (default: measures.json in the run's folder)")

    add = command("share", share_run, "make files for others: a web page with sliders, weights with a card")
    add("--run", type=Path, help="the folder of a finished run (default: the generator that comes with the package)")
    add("--out", type=Path, required=True, help="the folder to make, such as data/shared/first")
    add("--data", help="what it was trained on, for the card: 'drawn', a public set's name, or a sentence of yours")
    add("--title", help=f"the page's and the card's heading (default: {share.TITLE})")

    command("recipes", show_recipes, "list the recipes: sizes, loss, rates, labels, average, length")
    return top


def main(argv=None) -> int:
    """Run one command; -> its exit code. What can't work is told in one line on stderr, with exit code 2."""
    args = parser().parse_args(argv)
    try:
        args.function(args)
    except download.NotFetched as error:  # a list of what was tried and what to do
        print(f"animegan_helpers: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ArithmeticError, ImportError, checkpoints.CheckpointError) as error:
        print(f"animegan_helpers: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # training ends by itself when it is asked to; everything else leaves no half set
        print("animegan_helpers: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
