"""recipes: a name becomes every number of a run."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
import torch
from common import flat
from torch import nn

from animegan_helpers import __version__, recipe_json, recipes
from animegan_helpers.losses import BCE
from animegan_helpers.recipe_table import format_labels
from animegan_helpers.recipes import Recipe
from animegan_helpers.trainer import Trainer

OURS = ["default", "default-gpu", "wide", "long", "pretrained", "bce"]
SOURCES = ["300-epochs", "noisy-labels", "paper", "scores", "sequential"]
NAMES = OURS + SOURCES


# ---- the sources' networks ----


def describe(net):
    """A network -> its layers as tuples, to be compared with what a source prints."""
    rows = []
    for layer in net.modules():
        kind = type(layer).__name__
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            channels = (layer.in_channels, layer.out_channels)
            shape = (layer.kernel_size, layer.stride, layer.padding)
            rows.append((kind, *channels, *shape, layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm2d):
            rows.append((kind, layer.num_features))
        elif isinstance(layer, nn.LeakyReLU):
            rows.append((kind, layer.negative_slope))
        elif isinstance(layer, (nn.ReLU, nn.Tanh)):
            rows.append((kind,))
    return rows


def source_5():
    """The fifth source's two networks, as it writes them, but for its D's flatten and sigmoid."""
    D = nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(256),
        nn.LeakyReLU(0.2),
        nn.Conv2d(256, 512, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(512),
        nn.LeakyReLU(0.2),
        nn.Conv2d(512, 1, kernel_size=4, stride=1, padding=0, bias=False),
    )
    G = nn.Sequential(
        nn.ConvTranspose2d(128, 512, kernel_size=4, stride=1, padding=0, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        nn.ConvTranspose2d(512, 256, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.ConvTranspose2d(256, 128, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 3, kernel_size=4, stride=2, padding=1, bias=False),
        nn.Tanh(),
    )
    return G, D


@pytest.fixture(scope="module")
def trainer():
    return Trainer(recipes.get("sequential"))


def test_sequential_is_the_fifth_sources_pair_layer_by_layer(trainer):
    G, D = source_5()
    assert describe(trainer.G) == describe(G)
    assert describe(trainer.D) == describe(D)


def test_with_the_same_weights_the_fifth_sources_pair_gives_the_same_answers(trainer):
    G, D = source_5()
    for ours, theirs in ((trainer.G, G), (trainer.D, D)):
        weights = ours.state_dict().values()
        theirs.load_state_dict(dict(zip(theirs.state_dict(), weights)))
    z = torch.randn(2, 128)
    images = G(z[:, :, None, None])
    assert torch.allclose(trainer.G(z), images, atol=1e-5)
    assert torch.allclose(trainer.D(images), D(images).flatten(), atol=1e-5)


def dcgan(z_dim=128, activation=("ReLU",)):
    """-> the layers of G and of D in a DCGAN for 64x64 images, as the paper and sources 1 to 4 say.

    Strided convolutions, batch norm everywhere but at G's end, at D's beginning and at D's end.
    G: ReLU, at its end tanh. D: LeakyReLU.
    """
    halve_or_double = ((4, 4), (2, 2), (1, 1), False)
    channels = [(512, 256), (256, 128), (128, 64)]
    G = [
        ("ConvTranspose2d", z_dim, 512, (4, 4), (1, 1), (0, 0), False),
        ("BatchNorm2d", 512),
        activation,
    ]
    for many, few in channels:
        G += [("ConvTranspose2d", many, few, *halve_or_double), ("BatchNorm2d", few), activation]
    G += [("ConvTranspose2d", 64, 3, *halve_or_double), ("Tanh",)]
    D = [("Conv2d", 3, 64, (4, 4), (2, 2), (1, 1), True), ("LeakyReLU", 0.2)]
    for many, few in reversed(channels):
        D += [("Conv2d", few, many, *halve_or_double), ("BatchNorm2d", many), ("LeakyReLU", 0.2)]
    D += [("Conv2d", 512, 1, (4, 4), (1, 1), (0, 0), False)]
    return G, D


@pytest.mark.parametrize(
    "name, networks",
    [
        ("300-epochs", dcgan()),
        ("noisy-labels", dcgan(activation=("LeakyReLU", 0.2))),
        ("paper", dcgan(z_dim=100)),
        ("scores", dcgan()),
    ],
)
def test_sources_1_to_4_are_dcgans_layer_by_layer(name, networks):
    trainer = Trainer(recipes.get(name))
    assert (describe(trainer.G), describe(trainer.D)) == networks
    for weight in [*trainer.G.parameters(), *trainer.D.parameters()]:
        if weight.ndim == 4:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)


# ---- the sources' numbers ----


@dataclasses.dataclass
class Numbers:
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    real_labels: tuple = (1, 1)
    fake_labels: tuple = (0, 0)
    batch: int = 128
    z_dim: int = 128
    steps: int = 0
    epochs: int = 0


SOURCE_NUMBERS = {
    "300-epochs": Numbers(steps=149_100),
    "noisy-labels": Numbers(
        lr_g=1.5e-4, real_labels=(0.8, 1), fake_labels=(0, 0.2), batch=256, steps=20_000
    ),
    "paper": Numbers(z_dim=100, epochs=25),
    "scores": Numbers(epochs=25),
    "sequential": Numbers(epochs=25),
}


class RecordedStep:
    """In place of `train_step`: keeps what it is given and trains nothing."""

    def __init__(self):
        self.real = None
        self.z = None
        self.options = {}

    def __call__(self, G, D, opt_g, opt_d, real, z, **options):
        self.real = real
        self.z = z
        self.options = options
        return [torch.tensor(0.5)] * 4


@pytest.mark.parametrize("name", SOURCES)
def test_training_uses_the_sources_numbers(name):
    recipe = recipes.get(name)
    numbers = SOURCE_NUMBERS[name]
    step = RecordedStep()
    trainer = Trainer(recipe.changed(width=2), train_step=step)
    for optimizer, rate in ((trainer.opt_g, numbers.lr_g), (trainer.opt_d, numbers.lr_d)):
        assert type(optimizer) is torch.optim.Adam
        assert optimizer.param_groups[0]["lr"] == rate
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    assert type(trainer.loss) is BCE
    assert trainer.loss.real_labels == numbers.real_labels
    assert trainer.loss.fake_labels == numbers.fake_labels
    assert (recipe.batch, trainer.G.z_dim) == (numbers.batch, numbers.z_dim)
    assert (recipe.steps, recipe.epochs) == (numbers.steps, numbers.epochs)

    trainer.step(torch.zeros(numbers.batch, 64, 64, 3, dtype=torch.uint8))
    assert step.real.shape == (numbers.batch, 3, 64, 64)
    assert step.z.shape == (numbers.batch, numbers.z_dim)
    assert step.options["r1"] == 0, "nothing is added"
    assert step.options["augment"] is None
    assert trainer.opt_g.param_groups[0]["lr"] == numbers.lr_g, "the learning rate does not decay"
    assert trainer.opt_d.param_groups[0]["lr"] == numbers.lr_d


def test_sources_1_and_4_differ_in_name_and_length_alone_so_they_train_alike():
    first = recipes.get("300-epochs")
    fourth = recipes.get("scores")
    renamed = dataclasses.replace(first, name="scores", about=fourth.about, steps=0, epochs=25)
    assert renamed == fourth
    batches = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8)
    results = []
    for recipe in (first, fourth):
        trainer = Trainer(recipe.changed(width=4, batch=4), seed=5)
        losses = [trainer.step(batch) for batch in batches]
        state = trainer.state()
        results.append(flat([losses, [state[part] for part in ("G", "D", "opt_g", "opt_d")]]))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", SOURCES)
def test_the_sources_recipes_are_dcgans(name):
    r = recipes.get(name)
    assert (r.width, r.size, r.loss, r.betas) == (64, 64, "bce", (0.5, 0.999))
    assert (r.r1, r.ema, r.flip) == (0, 0, False)
    assert (r.d_norm, r.d_init, r.lr_d) == ("batch", "normal", 2e-4)


def test_source_1_trains_300_epochs_of_63565_images_in_batches_of_128():
    r = recipes.get("300-epochs")
    assert (r.batch, r.lr_g) == (128, 2e-4)
    assert r.steps == 149_100 == 300 * math.ceil(63_565 / r.batch)


def test_source_2_has_noisy_labels_and_a_leaky_generator():
    r = recipes.get("noisy-labels")
    assert (r.real_labels, r.fake_labels) == ((0.8, 1.0), (0.0, 0.2))
    assert r.g_activation == "leaky_relu"
    assert (r.lr_g, r.lr_d, r.batch, r.steps) == (1.5e-4, 2e-4, 256, 20_000)


def test_source_3_has_the_papers_numbers():
    r = recipes.get("paper")
    assert (r.z_dim, r.lr_g, r.lr_d, r.batch, r.d_norm_first) == (100, 2e-4, 2e-4, 128, False)


def test_sources_4_and_5_have_theirs():
    assert recipes.get("scores").d_norm_first is False
    r = recipes.get("sequential")
    assert (r.z_dim, r.lr_g, r.lr_d, r.epochs, r.d_norm_first) == (128, 2e-4, 2e-4, 25, True)


# ---- all recipes ----


def test_all_recipes_have_a_name_and_a_description():
    assert list(recipes.RECIPES) == NAMES
    for name, recipe in recipes.RECIPES.items():
        assert recipe.name == name
        assert recipe.about


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_how_long_it_trains(name):
    recipe = recipes.get(name)
    assert (recipe.steps > 0) != (recipe.epochs > 0)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_default_is_relativistic_and_has_an_ema_generator(gpu):
    r = recipes.get("default", gpu=gpu)
    assert (r.loss, r.r1, r.r1_every) == ("relativistic", 2.0, 8)
    assert (r.d_norm, r.d_init) == ("none", "he")
    assert 0.9 < r.ema < 1


def test_long_has_a_higher_weight_of_r1_than_the_default():
    long, default = recipes.get("long"), recipes.get("default")
    assert (long.r1, long.r1_every) == (8 * default.r1, default.r1_every)


def test_only_the_default_is_larger_on_a_gpu():
    assert recipes.get("default", gpu=True) == recipes.RECIPES["default-gpu"]
    assert recipes.get("paper", gpu=True) == recipes.get("paper")


def test_the_ladder_climbs_from_the_plain_dcgan_to_our_default():
    rungs = recipes.ladder()
    assert list(rungs)[0] == "DCGAN"
    assert list(rungs)[-1] == "tuned learning rate and Adam"
    assert rungs["DCGAN"] == recipes.RECIPES["scores"]
    assert rungs["tuned learning rate and Adam"] == recipes.RECIPES["default"]
    assert len(set(rungs.values())) == len(rungs) == 10


# ---- changes and what can't work ----


def test_numbers_can_be_changed_and_none_changes_nothing():
    expected = dataclasses.replace(recipes.RECIPES["bce"], width=4)
    assert recipes.get("bce", width=4, z_dim=None) == expected
    assert recipes.RECIPES["bce"].width == 16


def test_an_unknown_recipe_is_named_beside_those_there_are():
    with pytest.raises(ValueError, match="'stylegan'.*default.*sequential"):
        recipes.get("stylegan")


@pytest.mark.parametrize(
    "name, value, named",
    [
        ("width", 0, "width is 0"),
        ("z_dim", -1, "z_dim is -1"),
        ("batch", -1, "batch is -1: batch norm needs 2 images or more"),
        ("batch", 0, "batch is 0: batch norm needs 2 images or more"),
        ("batch", 1, "batch is 1: batch norm needs 2 images or more"),
        ("r1_every", 0, "r1_every is 0"),
        ("width", 2.5, "width is 2.5: it must be a whole number"),
        ("steps", -5, "steps is -5"),
        ("epochs", -1, "epochs is -1"),
        ("r1", -1.0, "r1 is -1.0"),
        ("lr_decay_start", -3, "lr_decay_start is -3"),
        ("betas", (0.5,), r"betas are \(0.5,\): Adam takes two"),
        ("lr_g", 0.0, "lr_g is 0.0"),
        ("lr_d", 2.0, "lr_d is 2.0"),
        ("lr_g", math.nan, "lr_g is nan"),
        ("betas", (0.5, 1.0), r"betas are \(0.5, 1.0\)"),
        ("loss", "wasserstein", "loss 'wasserstein'"),
        ("d_norm", "layer", "d_norm 'layer'"),
        ("d_init", "xavier", "d_init 'xavier'"),
        ("real_labels", (0.9, 0.1), "labels between 0.9 and 0.1"),
        ("fake_labels", (-0.5, 0.0), "labels between -0.5 and 0.0"),
        ("ema", 1.0, "ema is 1.0"),
        ("held_out", 1.0, "held_out is 1.0"),
    ],
)
def test_a_value_that_cannot_work_is_named(name, value, named):
    with pytest.raises(ValueError, match=named):
        recipes.get("bce", **{name: value})


@pytest.mark.parametrize("size", [60, 8, 0])
def test_an_image_size_that_cannot_work_is_named_before_any_image_is_prepared(size):
    with pytest.raises(ValueError, match=f"size {size} "):
        recipes.get("bce", size=size)
    with pytest.raises(ValueError, match=f"size {size} "):
        recipes.check_size(size)


@pytest.mark.parametrize(
    "labels, text",
    [
        ({}, "1, 0"),
        ({"fake_labels": (0.0, 0.2)}, "1, 0-0.2"),
        ({"real_labels": (0.8, 1.0)}, "0.8-1, 0"),
        ({"real_labels": (0.8, 1.0), "fake_labels": (0.0, 0.2)}, "0.8-1, 0-0.2"),
        ({"real_labels": (0.9, 0.9)}, "0.9, 0"),
        ({"loss": "hinge"}, "-"),
    ],
)
def test_the_table_shows_the_labels_of_a_recipe(labels, text):
    assert format_labels(recipes.get("bce", **labels)) == text


# ---- JSON ----


@pytest.mark.parametrize("name", NAMES)
def test_the_way_to_json_and_back_is_lossless(name):
    recipe = recipes.get(name)
    text = json.dumps(recipe_json.to_json(recipe))
    assert recipe_json.from_json(json.loads(text)) == recipe


def test_two_recipes_differ_in_the_numbers_that_they_do_not_share():
    recipe = recipes.get("bce")
    assert recipe_json.differences(recipe, recipe) == []
    other = recipe.changed(width=8, betas=(0.0, 0.9))
    assert recipe_json.differences(recipe, other) == ["width 16", "betas (0.5, 0.999)"]
    assert recipe_json.differences(other, recipe) == ["width 8", "betas (0.0, 0.9)"]


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        "bce",
        {},
        {"name": "x"},
        {"name": "x", "about": "y", "color": 1},
        {"name": "x", "about": "y", "width": 0},
        {"name": "x", "about": "y", "width": "wide"},
        {"name": "x", "about": "y", "real_labels": 1},
    ],
)
def test_other_data_is_refused(data):
    with pytest.raises(ValueError):
        recipe_json.from_json(data)


@pytest.mark.parametrize("old", [{"lr_fall": 500}, {"d_start": "he"}])
def test_a_recipe_of_version_0_1_is_refused_by_its_version(old):
    with pytest.raises(ValueError, match="^made by version 0.1"):
        recipe_json.from_json({"name": "default", "about": "ours", "width": 16} | old)


def test_recipes_are_read_without_torch():
    code = "import sys, animegan_helpers.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


NEWER = {"version": "99.0", "name": "x", "about": "y"}


@pytest.mark.parametrize("change", [{"color": 1}, {"loss": "wgan"}, {"width": {"G": 1}}])
def test_a_recipe_of_a_newer_version_says_so(change):
    with pytest.raises(
        ValueError, match="made by version 99.0, and this is .*: update the package"
    ):
        recipe_json.from_json(NEWER | change)
    for version in (__version__, "0.0.9", "of mine", None):
        with pytest.raises(ValueError, match="this is not a recipe"):
            recipe_json.from_json(NEWER | change | {"version": version})


def test_a_recipe_of_a_newer_version_is_read_if_it_can_be():
    assert recipe_json.from_json(NEWER) == Recipe("x", "y")
    default = recipes.get("default")
    assert recipe_json.with_version(default)["version"] == __version__
    assert recipe_json.from_json(recipe_json.with_version(default)) == default
