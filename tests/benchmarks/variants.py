"""What a race compares beside recipes: other layers in G, a wider D, a penalty on fakes, too.

None of it is in the package: a variant would have to win first.
"""

import copy
from collections.abc import Callable

import torch
from layer_kinds import KINDS, make_layered_generator
from torch import nn

from animegan_helpers.discriminator import make_discriminator
from animegan_helpers.losses import Loss, r1_penalty
from animegan_helpers.recipes import Recipe
from animegan_helpers.rng import rng
from animegan_helpers.trainer import Trainer, descend

WIDER = {"D 1.5 times as wide": 1.5, "D twice as wide": 2}


def step_with_r2(
    G: nn.Module,
    D: nn.Module,
    opt_g: torch.optim.Optimizer,
    opt_d: torch.optim.Optimizer,
    real: torch.Tensor,
    z: torch.Tensor,
    loss: Loss,
    r1: float = 0.0,
    rng: torch.Generator | None = None,
    descend: Callable = descend,
    **options: object,
) -> tuple[torch.Tensor, ...]:
    """The package's step, with R1's penalty at the fake images, too: R2 (arXiv:2501.05441)."""
    fake = G(z)
    real_logits = D(real)
    fake_logits = D(fake.detach())
    loss_d = loss.d_loss(real_logits, fake_logits, rng)
    penalty = r1 * (r1_penalty(D, real) + r1_penalty(D, fake)) if r1 else 0.0
    descend(opt_d, loss_d + penalty)
    D.requires_grad_(False)
    loss_g = loss.g_loss(D(fake), real_logits.detach())
    descend(opt_g, loss_g)
    D.requires_grad_(True)
    scores = loss.scores(real_logits.detach(), fake_logits.detach())
    return loss_d.detach(), loss_g.detach(), *scores


def make_trainer(variant: str, recipe: Recipe, seed: int) -> Trainer:
    """The name of a variant ("": none), a recipe and a seed -> its trainer on the CPU.

    Raises ValueError for another name.
    """
    if variant not in ("", "R2", *KINDS, *WIDER):
        raise ValueError(f"no variant is called {variant!r}")
    trainer = Trainer(recipe, seed)
    if variant == "R2":
        trainer.train_step = step_with_r2
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng(seed, "weights").initial_seed())
        if variant in KINDS:
            trainer.G = make_layered_generator(variant, recipe)
            trainer.G.to(memory_format=torch.channels_last)
            trainer.G_ema = copy.deepcopy(trainer.G)
            trainer.opt_g = torch.optim.Adam(
                trainer.G.parameters(), recipe.lr_g, recipe.betas, fused=True
            )
        if variant in WIDER:
            wide = recipe.changed(width=round(WIDER[variant] * recipe.width))
            trainer.D = make_discriminator(wide).to(memory_format=torch.channels_last)
            trainer.opt_d = torch.optim.Adam(
                trainer.D.parameters(), recipe.lr_d, recipe.betas, fused=True
            )
    return trainer
