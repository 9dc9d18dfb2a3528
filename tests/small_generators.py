"""What the tests of sharing and sliders use: small generators whose faces are not uniform gray."""

import torch
from torch import nn
from torch.nn import functional as F

from animegan_helpers.generator import Generator, sample_z


@torch.random.fork_rng(devices=[])
def small_generator(random_shift: bool = False, **arguments) -> Generator:
    """Arguments of `Generator` -> one in eval mode, whose batch norm has seen batches.

    A fresh one generates uniform gray. `random_shift` makes its batch norm shift the features.
    """
    torch.manual_seed(0)
    G = Generator(**arguments, init="he")
    if random_shift:
        for norm in G.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.bias, 0, 0.5)
    for batch in range(30):
        G(sample_z(64, G.z_dim, batch))
    return G.eval()


class Resized(nn.Module):
    """A generator, resized: it generates the same faces at another size."""

    def __init__(self, G: Generator, size: int):
        super().__init__()
        self.G = G
        self.z_dim = G.z_dim
        self.size = size

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(N, z_dim) -> (N, 3, size, size)."""
        sizes = (self.size, self.size)
        return F.interpolate(self.G(z), sizes, mode="bicubic", antialias=True).clamp(-1, 1)


def two_directions(z_dim: int = 8) -> dict[str, torch.Tensor]:
    """-> two unit directions (z_dim,) by name: its last two axes."""
    axes = torch.eye(z_dim)
    return {"dark to light": axes[-2], "cold to warm": axes[-1]}
