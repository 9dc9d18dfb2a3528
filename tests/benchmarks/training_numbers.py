"""Three small steps of each recorded recipe: do the records still belong to today's code?

python tests/benchmarks/training_numbers.py
-> recorded/training_numbers.json

A test takes the same steps and compares. Where it fails, the arithmetic of the networks, the losses
or the trainer has changed: make the records of these recipes anew, and then this one.
"""

import torch
from race_groups import GROUPS, VARIANT_OF
from record import versions, write_json
from variants import make_trainer

from animegan_helpers import plotting, recipes
from animegan_helpers.generator import sample_z
from animegan_helpers.rng import rng
from animegan_helpers.trainer import Trainer

STEPS = 3  # later steps multiply what rounding changes
SMALL = {"width": 8, "batch": 8}
EARLY = {"lr_decay_start": 1, "r1_every": 2}  # where a recipe has later ones, to be seen at once
NAMED = ("default-gpu", "wide", "long", "pretrained")  # recorded by other scripts than race.py


def recorded_recipes() -> dict[str, tuple[str, recipes.Recipe]]:
    """-> by "group: name" the variant and the recipe, made small; recipes that train alike once."""
    found = {f"recipe: {name}": ("", recipes.get(name)) for name in NAMED}
    found["recipe: default with DiffAugment"] = ("", recipes.get("default", augment=True))
    for group, (entries, _) in GROUPS.items():
        for name, recipe in entries.items():
            found[f"{group}: {name}"] = (VARIANT_OF.get(name, ""), recipe)
    kept = {}
    for name, (variant, recipe) in found.items():
        small = recipe.changed(**SMALL, name="small", about="", steps=0, epochs=0)
        early = {key: min(value, getattr(small, key)) for key, value in EARLY.items()}
        small = small.changed(**early)
        if (variant, small) not in kept.values():
            kept[name] = (variant, small)
    return kept


def in_double(trainer: Trainer) -> Trainer:
    """A trainer -> the same in float64, where rounding changes three steps by 0.3 % at most."""
    for network in (trainer.G, trainer.D, trainer.G_ema):
        if network is not None:
            network.double()
    step = trainer.train_step

    def step_in_double(G, D, opt_g, opt_d, real, z, **options):
        return step(G, D, opt_g, opt_d, real.double(), z.double(), **options)

    trainer.train_step = step_in_double
    return trainer


def numbers_of(variant: str, recipe: recipes.Recipe) -> list[float]:
    """Train for `STEPS` steps on noise images -> both losses, the mean size of a pixel of G_ema."""
    trainer = in_double(make_trainer(variant, recipe, seed=0))
    shape = (recipe.batch, recipe.size, recipe.size, 3)
    for step in range(STEPS):
        images = torch.randint(256, shape, generator=rng("images", step), dtype=torch.uint8)
        losses = trainer.step(images)
    G = trainer.G if trainer.G_ema is None else trainer.G_ema
    faces = G(sample_z(8, recipe.z_dim).double())
    return [round(value, 5) for value in (*losses[:2].tolist(), faces.abs().mean().item())]


def main() -> None:
    torch.set_num_threads(1)
    numbers = {name: numbers_of(*entry) for name, entry in recorded_recipes().items()}
    record = {"loss_d, loss_g, mean absolute pixel": numbers} | versions("cpu")
    write_json(record, plotting.RECORDED / "training_numbers.json")


if __name__ == "__main__":
    main()
