"""Noise (N, 3, 64, 64) flows to images along velocities that a U-Net predicts. Built on page 13.

It is here and not in the package, since no page but 13 uses it: `test_flow` compares the two.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def time_features(t: Tensor) -> Tensor:
    """(N, 1, 1, 1) times from 0 to 1 -> (N, 64) waves of 32 frequencies."""
    frequencies = torch.exp(torch.linspace(0, math.log(100), 32, device=t.device))
    angles = math.pi * t.flatten(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """(N, channels_in, H, W) features and (N, 128) times -> (N, channels_out, H, W) features."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, channels_in),
            nn.SiLU(),
            nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        )
        self.time = nn.Linear(128, channels_out)
        self.second = nn.Sequential(
            nn.GroupNorm(8, channels_out),
            nn.SiLU(),
            nn.Conv2d(channels_out, channels_out, kernel_size=3, padding=1),
        )
        self.skip = nn.Conv2d(channels_in, channels_out, kernel_size=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(x) + self.time(time)[:, :, None, None]
        return self.skip(x) + self.second(h)


class UNet(nn.Module):
    """(N, 3, 64, 64) noisy images and (N, 1, 1, 1) times -> (N, 3, 64, 64) velocities.

    It predicts the image; the velocity is the rest of the way, divided by the time that is left.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        self.enter = nn.Conv2d(12, width, kernel_size=3, padding=1)
        self.down_32 = Block(width, width)
        self.down_16 = Block(width, 2 * width)
        self.down_8 = Block(2 * width, 4 * width)
        self.middle_4 = Block(4 * width, 8 * width)
        self.up_8 = Block(12 * width, 4 * width)
        self.up_16 = Block(6 * width, 2 * width)
        self.up_32 = Block(3 * width, width)
        self.leave = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, 12, kernel_size=3, padding=1),
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(time_features(t))
        at_32 = self.down_32(self.enter(F.pixel_unshuffle(x, 2)), time)
        at_16 = self.down_16(F.avg_pool2d(at_32, 2), time)
        at_8 = self.down_8(F.avg_pool2d(at_16, 2), time)
        at_4 = self.middle_4(F.avg_pool2d(at_8, 2), time)
        at_8 = self.up_8(torch.cat([F.interpolate(at_4, scale_factor=2), at_8], dim=1), time)
        at_16 = self.up_16(torch.cat([F.interpolate(at_8, scale_factor=2), at_16], dim=1), time)
        at_32 = self.up_32(torch.cat([F.interpolate(at_16, scale_factor=2), at_32], dim=1), time)
        image = F.pixel_shuffle(self.leave(at_32), 2)
        return (image - x) / (1 - t).clamp(min=0.05)


def flow_loss(velocity: Callable, image: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Images and noise (N, 3, H, W), times (N, 1, 1, 1) -> the loss of arXiv:2210.02747."""
    x_t = (1 - t) * noise + t * image
    target = image - noise
    return F.mse_loss(velocity(x_t, t), target)


def sample_times(count: int, generator: torch.Generator) -> Tensor:
    """-> (count, 1, 1, 1) times, logit-normal: most are around 0.3, few are near 0 and 1."""
    return (torch.randn(count, 1, 1, 1, generator=generator) - 0.8).sigmoid()


@torch.no_grad()
def euler(velocity: Callable, noise: Tensor, steps: int) -> Tensor:
    """Noise (N, 3, H, W) -> images, in equal steps along the velocity from t = 0 to 1."""
    x = noise
    for step in range(steps):
        t = torch.full((len(x), 1, 1, 1), step / steps, device=x.device)
        x = x + velocity(x, t) / steps
    return x
