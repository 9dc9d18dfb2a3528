"""Patches of a Laplacian pyramid have known answers."""

import pytest
import torch
import torch.nn.functional as F

from animegan_helpers.patches import laplacian_pyramid, pyramid_patches, random_patches
from animegan_helpers.rng import rng


def test_the_levels_of_a_pyramid_add_up_to_the_image():
    images = torch.randn(2, 3, 64, 64, generator=rng(0)).clamp(-1, 1)
    levels = list(laplacian_pyramid(images))
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    total = levels[-1]
    for level in reversed(levels[:-1]):
        total = level + F.interpolate(total, scale_factor=2, mode="bilinear")
    assert torch.allclose(total, images, atol=1e-5)


@pytest.mark.parametrize(
    "size, sizes", [(16, [16]), (32, [32, 16]), (128, [128, 64, 32, 16])], ids=str
)
def test_a_pyramid_goes_down_to_16_pixels_from_any_size(size, sizes):
    images = torch.randn(2, 3, size, size, generator=rng(size))
    assert [level.shape[-1] for level in laplacian_pyramid(images)] == sizes
    levels = list(pyramid_patches(images, 4, rng(1)))
    assert [level.shape for level in levels] == [(8, 147)] * len(sizes)


def test_patches_are_windows_of_their_image():
    images = torch.arange(2 * 3 * 16 * 16.0).view(2, 3, 16, 16)
    patches = random_patches(images, 5, rng(1))
    assert patches.shape == (10, 3, 7, 7)
    for i, patch in enumerate(patches):
        image = images[i % 2]
        y, x = (image[0] == patch[0, 0, 0]).nonzero()[0].tolist()
        assert torch.equal(patch, image[:, y : y + 7, x : x + 7])


def test_each_channel_of_a_level_has_mean_0_and_deviation_1():
    images = 0.3 + 0.2 * torch.randn(20, 3, 32, 32, generator=rng(2))
    levels = list(pyramid_patches(images, 4, rng(3)))
    assert [level.shape for level in levels] == [(80, 147), (80, 147)]
    for level in levels:
        channels = level.view(80, 3, 49).transpose(0, 1).flatten(1)
        assert channels.mean(1).abs().max() < 1e-5
        assert channels.std(1) == pytest.approx(1.0, abs=1e-4)


def test_an_image_of_one_color_gives_finite_patches():
    for level in pyramid_patches(torch.zeros(2, 3, 64, 64), 3, rng(4)):
        assert (level == 0).all()
