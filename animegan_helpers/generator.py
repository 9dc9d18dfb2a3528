"""(N, z_dim) noise becomes (N, 3, 64, 64) images in [-1, 1]. Built on page 04."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .layers import halvings, init_weights, up
from .recipes import Recipe
from .rng import rng

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


class Generator(nn.Module):
    """(N, z_dim) latent vectors from N(0, 1) -> (N, 3, size, size) images in [-1, 1].

    `width` is the number of channels before the last layer; each block below has twice as many.
    Raises ValueError for an unknown activation, or a size that 4x4 can't be doubled to.
    """

    def __init__(
        self,
        width: int = 64,
        z_dim: int = 128,
        size: int = 64,
        activation: str = "relu",
        init: str = "normal",
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        act = ACTIVATIONS[activation]
        doublings = halvings(size, width=width, z_dim=z_dim)
        channels = width * 2 ** (doublings - 1)
        layers = [
            nn.ConvTranspose2d(z_dim, channels, kernel_size=4, bias=False),  # (N, channels, 4, 4)
            nn.BatchNorm2d(channels),
            act(),
        ]
        for _ in range(doublings - 1):
            layers += up(channels, channels // 2, act)
            channels //= 2
        layers.append(
            nn.ConvTranspose2d(channels, 3, kernel_size=4, stride=2, padding=1, bias=False)
        )
        layers.append(nn.Tanh())  # (N, 3, size, size)
        self.z_dim = z_dim
        self.net = nn.Sequential(*layers)
        init_weights(self, init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(N, z_dim) -> (N, 3, size, size)."""
        return self.net(z[:, :, None, None])


def make_generator(recipe: Recipe) -> Generator:
    """A recipe -> its generator, with freshly initialized weights."""
    return Generator(recipe.width, recipe.z_dim, recipe.size, recipe.g_activation)


def sample_z(count: int, z_dim: int, *key: int | str) -> torch.Tensor:
    """A key (a seed, say) -> (count, z_dim) latent vectors from N(0, 1). Without one: seed 0."""
    key = key or (0,)
    return torch.randn(count, z_dim, generator=rng(*key))


@contextmanager
def eval_mode(*networks: nn.Module | None) -> Iterator[None]:
    """Within it, these networks are in eval mode; afterwards, each layer in the mode it was in."""
    modes = {}
    for network in networks:
        if network is not None:
            modes |= {layer: layer.training for layer in network.modules()}
            network.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


@torch.no_grad()
def generate(G: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """(N, z_dim) latent vectors -> (N, 3, H, W) images on the CPU, by G in eval mode.

    G is left as it was: its mode and its batch-norm statistics don't change.
    """
    device = next(G.parameters()).device
    with eval_mode(G):
        images = [G(part.to(device)).cpu() for part in z.split(256)]
    return torch.cat(images)


def sample(G: nn.Module, count: int = 64, *key: int | str) -> torch.Tensor:
    """A generator and a key (a seed, say) -> (count, 3, H, W) images in [-1, 1]."""
    return generate(G, sample_z(count, G.z_dim, *key))
