"""(N, C, H, W) features are halved or doubled in size: both networks' blocks. Pages 03 and 04."""

import math
from collections.abc import Callable

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .recipes import check_size


def down(channels_in: int, channels_out: int, norm: bool = True) -> list[nn.Module]:
    """(N, channels_in, H, W) -> (N, channels_out, H/2, W/2), as layers for an `nn.Sequential`."""
    layers = [
        nn.Conv2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=not norm)
    ]
    if norm:
        layers.append(nn.BatchNorm2d(channels_out))
    layers.append(nn.LeakyReLU(0.2))
    return layers


def up(
    channels_in: int, channels_out: int, activation: Callable[[], nn.Module] = nn.ReLU
) -> list[nn.Module]:
    """(N, channels_in, H, W) -> (N, channels_out, 2H, 2W), as layers for an `nn.Sequential`."""
    return [
        nn.ConvTranspose2d(
            channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=False
        ),
        nn.BatchNorm2d(channels_out),
        activation(),
    ]


def add_spectral_norm(network: nn.Module) -> None:
    """Divide every convolution's weight by its largest singular value (arXiv:1802.05957)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            spectral_norm(layer)


def init_weights(network: nn.Module, init: str = "normal") -> None:
    """Initialize all weights in place: "normal" is DCGAN's N(0, 0.02), "he" is He initialization.

    Batch-norm scales are drawn around 1, not around 0: a scale of 0 would switch its channel off.
    Raises ValueError for another `init`.
    """
    if init not in ("normal", "he"):
        raise ValueError(f"weight initialization {init!r}: choose 'normal' or 'he'")
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            if init == "he":
                nn.init.kaiming_normal_(layer.weight, a=0.2)
            else:
                nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def halvings(size: int, **sizes: int) -> int:
    """How many times an image of `size` pixels can be halved until it is 4x4.

    Raises ValueError that names the size that can't work, or a value of `sizes` below 1.
    """
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: it must be 1 or more")
    check_size(size)
    return int(math.log2(size)) - 2
