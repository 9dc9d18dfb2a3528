"""layers: features become half or twice as large."""

import pytest
import torch
from torch import nn

from animegan_helpers import layers


def test_a_4x4_stride_2_convolution_turns_64_into_32():
    down = nn.Sequential(*layers.down(3, 8))
    assert down(torch.zeros(2, 3, 64, 64)).shape == (2, 8, 32, 32)


def test_a_transposed_convolution_turns_32_into_64():
    up = nn.Sequential(*layers.up(8, 3))
    assert up(torch.zeros(2, 8, 32, 32)).shape == (2, 3, 64, 64)


def test_a_convolution_before_batch_norm_has_no_bias():
    block = layers.down(3, 8, norm=True)
    assert block[0].bias is None
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]


def test_a_convolution_without_batch_norm_has_a_bias():
    block = layers.down(3, 8, norm=False)
    assert block[0].bias is not None
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.LeakyReLU]


def test_leaky_relu_keeps_a_fifth_of_a_negative_value():
    assert layers.down(3, 8)[-1](torch.tensor(-10.0)) == -2


def largest_singular_value(weight):
    return torch.linalg.matrix_norm(weight.flatten(1), 2).item()


def test_spectral_norm_brings_the_largest_singular_value_of_every_convolution_to_1():
    torch.manual_seed(0)
    net = nn.Sequential(
        *layers.down(3, 8, norm=False),
        *layers.down(8, 16, norm=False),
        nn.Conv2d(16, 1, 4),
    )
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    layers.init_weights(net, "he")
    before = [conv.weight.detach() for conv in convolutions]
    assert min(largest_singular_value(weight) for weight in before) > 1.2
    layers.add_spectral_norm(net)
    for _ in range(50):
        net(torch.randn(2, 3, 16, 16))
    after = [conv.weight.detach() for conv in convolutions]
    for old, new in zip(before, after):
        assert largest_singular_value(new) == pytest.approx(1, abs=0.02)
        assert torch.allclose(new / new.norm(), old / old.norm(), atol=1e-6), (
            "only the scale changes"
        )


def test_normal_initialization_has_a_standard_deviation_of_002_and_scales_around_1():
    net = nn.Sequential(
        nn.Conv2d(64, 128, 4),
        nn.BatchNorm2d(4096),
        nn.ConvTranspose2d(64, 128, 4),
    )
    layers.init_weights(net)
    for conv in (net[0], net[2]):
        assert conv.weight.mean().abs() < 5e-4
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not conv.bias.any()
    assert net[1].weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert net[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net[1].bias.any()


def test_he_initialization_keeps_the_size_of_the_signal():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 4, 2, 1)
    layers.init_weights(conv, "he")
    fan_in = 64 * 4 * 4
    expected = (2 / (1 + 0.2**2) / fan_in) ** 0.5
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.03)


def test_an_unknown_initialization_is_refused_by_name():
    with pytest.raises(ValueError, match="'xavier'"):
        layers.init_weights(nn.Conv2d(1, 1, 1), "xavier")


@pytest.mark.parametrize("size, count", [(16, 2), (32, 3), (64, 4), (128, 5)])
def test_halvings_are_counted_down_to_4x4(size, count):
    assert layers.halvings(size) == count


@pytest.mark.parametrize("size", [60, 8, 0, -64])
def test_a_size_that_cannot_be_halved_is_named(size):
    with pytest.raises(ValueError, match=f"size {size} "):
        layers.halvings(size)


def test_another_size_below_1_is_named_too():
    with pytest.raises(ValueError, match="channels is 0"):
        layers.halvings(64, channels=0)
