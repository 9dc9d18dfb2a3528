"""recipes: a name becomes every number of a run."""

import dataclasses
import json
import math

import pytest
import torch
from conftest import flat
from torch import nn

from animegan_helpers import recipes, training

OURS = ["default", "default-gpu", "ready", "long", "bce"]
SOURCES = ["300-epochs", "noisy-labels", "paper", "scores", "sequential"]
NAMES = OURS + SOURCES


def rows(net):
    """A network -> its layers as plain rows, to be compared with what a source prints."""
    told = []
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            shape = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            told.append((type(layer).__name__, *shape, layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm2d):
            told.append(("BatchNorm2d", layer.num_features))
        elif isinstance(layer, nn.LeakyReLU):
            told.append(("LeakyReLU", layer.negative_slope))
        elif isinstance(layer, (nn.ReLU, nn.Tanh)):
            told.append((type(layer).__name__,))
    return told


def source_5():
    """The two networks as the fifth source writes them; its flatten and sigmoid follow D's logits."""
    D = nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(256), nn.LeakyReLU(0.2),
        nn.Conv2d(256, 512, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(512), nn.LeakyReLU(0.2),
        nn.Conv2d(512, 1, kernel_size=4, stride=1, padding=0, bias=False),
    )  # fmt: skip
    G = nn.Sequential(
        nn.ConvTranspose2d(128, 512, kernel_size=4, stride=1, padding=0, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        nn.ConvTranspose2d(512, 256, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU(),
        nn.ConvTranspose2d(256, 128, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, kernel_size=4, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 3, kernel_size=4, stride=2, padding=1, bias=False), nn.Tanh(),
    )  # fmt: skip
    return G, D


@pytest.fixture(scope="module")
def game():
    return training.Game(recipes.get("sequential"))


def test_sequential_is_the_fifth_sources_pair_layer_by_layer(game):
    G, D = source_5()
    assert rows(game.G) == rows(G)
    assert rows(game.D) == rows(D)


def test_with_the_same_weights_the_fifth_sources_pair_gives_the_same_answers(game):
    theirs_G, theirs_D = source_5()
    for mine, theirs in ((game.G, theirs_G), (game.D, theirs_D)):
        theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values())))
    z = torch.randn(2, 128)
    pictures = theirs_G(z[:, :, None, None])
    assert torch.allclose(game.G(z), pictures, atol=1e-5)
    assert torch.allclose(game.D(pictures), theirs_D(pictures).flatten(), atol=1e-5)


def dcgan(z_dim=128, activation=("ReLU",)):
    """The rows of a DCGAN for 64x64 pictures, as sources 1 to 4 tell it, and with it the paper: strided convolutions,
    batch norm everywhere but at G's end, at D's beginning and its end; G: ReLU, tanh; D: LeakyReLU. -> G's, D's."""
    rise = [(512, 256), (256, 128), (128, 64)]
    G = [("ConvTranspose2d", z_dim, 512, (4, 4), (1, 1), (0, 0), False), ("BatchNorm2d", 512), activation]
    for a, b in rise:
        G += [("ConvTranspose2d", a, b, (4, 4), (2, 2), (1, 1), False), ("BatchNorm2d", b), activation]
    G += [("ConvTranspose2d", 64, 3, (4, 4), (2, 2), (1, 1), False), ("Tanh",)]
    D = [("Conv2d", 3, 64, (4, 4), (2, 2), (1, 1), True), ("LeakyReLU", 0.2)]
    for b, a in reversed(rise):
        D += [("Conv2d", a, b, (4, 4), (2, 2), (1, 1), False), ("BatchNorm2d", b), ("LeakyReLU", 0.2)]
    return G, [*D, ("Conv2d", 512, 1, (4, 4), (1, 1), (0, 0), False)]


# Learning rates of G and D, labels of real and fake pictures, pictures a batch, numbers in a code, length.
SOURCES = {
    "300-epochs": (2e-4, 2e-4, (1, 1), (0, 0), 128, 128, {"steps": 149_100}),
    "noisy-labels": (1.5e-4, 2e-4, (0.8, 1), (0, 0.2), 256, 128, {"steps": 20_000}),
    "paper": (2e-4, 2e-4, (1, 1), (0, 0), 128, 100, {"epochs": 25}),
    "scores": (2e-4, 2e-4, (1, 1), (0, 0), 128, 128, {"epochs": 25}),
    "sequential": (2e-4, 2e-4, (1, 1), (0, 0), 128, 128, {"epochs": 25}),
}


@pytest.mark.parametrize("name, networks", [
    ("300-epochs", dcgan()), ("noisy-labels", dcgan(activation=("LeakyReLU", 0.2))), ("paper", dcgan(z_dim=100)),
    ("scores", dcgan()),
])  # fmt: skip
def test_sources_1_to_4_are_dcgans_layer_by_layer(name, networks):
    game = training.Game(recipes.get(name))
    assert (rows(game.G), rows(game.D)) == networks
    for weight in (p for net in (game.G, game.D) for p in net.parameters() if p.ndim == 4):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("name", SOURCES)
def test_the_game_is_played_with_the_sources_numbers(name, monkeypatch):
    recipe = recipes.get(name)
    lr_g, lr_d, real, fake, batch, z_dim, length = SOURCES[name]
    game = training.Game(recipe.changed(width=2))
    for opt, rate in ((game.opt_g, lr_g), (game.opt_d, lr_d)):
        assert type(opt) is torch.optim.Adam
        assert (opt.param_groups[0]["lr"], opt.param_groups[0]["betas"]) == (rate, (0.5, 0.999))
    assert type(game.loss) is training.BCE and (game.loss.real, game.loss.fake) == (real, fake)
    assert (recipe.batch, game.G.z_dim) == (batch, z_dim)
    assert {"steps": recipe.steps, "epochs": recipe.epochs} == {"steps": 0, "epochs": 0} | length
    seen = []
    monkeypatch.setattr(training, "train_step", lambda *inputs: seen.append(inputs) or [torch.tensor(0.5)] * 4)
    game.play(torch.zeros(batch, 64, 64, 3, dtype=torch.uint8))
    (_, _, _, _, pictures, z, _, r1, _, change, _), *_ = seen
    assert (pictures.shape, z.shape, r1, change) == ((batch, 3, 64, 64), (batch, z_dim), 0, None), "nothing is added"
    assert (game.opt_g.param_groups[0]["lr"], game.opt_d.param_groups[0]["lr"]) == (lr_g, lr_d), "nor falls the rate"


def test_sources_1_and_4_differ_in_name_and_length_alone_so_they_play_the_same_game():
    first, fourth = recipes.get("300-epochs"), recipes.get("scores")
    assert dataclasses.replace(first, name="scores", about=fourth.about, steps=0, epochs=25) == fourth
    games = [training.Game(recipe.changed(width=4, batch=4), seed=5) for recipe in (first, fourth)]
    pixels = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8)
    one, other = ([game.play(batch) for batch in pixels] for game in games)
    assert one == other
    one, other = (flat({part: game.state()[part] for part in ("G", "D", "opt_g", "opt_d")}) for game in games)
    assert one == other


def test_all_recipes_have_a_name_and_say_what_they_are():
    assert list(recipes.RECIPES) == NAMES
    assert all(name == recipe.name and recipe.about for name, recipe in recipes.RECIPES.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_how_long_it_trains(name):
    recipe = recipes.get(name)
    assert (recipe.steps > 0) != (recipe.epochs > 0)


@pytest.mark.parametrize("name", SOURCES)
def test_the_sources_recipes_are_dcgans(name):
    r = recipes.get(name)
    assert (r.width, r.size, r.loss, r.betas, r.r1, r.ema, r.flip) == (64, 64, "bce", (0.5, 0.999), 0, 0, False)
    assert (r.d_norm, r.d_start, r.lr_d) == ("batch", "normal", 2e-4)


def test_source_1_trains_300_epochs_of_63565_pictures_in_batches_of_128():
    r = recipes.get("300-epochs")
    assert (r.batch, r.lr_g) == (128, 2e-4)
    assert r.steps == 149_100 == 300 * math.ceil(63_565 / r.batch)


def test_source_2_has_noisy_labels_and_a_leaky_generator():
    r = recipes.get("noisy-labels")
    assert (r.real_labels, r.fake_labels, r.g_activation) == ((0.8, 1.0), (0.0, 0.2), "leaky_relu")
    assert (r.lr_g, r.lr_d, r.batch, r.steps) == (1.5e-4, 2e-4, 256, 20_000)


def test_source_3_has_the_papers_numbers():
    r = recipes.get("paper")
    assert (r.z_dim, r.lr_g, r.lr_d, r.batch, r.d_norm_first) == (100, 2e-4, 2e-4, 128, False)


def test_sources_4_and_5_have_theirs():
    assert recipes.get("scores").d_norm_first is False
    r = recipes.get("sequential")
    assert (r.z_dim, r.lr_g, r.lr_d, r.epochs, r.d_norm_first) == (128, 2e-4, 2e-4, 25, True)


def test_ours_pairs_real_with_fake_and_averages():
    for r in (recipes.get("default"), recipes.get("default", gpu=True)):
        assert (r.loss, r.r1, r.r1_every, r.d_norm, r.d_start) == ("relativistic", 2.0, 8, "none", "he")
        assert 0.9 < r.ema < 1


def test_only_the_default_is_larger_on_a_gpu():
    assert recipes.get("default", gpu=True) == recipes.RECIPES["default-gpu"]
    assert recipes.get("paper", gpu=True) == recipes.get("paper")


def test_numbers_can_be_changed_and_none_changes_nothing():
    assert recipes.get("bce", width=4, z_dim=None) == dataclasses.replace(recipes.RECIPES["bce"], width=4)
    assert recipes.RECIPES["bce"].width == 16


def test_a_recipe_nobody_knows_is_named_beside_those_there_are():
    with pytest.raises(ValueError, match="'stylegan'.*default.*sequential"):
        recipes.get("stylegan")


@pytest.mark.parametrize("name, value", [
    ("width", 0), ("z_dim", -1), ("batch", 0), ("batch", 1), ("r1_every", 0), ("lr_g", 0.0), ("lr_d", 2.0),
    ("lr_g", math.nan), ("loss", "wasserstein"), ("d_norm", "layer"),
    ("real_labels", (0.9, 0.1)), ("fake_labels", (-0.5, 0.0)), ("ema", 1.0),
])  # fmt: skip
def test_a_value_that_cannot_work_is_named(name, value):
    told = value[0] if isinstance(value, tuple) else value
    with pytest.raises(ValueError, match=f"{told}"):
        recipes.get("bce", **{name: value})


@pytest.mark.parametrize("size", [60, 8, 0])
def test_a_picture_size_that_cannot_work_is_named_before_any_picture_is_prepared(size):
    with pytest.raises(ValueError, match=f"size {size} "):
        recipes.get("bce", size=size)


@pytest.mark.parametrize("name", NAMES)
def test_the_way_to_json_and_back_is_lossless(name):
    recipe = recipes.get(name)
    assert recipes.from_json(json.loads(json.dumps(recipes.to_json(recipe)))) == recipe


@pytest.mark.parametrize("data", [
    [], None, "bce", {}, {"name": "x"}, {"name": "x", "about": "y", "colour": 1},
    {"name": "x", "about": "y", "width": 0},
    {"name": "x", "about": "y", "width": "wide"}, {"name": "x", "about": "y", "real_labels": 1},
])  # fmt: skip
def test_what_is_no_recipe_is_refused(data):
    with pytest.raises(ValueError):
        recipes.from_json(data)
