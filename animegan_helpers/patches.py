"""Faces become (N * count, 147) random patches, and these one distance. Built on page 07."""

import statistics
from collections import defaultdict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .judge import AnyFaces, image_batches
from .rng import rng


def laplacian_pyramid(images: Tensor) -> Iterator[Tensor]:
    """(N, C, H, H) -> level by level the detail that halving it loses; last, the 16x16 that remain.

    64 pixels give (N, C, 64, 64), (N, C, 32, 32) and (N, C, 16, 16); 16 pixels give one level.
    """
    while images.shape[-1] > 16:
        smaller = F.avg_pool2d(images, 2)
        yield images - F.interpolate(smaller, scale_factor=2, mode="bilinear")
        images = smaller
    yield images


def random_patches(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(N, C, H, H) -> (N * count, C, 7, 7): `count` patches from random places of each image."""
    rows = torch.arange(len(images)).repeat(count)
    y, x = torch.randint(0, images.shape[-1] - 6, (2, len(rows)), generator=generator)
    windows = images.unfold(2, 7, 1).unfold(3, 7, 1)  # (N, C, H - 6, H - 6, 7, 7)
    return windows[rows, :, y, x]


def pyramid_patches(faces: AnyFaces, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """N faces -> for each level of the pyramid (N * count, 147) patches.

    Over a level, each of the three channels has mean 0 and standard deviation 1.
    """
    levels = defaultdict(list)
    for images in image_batches(faces):
        for level in laplacian_pyramid(images):
            levels[level.shape[-1]].append(random_patches(level, count, generator))
    for parts in levels.values():
        patches = torch.cat(parts)  # (N * count, 3, 7, 7)
        deviation, mean = torch.std_mean(patches, dim=(0, 2, 3), keepdim=True)
        yield ((patches - mean) / deviation.clamp(min=1e-6)).flatten(1)


def sliced_wasserstein(
    real: AnyFaces, fake: AnyFaces, seed: int = 0, patches: int = 32, directions: int = 64
) -> float:
    """N real and N fake faces -> 1000 x the distance of their patches (arXiv:1710.10196).

    No network is needed: random 7x7 patches of a Laplacian pyramid, down to 16 pixels, are
    projected on random directions, and the sorted projections compared. Lower is better, 0 equal.
    Only distances of faces of one size can be compared: a larger size has more levels.
    Raises ValueError if the numbers of faces differ, or their sizes.
    """
    if len(real) != len(fake):
        raise ValueError(f"{len(real)} real and {len(fake)} fake faces: compare equal numbers")
    real_size = _size(real)
    fake_size = _size(fake)
    if real_size != fake_size:
        raise ValueError(
            f"real faces of {real_size} pixels, and fake ones of {fake_size}:"
            f" prepare the real faces at {fake_size} pixels"
        )
    axes = F.normalize(torch.randn(directions, 3 * 7 * 7, generator=rng(seed, "directions")))
    real_levels = pyramid_patches(real, patches, rng(seed, "patches", "real"))
    fake_levels = pyramid_patches(fake, patches, rng(seed, "patches", "fake"))
    distances = []
    for real_patches, fake_patches in zip(real_levels, fake_levels):
        real_sorted = (axes @ real_patches.T).sort(dim=1).values
        fake_sorted = (axes @ fake_patches.T).sort(dim=1).values
        distances.append((real_sorted - fake_sorted).abs().mean().item())
    return 1000 * statistics.mean(distances)


def _size(faces) -> int:
    """N faces -> the pixels along each side."""
    images = next(image_batches(faces, size=1))
    return images.shape[-1]
