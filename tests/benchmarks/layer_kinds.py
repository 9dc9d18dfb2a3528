"""The generator with other upsampling layers: what a comparison of layers trains.

All kinds have the package's shapes: a first 4x4 layer, batch norm and ReLU after each but the last,
tanh at the end. Only what doubles the size differs.
"""

import torch
import torch.nn.functional as F
from torch import nn

from animegan_helpers.generator import ACTIVATIONS, Generator
from animegan_helpers.layers import halvings, init_weights
from animegan_helpers.recipes import Recipe


class Blur(nn.Module):
    """(N, C, H, W) -> same shape: a fixed 3x3 binomial blur of each channel, edges repeated."""

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
        self.register_buffer("kernel", kernel.clone(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(x, self.kernel.to(x.dtype), groups=len(self.kernel))


def transposed(channels_in: int, channels_out: int) -> list[nn.Module]:
    """The package's: a transposed convolution, 4x4, stride 2."""
    return [nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)]


def blurred(channels_in: int, channels_out: int) -> list[nn.Module]:
    """The same, and a fixed blur."""
    return [*transposed(channels_in, channels_out), Blur(channels_out)]


def bilinear(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Bilinear upsampling, then a 3x3 convolution."""
    return [
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
    ]


def shuffled(channels_in: int, channels_out: int) -> list[nn.Module]:
    """A 3x3 convolution to four times the channels, which become 2x2 pixels each."""
    return [
        nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1, bias=False),
        nn.PixelShuffle(2),
    ]


KINDS = {
    "transposed": transposed,
    "transposed, blur": blurred,
    "bilinear": bilinear,
    "pixel shuffle": shuffled,
}


def make_layered_generator(kind: str, recipe: Recipe) -> Generator:
    """A name in `KINDS` and a recipe -> a generator with these layers, freshly initialized."""
    upsample = KINDS[kind]
    activation = ACTIVATIONS[recipe.g_activation]
    doublings = halvings(recipe.size)
    channels = recipe.width * 2 ** (doublings - 1)
    layers = [
        nn.ConvTranspose2d(recipe.z_dim, channels, 4, bias=False),
        nn.BatchNorm2d(channels),
        activation(),
    ]
    for _ in range(doublings - 1):
        layers += upsample(channels, channels // 2)
        channels //= 2
        layers += [nn.BatchNorm2d(channels), activation()]
    G = Generator(recipe.width, recipe.z_dim, recipe.size, recipe.g_activation)
    G.net = nn.Sequential(*layers, *upsample(channels, 3), nn.Tanh())
    init_weights(G)
    return G
