"""(N, 3, 64, 64) images become (N,) logits. Built on page 03."""

import torch
from torch import nn

from .layers import add_spectral_norm, down, halvings, init_weights
from .recipes import Recipe


class Discriminator(nn.Module):
    """(N, 3, size, size) images in [-1, 1] -> (N,) logits: above 0 means "real".

    There is no sigmoid: the loss includes it. `norm` is "batch", "spectral" or "none"; the first
    layer has no batch norm (DCGAN's advice) unless `norm_first`.
    Raises ValueError for an unknown norm, or a size that can't be halved to 4x4.
    """

    def __init__(
        self,
        width: int = 64,
        size: int = 64,
        norm: str = "batch",
        norm_first: bool = False,
        init: str = "normal",
    ):
        super().__init__()
        if norm not in ("batch", "spectral", "none"):
            raise ValueError(f"norm {norm!r}: choose 'batch', 'spectral' or 'none'")
        halving_count = halvings(size, width=width)
        batch_norm = norm == "batch"
        channels = width
        layers = down(3, channels, norm=batch_norm and norm_first)
        for _ in range(halving_count - 1):
            layers += down(channels, channels * 2, norm=batch_norm)
            channels *= 2
        layers.append(nn.Conv2d(channels, 1, kernel_size=4, bias=False))  # (N, 1, 1, 1)
        layers.append(nn.Flatten(0))  # (N,)
        self.net = nn.Sequential(*layers)
        init_weights(self, init)
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, size, size) -> (N,)."""
        return self.net(images)


def make_discriminator(recipe: Recipe) -> Discriminator:
    """A recipe -> its discriminator, with freshly initialized weights."""
    return Discriminator(
        width=recipe.width,
        size=recipe.size,
        norm=recipe.d_norm,
        norm_first=recipe.d_norm_first,
        init=recipe.d_init,
    )
