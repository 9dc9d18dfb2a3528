"""(N, 4) conditions and (N, z_dim) noise become images that meet the conditions. Built on page 12.

A condition holds the hair color, the eye color, the eyes and the accessory that an image should
have, as indices into the values of `ATTRIBUTES`.
"""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from .checkpoints import CheckpointError, atomic_write
from .dataset import Faces
from .device import move
from .discriminator import Discriminator
from .drawn import ATTRIBUTES, read_labels
from .generator import Generator, generate, sample_z
from .judge import ATTRIBUTE_NAMES, PRETRAINED, true_labels
from .recipes import Recipe
from .rng import rng, seeded_weights
from .speed import PLAIN, memory_format
from .trainer import Trainer, train_step

CONDITIONED = ("hair_color", "eye_color", "eyes", "accessory")  # the columns of a condition
SHIPPED = PRETRAINED / "conditional.safetensors"
CLOSED = ATTRIBUTES["eyes"].index("closed")


def condition(**values: str) -> Tensor:
    """Values by attribute, such as hair_color="blue" -> a condition (4,).

    An attribute without a value gets its first one: black hair, brown and open eyes, no accessory.
    Raises ValueError that names an attribute or a value that is not known, and those that are.
    """
    for name, value in values.items():
        if name not in CONDITIONED:
            raise ValueError(f"{name!r} is no condition: choose from {', '.join(CONDITIONED)}")
        if value not in ATTRIBUTES[name]:
            choices = ", ".join(ATTRIBUTES[name])
            raise ValueError(f"{name} can't be {value!r}: choose one of {choices}")
    chosen = [values.get(name, ATTRIBUTES[name][0]) for name in CONDITIONED]
    return torch.tensor([ATTRIBUTES[name].index(v) for name, v in zip(CONDITIONED, chosen)])


def read_conditions(faces: Faces, folder: str | Path) -> Tensor:
    """Prepared faces and the folder they were drawn in -> the condition of each, (N, 4).

    Unlike `judge.true_labels`, they keep the color of closed eyes; it raises the same errors.
    """
    true_labels(faces, folder)
    condition_of = {}
    for row in read_labels(folder):
        condition_of[row["file"]] = condition(**{name: row[name] for name in CONDITIONED})
    return torch.stack([condition_of[Path(name).name] for name in faces.names])


def are_met(predicted: Tensor, conditions: Tensor) -> Tensor:
    """Attributes (N, 9) from `Judge.attributes`, conditions (N, 4) -> (N, 4): 1 met, 0 not met.

    The color of eyes that should be closed is NaN, since nobody can see it: use `nanmean`.
    """
    columns = [ATTRIBUTE_NAMES.index(name) for name in CONDITIONED]
    met = (predicted[:, columns] == conditions).double()
    should_be_closed = conditions[:, CONDITIONED.index("eyes")] == CLOSED
    met[should_be_closed, CONDITIONED.index("eye_color")] = torch.nan
    return met


class ConditionEmbedding(nn.Module):
    """Conditions (N, 4) -> (N, dim): each value has a vector, and those of the four are added.

    So a combination that no training image has is a sum of vectors that were trained.
    """

    def __init__(self, dim: int, std: float = 1.0):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(len(ATTRIBUTES[key]), dim) for key in CONDITIONED)
        for table in self.tables:
            nn.init.normal_(table.weight, 0.0, std)

    def forward(self, conditions: Tensor) -> Tensor:
        """(N, 4) -> (N, dim)."""
        vectors = [table(column) for table, column in zip(self.tables, conditions.T)]
        return torch.stack(vectors).sum(0)


class ConditionalGenerator(nn.Module):
    """(N, z_dim) latent vectors, (N, 4) conditions -> (N, 3, size, size) images in [-1, 1].

    `net` is the package's generator. Its input is z with the condition's embedding beside it.
    """

    def __init__(self, width: int = 16, z_dim: int = 128, size: int = 64, dim: int = 32):
        super().__init__()
        self.arguments = {"width": width, "z_dim": z_dim, "size": size, "dim": dim}
        self.z_dim = z_dim
        self.embedding = ConditionEmbedding(dim)
        self.net = Generator(width, z_dim + dim, size)

    def inputs(self, z: Tensor, conditions: Tensor) -> Tensor:
        """(N, z_dim), (N, 4) -> (N, z_dim + dim): the input of `net`."""
        return torch.cat([z, self.embedding(conditions)], dim=1)

    def forward(self, z: Tensor, conditions: Tensor) -> Tensor:
        """(N, z_dim), (N, 4) -> (N, 3, size, size)."""
        return self.net(self.inputs(z, conditions))


class ProjectionDiscriminator(nn.Module):
    """(N, 3, size, size) images, (N, 4) conditions -> (N,) logits (arXiv:1802.05637).

    A logit is the discriminator's, plus the inner product of features and condition's embedding.
    """

    def __init__(self, width: int = 16, size: int = 64, norm: str = "none", init: str = "he"):
        super().__init__()
        *layers, last, flatten = Discriminator(width, size, norm, init=init).net
        self.features = nn.Sequential(*layers)  # (N, channels, 4, 4)
        self.unconditional = nn.Sequential(last, flatten)  # (N,)
        self.embedding = ConditionEmbedding(16 * last.in_channels, std=0.02)

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        """(N, 3, size, size), (N, 4) -> (N,)."""
        features = self.features(images)
        products = self.embedding(conditions) * features.flatten(1)
        return self.unconditional(features) + products.sum(1)


@torch.no_grad()
def sample(G: ConditionalGenerator, conditions: Tensor, *key: int | str) -> Tensor:
    """A generator, conditions (N, 4), a key (a seed, say) -> (N, 3, H, W) images on the CPU."""
    device = next(G.parameters()).device
    z = sample_z(len(conditions), G.z_dim, *key)
    return generate(G.net, G.inputs(z.to(device), conditions.to(device)))


class Conditioned(nn.Module):
    """A conditional network with the conditions of a batch: it is called like one without them."""

    def __init__(self, network: nn.Module, conditions: Tensor):
        super().__init__()
        self.network = network
        self.conditions = conditions

    def forward(self, x: Tensor) -> Tensor:
        """z (N, z_dim) or images (N, 3, H, W) -> what the network returns for the conditions."""
        return self.network(x, self.conditions)


def conditional_step(
    G: nn.Module,
    D: nn.Module,
    opt_g: torch.optim.Optimizer,
    opt_d: torch.optim.Optimizer,
    real: Tensor,
    z: Tensor,
    conditions: Tensor,
    **options: object,
) -> tuple[Tensor, ...]:
    """`trainer.train_step` in which real image i and fake image i share condition i."""
    G = Conditioned(G, conditions)
    D = Conditioned(D, conditions)
    return train_step(G, D, opt_g, opt_d, real, z, **options)


class ConditionalTrainer(Trainer):
    """A `Trainer` whose networks get conditions; `conditions` (N, 4) are those of the training set.

    `discriminator` is called with the arguments of `ProjectionDiscriminator`. Steps are computed in
    float32 on every device. Raises ValueError for a recipe that the networks can't follow.
    """

    def __init__(
        self,
        recipe: Recipe,
        conditions: Tensor,
        seed: int = 0,
        device: torch.device | str = "cpu",
        discriminator: Callable[..., nn.Module] = ProjectionDiscriminator,
    ):
        self.conditions = conditions
        self.discriminator = discriminator
        super().__init__(recipe, seed, device, speed=PLAIN)

    def _make_networks(self) -> None:
        recipe = self.recipe
        if recipe.g_activation != "relu" or recipe.d_norm_first:
            raise ValueError("conditional networks lack g_activation and d_norm_first")
        with seeded_weights(self.seed):
            self.G = ConditionalGenerator(recipe.width, recipe.z_dim, recipe.size)
            self.D = self.discriminator(recipe.width, recipe.size, recipe.d_norm, recipe.d_init)
        for network in (self.G, self.D):
            network.to(self.device, memory_format=memory_format(self.device))
        self.G_ema = copy.deepcopy(self.G)

    def step(self, images: Tensor, conditions: Tensor) -> Tensor:
        """One step on (N, H, W, 3) uint8 images and their (N, 4) conditions -> (4,) numbers."""
        conditions = move(conditions, self.device)
        self.train_step = partial(conditional_step, conditions=conditions)
        return super().step(images)

    def ema_generator(self) -> ConditionalGenerator:
        """-> a copy of G_ema in eval mode, with batch-norm statistics of its own."""
        G = copy.deepcopy(self.G_ema)
        z = sample_z(256, G.z_dim, self.seed, "statistics").to(self.device)
        inputs = G.inputs(z, self._some_conditions(256)).detach()
        update_bn(inputs.split(64), G.net)
        return G.eval()

    def fixed_faces(self, count: int = 64) -> Tensor:
        """-> (count, 3, H, W) faces of the same latent vectors and conditions at every step."""
        return sample(self.ema_generator(), self._some_conditions(count), self.seed, "fixed")

    def _some_conditions(self, count) -> Tensor:
        rows = torch.randint(len(self.conditions), (count,), generator=rng(self.seed, "conditions"))
        return move(self.conditions[rows], self.device)


def save_conditional(G: ConditionalGenerator, path: str | Path) -> Path:
    """A conditional generator -> a safetensors file in half precision; -> its path."""
    state = copy.deepcopy(G).cpu().half().state_dict()
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    metadata = {"conditional generator": json.dumps(G.arguments)}
    return atomic_write(Path(path), safetensors.torch.save(tensors, metadata))


@torch.random.fork_rng(devices=[])  # initial weights are drawn, then replaced
def load_conditional(path: str | Path = SHIPPED) -> ConditionalGenerator:
    """A file of `save_conditional` -> the generator, in eval mode. Without a path: the package's.

    Raises CheckpointError if the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            arguments = json.loads((file.metadata() or {})["conditional generator"])
        G = ConditionalGenerator(**arguments)
        G.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a conditional generator ({error!r}): make or download it again"
        ) from error
    return G.eval()
