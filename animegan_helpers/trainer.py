"""Real images and noise move both networks by one step. Built on page 05."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from . import recipe_json, recipes
from .checkpoints import CheckpointError
from .device import is_cuda, move
from .discriminator import make_discriminator
from .distributed import Distributed, sync_batch_norm
from .generator import Generator, make_generator, sample
from .images import flip, to_tensor
from .losses import BCE, Loss, diff_augment, make_loss, r1_penalty
from .rng import rng, seeded_weights
from .speed import HalfPrecision, Speed, best_speed, load_optimizer, memory_format


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of an optimizer down the gradient of a loss, in place."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_step(
    G: nn.Module,
    D: nn.Module,
    opt_g: torch.optim.Optimizer,
    opt_d: torch.optim.Optimizer,
    real: torch.Tensor,
    z: torch.Tensor,
    loss: Loss | None = None,
    r1: float = 0.0,
    rng: torch.Generator | None = None,
    augment: Callable | None = None,
    descend: Callable = descend,
) -> tuple[torch.Tensor, ...]:
    """One step of both networks, in place: D learns from real and fake, then G learns from D.

    real (N, 3, H, W) in [-1, 1], z (N, z_dim) -> loss_d, loss_g, score_real, score_fake, detached.
    `loss`: default BCE. `r1`: weight of the R1 penalty in this step. `rng`: for noisy labels.
    `augment` changes each image before D sees it. `descend(optimizer, loss)` takes a step.
    """
    loss = loss or BCE()
    D.requires_grad_(True)  # also after a step that was interrupted in G's turn
    fake = G(z)  # generated once, used in both turns
    if augment:
        real = augment(real)
        fake = augment(fake)

    # D's turn: detach, so that G does not learn from it
    real_logits = D(real)
    fake_logits = D(fake.detach())
    loss_d = loss.d_loss(real_logits, fake_logits, rng)
    penalty = r1 * r1_penalty(D, real) if r1 else 0.0
    descend(opt_d, loss_d + penalty)

    # G's turn: gradients flow through D, but D does not learn
    D.requires_grad_(False)
    loss_g = loss.g_loss(D(fake), real_logits.detach())  # real_logits: of D before its step
    descend(opt_g, loss_g)
    D.requires_grad_(True)
    scores = loss.scores(real_logits.detach(), fake_logits.detach())
    return loss_d.detach(), loss_g.detach(), *scores


class Trainer:
    """All that changes while training: G, D, G_ema, both optimizers, steps_done and seconds.

    `speed` says how a step is computed (default: the best for the device), `distributed` which
    processes train together. Another `train_step` takes the same arguments as this module's, or
    collects those that it does not use in `**options`.
    """

    def __init__(
        self,
        recipe: recipes.Recipe,
        seed: int = 0,
        device: torch.device | str = "cpu",
        *,
        speed: Speed | None = None,
        distributed: Distributed | None = None,
        train_step: Callable = train_step,
    ):
        self.recipe = recipe
        self.seed = seed
        self.device = torch.device(device)
        self.speed = speed or best_speed(self.device)
        self.distributed = distributed or Distributed()
        self.distributed.shard(range(recipe.batch))  # raises now if it can't be divided
        self.train_step = train_step
        self.steps_done = 0
        self.seconds = 0.0
        self.loss = make_loss(recipe)
        self._make_networks()
        self.opt_g = self._make_optimizer(self.G, recipe.lr_g)
        self.opt_d = self._make_optimizer(self.D, recipe.lr_d)
        self.scaler = None
        if self.speed.dtype == torch.float16:  # the default scale would skip D's first steps
            self.scaler = torch.amp.GradScaler(self.device.type, init_scale=2.0**10)

    def _make_networks(self) -> None:
        with seeded_weights(self.seed):
            self.G = make_generator(self.recipe)
            self.D = make_discriminator(self.recipe)
        for network in (self.G, self.D):
            network.to(self.device, memory_format=memory_format(self.device))
        self.G_ema = copy.deepcopy(self.G) if self.recipe.ema else None
        if is_cuda(self.device):
            torch.backends.cudnn.benchmark = True  # the shapes of a training don't change
            if self.distributed.world_size > 1:  # CPUs have no such batch norm
                self.G, self.D = sync_batch_norm(self.recipe, self.G, self.D)

    def _make_optimizer(self, network, rate) -> torch.optim.Adam:
        fused = self.device.type == "cpu" or is_cuda(self.device)
        return torch.optim.Adam(network.parameters(), rate, self.recipe.betas, fused=fused)

    def step(self, images: torch.Tensor) -> torch.Tensor:
        """One step on (N, H, W, 3) uint8 images -> (4,): loss_d, loss_g, score_real, score_fake.

        The four numbers stay on the device. All randomness depends on (seed, step) alone. Each
        process of a distributed run is given the whole batch and takes its part.
        """
        self._set_learning_rates()
        if self.recipe.flip:
            images = flip(images, self._rng("flips"))
        z = torch.randn(len(images), self.recipe.z_dim, generator=self._rng("noise"))
        images = move(self.distributed.shard(images), self.device)
        z = move(self.distributed.shard(z), self.device)
        numbers = self._train_step(to_tensor(images), z)
        self.update_ema()
        self.steps_done += 1
        return torch.stack(numbers)

    def _train_step(self, real, z) -> tuple[torch.Tensor, ...]:
        G, D = self.G, self.D
        if self.speed.dtype is not None:
            G = HalfPrecision(G, self.speed.dtype)
            D = HalfPrecision(D, self.speed.dtype)
        r1_due = self.steps_done % self.recipe.r1_every == 0
        augment = None
        if self.recipe.augment:
            augment = partial(diff_augment, rng=self._rng("augment", self.distributed.rank))
        options = {
            "loss": self.loss,
            "r1": self.recipe.r1 if r1_due else 0.0,
            "rng": self._rng("labels", self.distributed.rank),
            "augment": augment,
            "descend": self._descend,
        }
        return self.train_step(G, D, self.opt_g, self.opt_d, real, z, **options)

    def _rng(self, use, *rank) -> torch.Generator:
        return rng(self.seed, use, self.steps_done, *rank)

    def _set_learning_rates(self) -> None:
        start = self.recipe.lr_decay_start
        if start:
            decay = min(1, start / (self.steps_done + 1)) ** 0.5
            self.opt_g.param_groups[0]["lr"] = self.recipe.lr_g * decay
            self.opt_d.param_groups[0]["lr"] = self.recipe.lr_d * decay

    def _descend(self, optimizer, loss) -> None:
        """`descend`, with float16's loss scaling and the mean gradient of all processes."""
        optimizer.zero_grad()
        if self.scaler:
            loss = self.scaler.scale(loss)
        loss.backward()
        self.distributed.average_gradients(optimizer)
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move G_ema's weights toward G's: by 1 - ema, early in a run by 10 / (10 + steps_done)."""
        if self.G_ema is None:
            return
        weight = max(1 - self.recipe.ema, 10 / (10 + self.steps_done))
        for ema_weight, live_weight in zip(self.G_ema.parameters(), self.G.parameters()):
            ema_weight.lerp_(live_weight, weight)

    def reset_ema(self) -> None:
        """G_ema becomes a copy of G (after G's weights were replaced)."""
        if self.G_ema is not None:
            self.G_ema.load_state_dict(self.G.state_dict())

    def ema_generator(self) -> Generator:
        """-> a copy of the generator to use, in eval mode: G_ema, or G if the recipe has no EMA.

        Averaged weights need batch-norm statistics of their own, which are measured in the copy.
        Asking changes nothing in the trainer.
        """
        if self.G_ema is None:
            return copy.deepcopy(self.G).eval()
        G = copy.deepcopy(self.G_ema)
        z = torch.randn(4, 64, self.recipe.z_dim, generator=rng(self.seed, "statistics"))
        update_bn(z.to(self.device), G)
        return G.eval()

    def fixed_faces(self, count: int = 64) -> torch.Tensor:
        """-> (count, 3, H, W) faces of the same latent vectors at every step: the film's frames."""
        return sample(self.ema_generator(), count, self.seed, "fixed")

    def state(self) -> dict:
        """-> everything that a run needs to go on, for `checkpoints.save`."""
        state = {"recipe": recipe_json.with_version(self.recipe), "seed": self.seed}
        state |= {"steps_done": self.steps_done, "seconds": self.seconds}
        return state | {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: dict) -> None:
        """Go on from a `state`. Raises CheckpointError if it has another recipe or seed."""
        try:
            begun = recipe_json.differences(recipe_json.from_json(state["recipe"]), self.recipe)
            if state["seed"] != self.seed:
                begun.append(f"seed {state['seed']}")
            if not begun:
                self._load_parts(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the checkpoint is unusable ({error!r}): train again") from error
        if begun:
            raise CheckpointError(
                f"the run was started with another recipe or seed ({', '.join(begun)}): resume with"
                " the same"
            )

    def _load_parts(self, state) -> None:
        for name, part in self._parts().items():
            if name in ("opt_g", "opt_d"):
                load_optimizer(part, state[name])
            elif name != "scaler" or name in state:  # a run in float32 or bfloat16 has no scaler
                part.load_state_dict(state[name])
        self.steps_done = state["steps_done"]
        self.seconds = state["seconds"]

    def _parts(self) -> dict:
        parts = {"G": self.G, "D": self.D, "opt_g": self.opt_g, "opt_d": self.opt_d}
        if self.G_ema is not None:
            parts["G_ema"] = self.G_ema
        if self.scaler is not None:
            parts["scaler"] = self.scaler
        return parts
