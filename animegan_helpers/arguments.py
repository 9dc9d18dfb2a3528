"""Words from a shell become the arguments of a command: the parser and its types."""

import argparse
from collections.abc import Callable
from pathlib import Path

from . import __version__, sources
from .files import expand

EXAMPLE = """from an empty folder to 64 generated faces, without a network connection:
  python -m animegan_helpers draw --count 4096 --seed 0 --out data/drawn
  python -m animegan_helpers train --data data/drawn --minutes 2 --run data/runs/first
  python -m animegan_helpers sample --run data/runs/first --count 64 --seed 0 --out faces.png
your own images (a folder, or a zip as Kaggle provides it):
  python -m animegan_helpers train --data images.zip --minutes 30 --run data/runs/mine
continue a run that you stopped with Ctrl-C:
  python -m animegan_helpers train --data images.zip --minutes 30 --run data/runs/mine --resume"""
DEFAULT_DATA = "default: $ANIMEGAN_DATA, else page 01's choice, else 'drawn'"
DEFAULT_TITLE = "Anime faces from noise"  # of `web_page`, which needs torch


def positive(text: str) -> int:
    """A word of a command -> a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def natural(text: str) -> int:
    """A word of a command -> a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def path(text: str) -> Path:
    """A word of a command -> a path, with ~ as the user's folder."""
    return expand(text)


def minutes(text: str) -> float:
    """A word of a command -> a finite number of minutes above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(
            f"{text} is not a number of minutes above 0 and below 1,000,000"
        )
    return value


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line on stderr, with exit code 2."""

    def error(self, message: str) -> None:
        """End the process: the message in one line, and where to find help."""
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:  # 0 is a default, too
            return action.help
        return super()._get_help_string(action)


def parser() -> Parser:
    """-> the parser of all commands; `parse_args` gives the name of the command as `command`."""
    top = Parser(
        "python -m animegan_helpers",
        description="Train a generator of anime faces, and use it, from a shell.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, text: str) -> Parser:
        return commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)

    _draw(command("draw", "draw synthetic anime faces by code: images and labels.csv"))
    _download(command("download", "get a set of faces: a local copy, or else from the network"))
    _prepare(command("prepare", "read every image once, report bad files, write one array"))
    _train(command("train", "train a generator and a discriminator against each other"))
    _sample(command("sample", "generate new faces with a trained generator"))
    _measure(command("measure", "measure a generator: FID, KID and more; a table and JSON"))
    _share(command("share", "make files for others: a web page with sliders, weights with a card"))
    command("recipes", "list the recipes: sizes, loss, learning rates, labels, EMA, length")
    return top


def _draw(command: Parser) -> None:
    add = command.add_argument
    add("--count", type=positive, default=4096, help="how many faces")
    add("--seed", type=natural, default=0, help="which faces: the same seed gives the same faces")
    add("--size", type=positive, default=64, help="pixels along each side")
    add("--out", type=path, default=Path("data/drawn"), help="the folder to create")


def _download(command: Parser) -> None:
    lines = ["public sets (re-uploads of images whose artists were not asked; see page 01):"]
    for name, public_set in sources.PUBLIC_SETS.items():
        lines.append(f"{name}: {public_set.images:,} images, {public_set.page()}")
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = "\n  ".join(lines)
    command.add_argument("name", help="a public set (see below), a folder, a zip, or 'drawn'")


def _prepare(command: Parser) -> None:
    add = command.add_argument
    add("source", help="a folder of images, a zip, a public set's name, or 'drawn'")
    size = "pixels along each side: a power of two from 16 up"
    add("--size", type=positive, default=64, help=size)
    files = "faces.npy, names.txt and report.json"
    add("--out", type=path, required=True, help=f"the folder for {files}")


def _train(command: Parser) -> None:
    add = command.add_argument
    sets = "a folder, a zip, a prepared set, a public set, or 'drawn'"
    add("--data", help=f"{sets} ({DEFAULT_DATA})")
    recipe_default = "default: 'default', on a CUDA GPU 'default-gpu'"
    own = "with --resume or --from-run the run's own"
    add("--recipe", help=f"its name; 'recipes' lists them ({recipe_default}; {own})")
    add("--run", type=path, required=True, help="the run's folder, such as data/runs/first")
    seed = "seed of the initial weights, the order of the images and the noise"
    add("--seed", type=natural, default=0, help=seed)
    add("--resume", action="store_true", help="go on from the run's newest good checkpoint")
    from_run = "start with the networks of this run, and its recipe unless --recipe is set"
    add("--from-run", type=path, help=from_run)
    add(
        "--hold-out", type=float, help="fraction of the images to keep from training, to measure on"
    )
    stay = "ignored with --resume, unless --recipe is set"
    rate = f"multiply the recipe's learning rates: below 1 if a run falls apart; {stay}"
    add("--rate", type=float, default=1.0, help=rate)
    plain = "on a GPU: float32, even where half precision is faster"
    add("--plain", action="store_true", help=plain)
    _add_length(command)
    _add_sizes(add)


def _add_length(command: Parser) -> None:
    add = command.add_mutually_exclusive_group().add_argument
    default = "without --minutes, --epochs or --steps: the recipe's length"
    add("--minutes", type=minutes, help=f"train this long in total ({default})")
    add("--epochs", type=positive, help="train this many passes over the images in total")
    add("--steps", type=positive, help="train this many steps in total")


def _add_sizes(add: Callable) -> None:
    add("--width", type=int, help="channels of the largest feature maps, instead of the recipe's")
    add("--z-dim", type=int, help="components of a latent vector, instead of the recipe's")
    add("--batch", type=int, help="images per step, instead of the recipe's")
    add("--size", type=int, help="pixels along each side, instead of the recipe's")


def _sample(command: Parser) -> None:
    add = command.add_argument
    add("--run", type=path, required=True, help="the run's folder")
    add("--count", type=positive, default=64, help="how many faces")
    add("--seed", type=natural, default=0, help="which faces")
    image = "the image to write: .png, .jpg or .webp; an earlier PNG of this command is replaced"
    add("--out", type=path, default=Path("faces.png"), help=image)


def _measure(command: Parser) -> None:
    add = command.add_argument
    add("--run", type=path, required=True, help="the run's folder")
    data = "the faces to compare with: name those that it was trained on"
    add("--data", help=f"{data} ({DEFAULT_DATA})")
    add("--count", type=positive, default=2000, help="faces per seed, at most half of the images")
    seeds = "how many seeds: the table shows mean and standard deviation over them"
    add("--seeds", type=positive, default=3, help=seeds)
    out = "the JSON to write (default: measures.json in the folder of a run that has finished)"
    add("--out", type=path, help=out)


def _share(command: Parser) -> None:
    add = command.add_argument
    add("--run", type=path, help="the run's folder (default: the pretrained generator)")
    add("--out", type=path, required=True, help="the folder to create, such as data/shared/first")
    data = "what it was trained on, for the card: 'drawn', a public set's name, or your sentence"
    add("--data", help=data)
    add("--title", help=f"the heading of the page and the card (default: {DEFAULT_TITLE})")
