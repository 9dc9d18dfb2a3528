"""What the tests of training share: tiny recipes, a few steps of them, and their states as bits."""

from pathlib import Path

import torch
from common import files_in, flat

from animegan_helpers import recipes
from animegan_helpers.dataset import batches
from animegan_helpers.recipes import Recipe
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train

SMALL = {"width": 4, "z_dim": 8, "batch": 4, "size": 16}
DEFAULT = recipes.get("default", **SMALL, r1_every=3)
BCE = recipes.get("bce", **SMALL)
NOISY = recipes.get("noisy-labels", **SMALL, flip=True, ema=0.9)
HINGE = recipes.get("bce", **SMALL, loss="hinge", d_norm="spectral", augment=True)


def recipe_id(recipe: Recipe) -> str:
    """A recipe -> its name in the names of tests."""
    return "hinge" if recipe == HINGE else recipe.name


def take_steps(trainer: Trainer, faces, steps: int) -> list[list[float]]:
    """The next steps of a trainer, as `train` would take them -> the four numbers of each."""
    order = iter(batches(faces, trainer.recipe.batch, trainer.seed, trainer.steps_done))
    return [trainer.step(next(order)).tolist() for _ in range(steps)]


def state_bits(trainer: Trainer) -> dict:
    """A trainer -> all bits of its state but the time that it took."""
    state = trainer.state()
    del state["seconds"]
    return flat(state)


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    """A network -> a copy of its weights."""
    return [weight.detach().clone() for weight in network.parameters()]


def file_bytes(folder: Path) -> dict[str, bytes]:
    """A folder -> the content of each file in it and below."""
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def as_version_0_1(data: dict) -> dict:
    """A recipe or the state of a trainer, as a dict -> the same as version 0.1 wrote it."""
    old_names = {
        "lr_decay_start": "lr_fall",
        "d_init": "d_start",
        "steps_done": "step",
        "G_ema": "averaged",
        "images": "pictures",
    }
    old = {old_names.get(name, name): value for name, value in data.items()}
    if "recipe" in old:
        old["recipe"] = as_version_0_1(old["recipe"])
    return old


class UncutRuns:
    """Runs of ten steps from seed 3, each trained once: a recipe -> its trainer and folder."""

    def __init__(self, faces, tmp_path_factory):
        self.faces = faces
        self.tmp_path_factory = tmp_path_factory
        self.runs = {}

    def __call__(self, recipe: Recipe) -> tuple[Trainer, Path]:
        if recipe not in self.runs:
            folder = self.tmp_path_factory.mktemp("run")
            trainer = train(recipe, self.faces, folder, steps=10, seed=3)
            self.runs[recipe] = (trainer, folder)
        return self.runs[recipe]
