"""discriminator: images become logits."""

import pytest
import torch
from torch import nn

from animegan_helpers import checkpoints, recipes
from animegan_helpers.discriminator import Discriminator, make_discriminator


def layers_of(net, kind):
    return [layer for layer in net.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_every_image_gets_one_logit(size):
    assert Discriminator(width=2, size=size)(torch.zeros(3, 3, size, size)).shape == (3,)


def test_the_logit_of_a_single_image_keeps_its_axis():
    assert Discriminator(width=2, size=16).eval()(torch.zeros(1, 3, 16, 16)).shape == (1,)


def test_there_is_no_sigmoid_so_logits_go_below_0_and_above_1():
    torch.manual_seed(0)
    D = Discriminator(width=8, size=16, norm="none", init="he")
    logits = D(torch.randn(64, 3, 16, 16) * 3)
    assert logits.min() < 0
    assert logits.max() > 1
    assert not layers_of(D, nn.Sigmoid)


def test_the_number_of_weights_follows_the_formula():
    w = 64
    convolutions = 16 * (3 * w + w * 2 * w + 2 * w * 4 * w + 4 * w * 8 * w + 8 * w)
    first_bias = w
    norms = 2 * (2 * w + 4 * w + 8 * w)
    weights = sum(p.numel() for p in Discriminator(width=w).parameters())
    assert weights == convolutions + first_bias + norms


def test_batch_norm_stands_where_it_is_asked_for():
    assert len(layers_of(Discriminator(2), nn.BatchNorm2d)) == 3
    assert len(layers_of(Discriminator(2, norm_first=True), nn.BatchNorm2d)) == 4
    assert not layers_of(Discriminator(2, norm="none", norm_first=True), nn.BatchNorm2d)


def test_spectral_norm_replaces_batch_norm():
    D = Discriminator(2, norm="spectral", norm_first=True)
    convolutions = layers_of(D, nn.Conv2d)
    assert not layers_of(D, nn.BatchNorm2d)
    assert all(nn.utils.parametrize.is_parametrized(conv, "weight") for conv in convolutions)
    for _ in range(50):
        D(torch.randn(4, 3, 64, 64))
    for conv in convolutions:
        largest = torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item()
        assert largest == pytest.approx(1, abs=0.02)


def test_a_spectral_discriminator_comes_back_from_its_file(tmp_path):
    D = Discriminator(4, 16, norm="spectral")
    other = Discriminator(4, 16, norm="spectral")
    images = torch.randn(4, 3, 16, 16)
    D(images)
    path = checkpoints.save(D.state_dict(), tmp_path / "D.pth")
    other.load_state_dict(checkpoints.load(path))  # with weights_only=True
    assert torch.equal(other(images), D(images)), "the estimated singular vectors are saved, too"


def test_the_weight_initialization_is_the_papers():
    torch.manual_seed(0)
    D = Discriminator(width=64)
    for conv in layers_of(D, nn.Conv2d):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    scales = torch.cat([norm.weight for norm in layers_of(D, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=3e-3)
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "name, value",
    [("size", 60), ("size", 8), ("size", 0), ("width", 0), ("width", -3), ("norm", "layer")],
)
def test_a_value_that_cannot_work_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}.* '?{value}\\b"):
        Discriminator(**{name: value})


def test_a_recipe_says_how_its_discriminator_is_built():
    torch.manual_seed(0)
    small = {"width": 64, "size": 32}
    D = make_discriminator(recipes.get("sequential", **small))
    assert len(layers_of(D, nn.BatchNorm2d)) == 3, "one after each halving, the first included"
    D = make_discriminator(recipes.get("default", **small))
    convolutions = layers_of(D, nn.Conv2d)
    assert not layers_of(D, nn.BatchNorm2d)
    assert len(convolutions) == 4
    assert convolutions[0].out_channels == 64
    assert convolutions[0].weight.std() > 0.1, "He initialization"


FIRST = ["Conv2d", "LeakyReLU"]
BLOCK = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
SPECTRAL = ["ParametrizedConv2d", "LeakyReLU"]


@pytest.mark.parametrize(
    "change, kinds",
    [
        ({}, [*FIRST, *BLOCK, *BLOCK, "Conv2d", "Flatten"]),
        ({"size": 16}, [*FIRST, *BLOCK, "Conv2d", "Flatten"]),
        ({"d_norm": "none"}, [*FIRST, *FIRST, *FIRST, "Conv2d", "Flatten"]),
        ({"d_norm": "spectral"}, [*SPECTRAL * 3, "ParametrizedConv2d", "Flatten"]),
        ({"d_norm_first": True}, [*BLOCK, *BLOCK, *BLOCK, "Conv2d", "Flatten"]),
    ],
)
def test_a_discriminator_follows_the_size_and_the_norm_of_its_recipe(change, kinds):
    recipe = recipes.get("bce", width=4, size=32, d_norm_first=False).changed(**change)
    D = make_discriminator(recipe)
    assert [type(layer).__name__ for layer in D.net] == kinds
    assert D(torch.zeros(3, 3, recipe.size, recipe.size)).shape == (3,)


@pytest.mark.parametrize("width", [2, 5])
def test_a_discriminator_follows_the_width_of_its_recipe(width):
    D = make_discriminator(recipes.get("bce", width=width, size=32))
    channels = [layer.out_channels for layer in layers_of(D, nn.Conv2d)]
    assert channels == [width, 2 * width, 4 * width, 1]


@pytest.mark.parametrize(
    "d_init, deviation",
    [("normal", 0.02), ("he", (2 / (1 + 0.2**2) / (3 * 4 * 4)) ** 0.5)],
)
def test_a_discriminator_follows_the_weight_initialization_of_its_recipe(d_init, deviation):
    torch.manual_seed(0)
    D = make_discriminator(recipes.get("bce", width=64, size=16, d_init=d_init))
    first = layers_of(D, nn.Conv2d)[0]
    assert first.weight.std().item() == pytest.approx(deviation, rel=0.05)
