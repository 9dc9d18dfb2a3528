"""What a race compares beside recipes: other layers in G, a wider D, R2, and WGAN-GP.

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
from animegan_helpers.rng import seeded_weights
from animegan_helpers.trainer import Trainer, descend

WIDER = {"D 1.5 times as wide": 1.5}


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
    augment: Callable | None = None,
    descend: Callable = descend,
) -> tuple[torch.Tensor, ...]:
    """The package's step, with R1's penalty at the fake images, too: R2 (arXiv:2501.05441)."""
    fake = G(z)
    if augment:
        real = augment(real)
        fake = augment(fake)
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


class WassersteinStep:
    """WGAN-GP's step (arXiv:1704.00028): D learns at every step, G at every fifth.

    D is a critic: its loss is the difference of its mean outputs, plus a penalty that keeps the
    norm of its gradient near 1 between real and fake images.
    """

    D_TURNS = 5
    WEIGHT = 10.0

    def __init__(self):
        self.steps = 0

    def __call__(
        self,
        G: nn.Module,
        D: nn.Module,
        opt_g: torch.optim.Optimizer,
        opt_d: torch.optim.Optimizer,
        real: torch.Tensor,
        z: torch.Tensor,
        loss: Loss,
        descend: Callable = descend,
        **options: object,
    ) -> tuple[torch.Tensor, ...]:
        """The arguments and the numbers are those of the package's step."""
        self.steps += 1
        is_turn_of_g = self.steps % self.D_TURNS == 0
        with torch.set_grad_enabled(is_turn_of_g):
            fake = G(z)
        real_logits = D(real)
        fake_logits = D(fake.detach())
        loss_d = fake_logits.mean() - real_logits.mean()
        descend(opt_d, loss_d + self.WEIGHT * gradient_penalty(D, real, fake.detach()))
        loss_g = -fake_logits.mean()
        if is_turn_of_g:
            D.requires_grad_(False)
            loss_g = -D(fake).mean()
            descend(opt_g, loss_g)
            D.requires_grad_(True)
        scores = loss.scores(real_logits.detach(), fake_logits.detach())
        return loss_d.detach(), loss_g.detach(), *scores


def gradient_penalty(D: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) each -> (): how far the norm of D's gradient is from 1 between them, squared."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def make_trainer(variant: str, recipe: Recipe, seed: int) -> Trainer:
    """The name of a variant ("": none), a recipe and a seed -> its trainer on the CPU.

    Raises ValueError for another name.
    """
    if variant not in ("", "R2", "WGAN-GP", *KINDS, *WIDER):
        raise ValueError(f"no variant is called {variant!r}")
    trainer = Trainer(recipe, seed)
    if variant == "R2":
        trainer.train_step = step_with_r2
    if variant == "WGAN-GP":
        torch.manual_seed(seed)  # the points of its penalty
        trainer.train_step = WassersteinStep()
    with seeded_weights(seed):
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
