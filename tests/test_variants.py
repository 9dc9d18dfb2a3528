"""What races compare beside recipes: layers, a wider D, R2; and the features of real faces."""

import math
from pathlib import Path

import pytest
import torch
from small_runs import DEFAULT

from animegan_helpers import recipes
from animegan_helpers.images import to_tensor
from animegan_helpers.rng import rng
from animegan_helpers.trainer import Trainer


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The benchmarks can be imported as modules."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")


def weights(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


# ---- variants ----


@pytest.mark.parametrize("kind", ["transposed", "transposed, blur", "bilinear", "pixel shuffle"])
@pytest.mark.parametrize("size", [16, 64, 128])
def test_every_kind_of_layers_has_the_packages_shapes(kind, size):
    from layer_kinds import make_layered_generator

    recipe = recipes.get("default", width=4, size=size)
    G = make_layered_generator(kind, recipe)
    assert G(torch.randn(2, recipe.z_dim)).shape == (2, 3, size, size)
    assert G.z_dim == recipe.z_dim


def test_transposed_layers_are_the_packages():
    from layer_kinds import make_layered_generator

    G = make_layered_generator("transposed", DEFAULT)
    of_package = Trainer(DEFAULT).G
    of_package.load_state_dict(G.state_dict())
    z = torch.randn(3, DEFAULT.z_dim)
    assert torch.allclose(G(z), of_package(z), atol=1e-6)  # another memory order


def test_a_blur_keeps_constants_and_halves_a_checkerboard_away():
    from layer_kinds import Blur

    blur = Blur(2)
    constant = torch.full((1, 2, 8, 8), 3.0)
    assert torch.allclose(blur(constant), constant)
    rows = torch.arange(8)
    checkerboard = (1.0 - 2 * ((rows[:, None] + rows) % 2)).expand(1, 2, 8, 8)
    assert blur(checkerboard)[..., 1:-1, 1:-1].abs().max() < 1e-6


@pytest.mark.parametrize(
    "variant", ["", "R2", "transposed, blur", "bilinear", "pixel shuffle", "D 1.5 times as wide"]
)
def test_a_variant_trains_all_its_networks(variant, faces):
    from variants import make_trainer

    trainer = make_trainer(variant, DEFAULT, 0)
    networks = (trainer.G, trainer.D, trainer.G_ema)
    before = [weights(network) for network in networks]
    numbers = torch.stack([trainer.step(faces[:4]) for _ in range(2)])
    assert numbers.isfinite().all()
    for network, old in zip(networks, before):
        assert not torch.equal(weights(network), old)


def test_wgan_gp_moves_d_at_every_step_and_g_at_every_fifth(faces):
    from variants import make_trainer

    trainer = make_trainer("WGAN-GP", DEFAULT.changed(d_norm="none", ema=0.0), 0)
    moved = {"G": [], "D": []}
    for _ in range(10):
        before = weights(trainer.G), weights(trainer.D)
        numbers = trainer.step(faces[:4])
        assert numbers.isfinite().all()
        moved["G"].append(not torch.equal(weights(trainer.G), before[0]))
        moved["D"].append(not torch.equal(weights(trainer.D), before[1]))
    assert moved["D"] == [True] * 10
    assert moved["G"] == 2 * ([False] * 4 + [True])


def test_the_gradient_penalty_is_zero_where_the_gradient_has_norm_one():
    from torch import nn
    from variants import gradient_penalty

    D = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0))
    with torch.no_grad():
        D[1].weight.div_(D[1].weight.norm())
    real, fake = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    assert gradient_penalty(D, real, fake).item() == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        D[1].weight.mul_(3)
    assert gradient_penalty(D, real, fake).item() == pytest.approx(4, rel=1e-5)


def test_no_variant_is_the_packages_trainer_and_a_variant_is_another(faces):
    from variants import make_trainer

    trainers = [Trainer(DEFAULT, 5), make_trainer("", DEFAULT, 5), make_trainer("R2", DEFAULT, 5)]
    for trainer in trainers:
        trainer.step(faces[:4])
    of_package, same, with_r2 = [weights(trainer.D) for trainer in trainers]
    assert torch.equal(of_package, same)
    assert not torch.equal(of_package, with_r2)


@pytest.mark.parametrize("augment", [False, True])
def test_r2_without_weight_is_the_packages_step(faces, augment):
    from variants import make_trainer

    recipe = DEFAULT.changed(r1=0.0, augment=augment)
    trainers = [Trainer(recipe, 5), make_trainer("R2", recipe, 5)]
    for trainer in trainers:
        trainer.step(faces[:4])
    assert torch.equal(weights(trainers[0].D), weights(trainers[1].D))
    assert torch.equal(weights(trainers[0].G), weights(trainers[1].G))


def test_an_unknown_variant_is_named():
    from variants import make_trainer

    with pytest.raises(ValueError, match="R3"):
        make_trainer("R3", DEFAULT, 0)


# ---- features of real faces ----


def test_the_contrastive_loss_has_its_known_value():
    """Two images whose views agree, at right angles: each view has one partner and two others."""
    from real_features import TEMPERATURE, contrastive_loss

    views = torch.eye(2)
    right = math.exp(1 / TEMPERATURE)
    assert contrastive_loss(views, views).item() == pytest.approx(-math.log(right / (right + 2)))
    wrong = contrastive_loss(views, views.flip(0)).item()
    assert wrong == pytest.approx(-math.log(1 / (right + 2)))


def test_views_are_random_but_the_same_for_the_same_generator():
    from real_features import random_views

    images = torch.rand(4, 3, 64, 64) * 2 - 1
    first, again, other = [random_views(images, rng(seed, "views")) for seed in (0, 0, 1)]
    assert first.shape == images.shape
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_blur_lowers_contrast_and_keeps_the_mean():
    from real_features import blurred

    images = torch.rand(2, 3, 64, 64)
    soft = blurred(images, 1.0)
    assert soft.shape == images.shape
    assert soft.std() < 0.4 * images.std()
    assert soft.mean().item() == pytest.approx(images.mean().item(), abs=0.01)


def test_the_encoder_never_learns_from_a_face_that_it_compares(faces):
    from real_features import compared_and_training

    real, other, training = compared_and_training(faces)
    assert len(real) == len(other) == len(faces) // 4
    assert len(real) + len(other) + len(training) == len(faces)
    unique = torch.cat([real, other, to_tensor(training[list(range(len(training)))])]).unique(dim=0)
    assert len(unique) == len(faces)


def test_an_encoder_learns_and_can_be_kept(faces, tmp_path, monkeypatch):
    import real_features

    monkeypatch.setattr(real_features, "BATCH", 4)
    encoder = real_features.train_encoder(faces, 0.02, torch.device("cpu"))
    fresh = real_features.train_encoder(faces, 0.0001, torch.device("cpu"))
    assert not torch.equal(weights(encoder), weights(fresh))
    path = tmp_path / "encoder.pt"
    real_features.save_encoder(encoder, 0.02, path)
    images = torch.randn(2, 3, 64, 64)
    loaded, minutes = real_features.load_encoder(path)
    assert minutes == 0.02
    assert torch.equal(loaded(images), encoder(images))
    assert loaded(images).shape == (2, 128)


@pytest.mark.parametrize("size, count", [(5, 2), (7, 3), (8, 3), (40, 3)])
def test_the_gallery_compares_at_most_half_of_a_small_set(size, count, monkeypatch):
    import gallery

    images = torch.randint(256, (size, 64, 64, 3), dtype=torch.uint8, generator=rng("gallery"))
    monkeypatch.setattr(gallery, "COUNT", 3)
    monkeypatch.setattr(gallery, "load_faces", lambda name: images[[0] * 3])
    G = Trainer(DEFAULT).G
    real, sets = gallery.compared_sets(G, images)
    assert [len(real), *map(len, sets.values())] == [count] * 6
