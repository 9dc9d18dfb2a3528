"""generator: noise becomes pictures."""

import pytest
import torch
from torch import nn

from animegan_helpers.generator import Generator


def kinds(net, *wanted):
    return [layer for layer in net.modules() if isinstance(layer, wanted)]


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("width, z_dim", [(2, 5), (3, 1)])
def test_every_code_becomes_a_picture(size, width, z_dim):
    pictures = Generator(width, z_dim, size)(torch.randn(2, z_dim))
    assert pictures.shape == (2, 3, size, size) and pictures.dtype == torch.float32


def test_pictures_lie_between_minus_1_and_1():
    pictures = Generator(4, 8, 16)(torch.randn(16, 8) * 100)
    assert pictures.abs().max() <= 1
    assert isinstance(Generator(4, 8, 16).net[-1], nn.Tanh)


def test_the_number_of_weights_at_width_64_and_z_128_is_as_the_formula_says():
    z, w = 128, 64
    convolutions = 16 * (z * 8 * w + 8 * w * 4 * w + 4 * w * 2 * w + 2 * w * w + w * 3)
    norms = 2 * (8 * w + 4 * w + 2 * w + w)
    assert sum(p.numel() for p in Generator(w, z).parameters()) == convolutions + norms


def test_features_double_and_channels_halve():
    seen = []
    G = Generator(width=2, z_dim=4)
    for conv in kinds(G, nn.ConvTranspose2d):
        conv.register_forward_hook(lambda layer, x, y: seen.append(tuple(y.shape[1:])))
    G(torch.randn(2, 4))
    assert seen == [(16, 4, 4), (8, 8, 8), (4, 16, 16), (2, 32, 32), (3, 64, 64)]


def test_start_weights_are_the_papers():
    torch.manual_seed(0)
    G = Generator(width=64)
    assert all(conv.weight.std().item() == pytest.approx(0.02, rel=0.05) for conv in kinds(G, nn.ConvTranspose2d))
    scales = torch.cat([norm.weight for norm in kinds(G, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=3e-3) and scales.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_activation_can_be_chosen():
    assert len(kinds(Generator(2, 4), nn.ReLU)) == 4
    leaky = kinds(Generator(2, 4, activation="leaky_relu"), nn.LeakyReLU)
    assert [layer.negative_slope for layer in leaky] == [0.2] * 4


@pytest.mark.parametrize(
    "name, value", [("size", 60), ("size", 8), ("size", 0), ("width", 0), ("z_dim", -1), ("z_dim", 0)]
)
def test_a_size_that_cannot_work_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}.* {value}\\b"):
        Generator(**{name: value})


def test_an_activation_nobody_knows_is_named():
    with pytest.raises(ValueError, match="'gelu'"):
        Generator(activation="gelu")
