"""(N, C, H, W) features become half or twice as large: the blocks both networks are made of. Pages 03 and 04."""

import math

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def down(channels_in: int, channels_out: int, norm: bool = True) -> list[nn.Module]:
    """(N, channels_in, H, W) -> (N, channels_out, H/2, W/2), as layers for an `nn.Sequential`."""
    conv = nn.Conv2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=not norm)
    return [conv, *([nn.BatchNorm2d(channels_out)] if norm else []), nn.LeakyReLU(0.2)]


def spectral(net: nn.Module) -> None:
    """Spectral norm on every convolution of a network, in place: no weight matrix stretches (arXiv:1802.05957)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            spectral_norm(layer)


def up(channels_in: int, channels_out: int, activation=nn.ReLU) -> list[nn.Module]:
    """(N, channels_in, H, W) -> (N, channels_out, 2H, 2W), as layers for an `nn.Sequential`."""
    conv = nn.ConvTranspose2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels_out), activation()]


def start_weights(net: nn.Module, start: str = "normal") -> None:
    """Draw a network's first weights, in place: "normal" is DCGAN's N(0, 0.02), "he" keeps the signal's size.

    Batch-norm scales are drawn around 1, not around 0: a scale of 0 would switch its channel off.
    """
    if start not in ("normal", "he"):
        raise ValueError(f"start weights {start!r}: choose 'normal' or 'he'")
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            if start == "he":
                nn.init.kaiming_normal_(layer.weight, a=0.2)
            else:
                nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def halvings(size: int, **positive: int) -> int:
    """How many times a picture of `size` pixels can be halved down to 4x4; checks the other sizes by name."""
    for name, value in positive.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: it must be 1 or more")
    if size < 16 or size & (size - 1):
        raise ValueError(f"picture size {size} can't work: take a power of two from 16 up, such as 32, 64 or 128")
    return int(math.log2(size)) - 2
