"""layers: features become half or twice as large."""

import pytest
import torch
from torch import nn

from animegan_helpers import layers


def test_a_4x4_stride_2_convolution_of_64_gives_32():
    down = nn.Sequential(*layers.down(3, 8))
    assert down(torch.zeros(2, 3, 64, 64)).shape == (2, 8, 32, 32)


def test_a_transposed_one_of_32_gives_64():
    up = nn.Sequential(*layers.up(8, 3))
    assert up(torch.zeros(2, 8, 32, 32)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("norm", [True, False])
def test_a_convolution_has_a_bias_only_where_no_batch_norm_follows(norm):
    block = layers.down(3, 8, norm=norm)
    assert (block[0].bias is None) == norm
    assert [type(layer) for layer in block] == [nn.Conv2d, *[nn.BatchNorm2d] * norm, nn.LeakyReLU]


def test_the_leaky_relu_keeps_a_fifth_of_what_is_negative():
    assert layers.down(3, 8)[-1](torch.tensor(-10.0)) == -2


def test_spectral_norm_brings_the_largest_singular_value_of_every_convolution_to_1():
    torch.manual_seed(0)
    net = nn.Sequential(*layers.down(3, 8, norm=False), *layers.down(8, 16, norm=False), nn.Conv2d(16, 1, 4))
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    layers.start_weights(net, "he")
    before = [conv.weight.detach() for conv in convolutions]
    assert min(torch.linalg.matrix_norm(weight.flatten(1), 2) for weight in before) > 1.2
    layers.spectral(net)
    for _ in range(50):
        net(torch.randn(2, 3, 16, 16))
    for old, new in zip(before, [conv.weight.detach() for conv in convolutions]):
        assert torch.linalg.matrix_norm(new.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
        assert torch.allclose(new / new.norm(), old / old.norm(), atol=1e-6), "only its size is another"


def test_normal_start_weights_have_a_spread_of_002_and_scales_lie_around_1():
    net = nn.Sequential(nn.Conv2d(64, 128, 4), nn.BatchNorm2d(4096), nn.ConvTranspose2d(64, 128, 4))
    layers.start_weights(net)
    for conv in (net[0], net[2]):
        assert conv.weight.mean().abs() < 5e-4
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not conv.bias.any()
    assert net[1].weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert net[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net[1].bias.any()


def test_he_start_weights_keep_the_size_of_the_signal():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 4, 2, 1)
    layers.start_weights(conv, "he")
    fan_in = 64 * 4 * 4
    assert conv.weight.std().item() == pytest.approx((2 / (1 + 0.2**2) / fan_in) ** 0.5, rel=0.03)


def test_start_weights_nobody_knows_are_refused_by_name():
    with pytest.raises(ValueError, match="'xavier'"):
        layers.start_weights(nn.Conv2d(1, 1, 1), "xavier")


@pytest.mark.parametrize("size, times", [(16, 2), (32, 3), (64, 4), (128, 5)])
def test_halvings_down_to_4x4(size, times):
    assert layers.halvings(size) == times


@pytest.mark.parametrize("size", [60, 8, 0, -64])
def test_a_size_that_cannot_be_halved_is_named(size):
    with pytest.raises(ValueError, match=f"size {size} "):
        layers.halvings(size)


def test_another_size_below_1_is_named_too():
    with pytest.raises(ValueError, match="colours is 0"):
        layers.halvings(64, colours=0)
