"""generator: noise becomes images."""

import pytest
import torch
from common import flat
from torch import nn

from animegan_helpers import recipes
from animegan_helpers.generator import (
    Generator,
    eval_mode,
    generate,
    make_generator,
    sample,
    sample_z,
)
from animegan_helpers.rng import rng


def layers_of(net, kind):
    return [layer for layer in net.modules() if isinstance(layer, kind)]


# ---- the network ----


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("width, z_dim", [(2, 5), (3, 1)])
def test_every_latent_vector_becomes_an_image(size, width, z_dim):
    images = Generator(width, z_dim, size)(torch.randn(2, z_dim))
    assert images.shape == (2, 3, size, size)
    assert images.dtype == torch.float32


def test_images_lie_between_minus_1_and_1():
    images = Generator(4, 8, 16)(torch.randn(16, 8) * 100)
    assert images.abs().max() <= 1
    assert isinstance(Generator(4, 8, 16).net[-1], nn.Tanh)


def test_the_number_of_weights_at_width_64_and_z_dim_128_follows_the_formula():
    z, w = 128, 64
    convolutions = 16 * (z * 8 * w + 8 * w * 4 * w + 4 * w * 2 * w + 2 * w * w + w * 3)
    norms = 2 * (8 * w + 4 * w + 2 * w + w)
    assert sum(p.numel() for p in Generator(w, z).parameters()) == convolutions + norms


def test_features_double_in_size_and_channels_halve():
    shapes = []
    G = Generator(width=2, z_dim=4)
    for conv in layers_of(G, nn.ConvTranspose2d):
        conv.register_forward_hook(lambda layer, x, y: shapes.append(tuple(y.shape[1:])))
    G(torch.randn(2, 4))
    assert shapes == [(16, 4, 4), (8, 8, 8), (4, 16, 16), (2, 32, 32), (3, 64, 64)]


def test_the_weight_initialization_is_the_papers():
    torch.manual_seed(0)
    G = Generator(width=64)
    for conv in layers_of(G, nn.ConvTranspose2d):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    scales = torch.cat([norm.weight for norm in layers_of(G, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=3e-3)
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)


def test_he_initialization_can_be_chosen():
    torch.manual_seed(0)
    G = Generator(width=64, init="he")
    for conv in layers_of(G, nn.ConvTranspose2d):
        fan_in = conv.out_channels * 4 * 4  # as PyTorch counts it for a transposed convolution
        expected = (2 / (1 + 0.2**2) / fan_in) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.03)
    with pytest.raises(ValueError, match="'xavier'"):
        Generator(2, 4, init="xavier")


def test_the_activation_can_be_chosen():
    assert len(layers_of(Generator(2, 4), nn.ReLU)) == 4
    leaky = layers_of(Generator(2, 4, activation="leaky_relu"), nn.LeakyReLU)
    assert [layer.negative_slope for layer in leaky] == [0.2] * 4


@pytest.mark.parametrize(
    "name, value",
    [("size", 60), ("size", 8), ("size", 0), ("width", 0), ("z_dim", -1), ("z_dim", 0)],
)
def test_a_size_that_cannot_work_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}.* {value}\\b"):
        Generator(**{name: value})


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'gelu'"):
        Generator(activation="gelu")


def test_a_recipe_says_how_its_generator_is_built():
    recipe = recipes.get("noisy-labels", width=2, z_dim=5, size=32)
    G = make_generator(recipe)
    assert G(torch.randn(2, 5)).shape == (2, 3, 32, 32)
    assert layers_of(G, nn.ConvTranspose2d)[-1].in_channels == 2
    assert not layers_of(G, nn.ReLU)


# ---- latent vectors and samples ----


def test_latent_vectors_are_normal_and_depend_on_the_key_alone():
    z = sample_z(5000, 8, 3, "here")
    assert z.shape == (5000, 8)
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(z, torch.randn(5000, 8, generator=rng(3, "here")))
    assert not torch.equal(z, sample_z(5000, 8, 3, "there"))
    assert torch.equal(sample_z(2, 8), sample_z(2, 8, 0)), "no key is seed 0"


def test_sampling_depends_on_the_seed_alone():
    G = Generator(4, 8, 16)
    assert torch.equal(sample(G, 4, 3), sample(G, 4, 3))
    assert not torch.equal(sample(G, 4, 3), sample(G, 4, 4))
    assert torch.equal(sample(G, 4, 3), generate(G, sample_z(4, 8, 3)))
    assert sample(G, 300).shape == (300, 3, 16, 16)


@pytest.mark.parametrize("training", [True, False])
def test_generating_uses_eval_mode_and_leaves_the_generator_and_all_randomness_alone(training):
    G = Generator(4, 8, 16).train(training)
    z = torch.randn(300, 8)
    weights_before = flat(G.state_dict())
    rng_before = torch.get_rng_state()
    images = generate(G, z)
    assert not images.requires_grad
    assert G.training is training
    assert flat(G.state_dict()) == weights_before
    assert torch.equal(torch.get_rng_state(), rng_before)
    assert torch.allclose(images, G.eval()(z), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_or_an_interrupt_leaves_the_generator_as_it_was(training, error):
    G = Generator(4, 8, 16).train(training)

    def fail(*arguments):
        raise error

    hook = G.net[3].register_forward_hook(fail)
    with pytest.raises(error):
        generate(G, torch.randn(2, 8))
    assert all(layer.training is training for layer in G.modules())
    hook.remove()
    with pytest.raises(RuntimeError):
        generate(G, torch.randn(2, 9))
    assert G.training is training


def test_eval_mode_ends_in_the_mode_that_each_network_was_in():
    G, D = nn.BatchNorm2d(2).train(), nn.BatchNorm2d(2).eval()
    with eval_mode(G, D, None):
        assert not G.training and not D.training
    assert G.training and not D.training


def test_generating_leaves_the_mode_of_each_layer_alone():
    G = Generator(width=2, z_dim=4, size=16).train()
    G.net[1].eval()  # a frozen batch norm, as in fine-tuning
    before = [layer.training for layer in G.modules()]
    generate(G, torch.randn(2, 4))
    assert [layer.training for layer in G.modules()] == before
