"""A run's folder becomes a recipe, networks, a trainer that goes on, images. Built on page 05."""

import json
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import checkpoints, plotting, recipe_json, recipes
from .checkpoints import CheckpointError
from .files import expand, step_files
from .generator import Generator, make_generator, sample
from .history import read_history
from .trainer import Trainer

NETWORKS = ("G.pth", "D.pth")  # of a run that has finished
DATA = "data.json"  # what the run is trained on
MEASURES = "measures.json"  # of these networks, by the command `measure`


def refuse_existing(run: str | Path) -> None:
    """Raises FileExistsError if the folder is not empty: a new run would overwrite what it holds.

    What a run has left that was killed before its first checkpoint may be overwritten.
    """
    run = expand(run)
    if run.is_file():
        raise FileExistsError(f"{run} is a file: choose a new folder for the run")
    if checkpoints.saved(run):
        cure = "go on with it (--resume, resume=True) or choose another name"
        raise FileExistsError(f"{run} holds a run already: {cure}")
    if not run.exists():
        return
    files = [path for path in run.rglob("*") if path.is_file() and path.name[0] != "."]
    foreign = {path.relative_to(run).parts[0] for path in files}
    with suppress(CheckpointError):  # it has no recipe, which is written first
        read_recipe(run)
        foreign -= {"recipe.json", DATA, "history.jsonl", "grids", "checkpoints"}
    if foreign:
        raise FileExistsError(
            f"{run} holds {min(foreign)}, which does not belong to a run: choose a new folder"
        )


def new_run(folder: str | Path, name: str) -> Path:
    """-> `folder/name`, or `folder/name-2` and so on where that holds something already."""
    run = expand(folder) / name
    number = 2
    while run.exists() and any(run.iterdir()):
        run = expand(folder) / f"{name}-{number}"
        number += 1
    return run


def read_recipe(run: str | Path) -> recipes.Recipe:
    """A run's folder -> its recipe. Raises CheckpointError, with the reason, if it has none."""
    file = expand(run) / "recipe.json"
    if not expand(run).is_dir():
        raise CheckpointError(f"{run}: there is no such folder")
    if not file.exists():
        raise CheckpointError(f"{run} is not a run's folder: it has no recipe.json")
    try:
        return recipe_json.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} can't be read: {error}") from None


def read_data(run: str | Path) -> dict:
    """A run's folder -> `name`, `labeled` and `images` of its set; {} if it does not say."""
    try:
        return json.loads((expand(run) / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def load_generator(run: str | Path) -> Generator:
    """A run's folder -> its generator, in eval mode.

    Of a run that has not finished it is the newest checkpoint's, which a warning says.
    Raises CheckpointError if it is not a run's folder, or nothing was trained in it yet.
    """
    run = expand(run)
    recipe = read_recipe(run)
    if not (run / "G.pth").exists():
        return _newest_trainer(run).ema_generator()
    weights = checkpoints.load(run / "G.pth")
    with torch.random.fork_rng(devices=[]):  # weights are initialized, then replaced
        G = make_generator(recipe)
    try:
        G.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{run}/G.pth does not fit {run}/recipe.json: train again") from error
    return G.eval()


def _newest_trainer(run: str | Path) -> Trainer:
    """A run that has not finished -> a trainer in the state of its newest checkpoint."""
    state = checkpoints.newest(run)
    try:
        trainer = Trainer(recipe_json.from_json(state["recipe"]), state["seed"])
        trainer.load_state(state)
    except (KeyError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"the newest checkpoint of {run} can't be used: {error}") from error
    warnings.warn(
        f"{run} has not finished: using its checkpoint of step {trainer.steps_done:,}"
        " (--resume goes on with it)",
        stacklevel=3,
    )
    return trainer


def resume(trainer: Trainer, run: str | Path, images: int) -> None:
    """The newest good checkpoint of a run -> the trainer.

    Raises CheckpointError if it was trained on another number of images, recipe or seed.
    """
    state = checkpoints.newest(run)
    try:
        trainer.load_state(state)
    except CheckpointError as error:
        raise CheckpointError(f"{run}: {error}") from error
    if state.get("images") != images:
        begun = f"{run} was begun with {state.get('images')} images, not {images}"
        raise CheckpointError(f"{begun}: resume with the same data")


def start_from(trainer: Trainer, run: str | Path) -> None:
    """Fine-tuning: the networks of another run become the trainer's; all else begins anew.

    A run that has not finished gives those of its newest checkpoint, which a warning says. Raises
    CheckpointError if it is not a run's folder, was not trained yet, or has other networks.
    """
    run = expand(run)
    recipe = read_recipe(run)
    weights = _network_weights(run)
    try:
        if recipe.g_activation != trainer.recipe.g_activation:  # it has no weights
            raise ValueError(f"the activation of G is {recipe.g_activation}")
        for network, name in ((trainer.G, "G.pth"), (trainer.D, "D.pth")):
            network.load_state_dict(weights[name])
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{run} has other networks (recipe {recipe.name}, width {recipe.width}, latent vectors"
            f" of {recipe.z_dim}, {recipe.g_activation} in G): go on from it with its own recipe"
            " and sizes, or begin anew, without from_run"
        ) from error
    trainer.reset_ema()


def _network_weights(run: str | Path) -> dict[str, dict]:
    """-> the weights of G and D: of a finished run, or of the newest checkpoint."""
    paths = {name: Path(run) / name for name in NETWORKS}
    if all(path.exists() for path in paths.values()):
        return {name: checkpoints.load(path) for name, path in paths.items()}
    trainer = _newest_trainer(run)
    return {"G.pth": trainer.ema_generator().state_dict(), "D.pth": trainer.D.state_dict()}


def _grid_files(run) -> list[Path]:
    paths = step_files(expand(run) / "grids", ".png")
    if not paths:
        raise FileNotFoundError(f"{run} has no grids: it is not a run's folder, or has not begun")
    return paths


def sample_grids(run: str | Path, count: int = 6) -> tuple[list[Image.Image], list[int]]:
    """A run's folder -> `count` of its sample grids, ever further apart, and their steps.

    The first and the last are among them. Raises FileNotFoundError if there are none.
    """
    paths = _grid_files(run)
    steps = [int(path.stem.removeprefix("step_")) for path in paths]
    count = min(count, len(paths))
    targets = [0, *np.geomspace(16, max(16, steps[-1]), count - 1)]  # even on a logarithmic scale
    chosen = []
    for i, target in enumerate(targets):
        nearest = int(np.abs(np.log1p(steps) - np.log1p(target)).argmin())
        earliest = chosen[-1] + 1 if chosen else 0  # each later than the one before
        latest = len(paths) - (count - i)  # and one left for each that follows
        chosen.append(min(max(nearest, earliest), latest))
    images = [Image.open(paths[i]).convert("RGB") for i in chosen]
    return images, [steps[i] for i in chosen]


def film(run: str | Path, path: str | Path) -> Path:
    """A run's folder -> all its sample grids as a film, a .gif or .webp by the ending of `path`.

    Raises FileNotFoundError if there are no grids.
    """
    frames = [Image.open(file).convert("RGB") for file in _grid_files(run)]
    durations = [150] * (len(frames) - 1) + [2000]  # milliseconds
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return Path(path)


def write_images(run: str | Path) -> list[Path]:
    """A finished run's folder -> the images that the sources show of theirs, written into it.

    losses.png and scores.png (one point a step), samples_1.png and samples_2.png (64 faces each),
    film.gif (64 fixed latent vectors, one frame a sample grid).
    """
    run = expand(run)
    G = load_generator(run)
    history = read_history(run)
    paths = []
    if history:  # a run that was stopped before its first step has none
        paths.append(plotting.show_losses(history).save(run / "losses.png"))
        paths.append(plotting.show_scores(history).save(run / "scores.png"))
    for seed in (1, 2):
        figure = plotting.show_grid(sample(G, 64, seed), f"64 new faces, from seed {seed}.", 8, 2)
        paths.append(figure.save(run / f"samples_{seed}.png"))
    return [*paths, film(run, run / "film.gif")]
