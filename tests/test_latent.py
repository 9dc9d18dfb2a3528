"""Walks and mixtures have known answers; so do directions of generators made by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from common import flat
from small_generators import Resized
from torch import nn

from animegan_helpers import latent
from animegan_helpers.drawn import ATTRIBUTES
from animegan_helpers.generator import Generator, generate, sample_z
from animegan_helpers.judge import load_judge
from animegan_helpers.pretrained import load_pretrained

A, B = sample_z(2, 128, 5)
NAMES = list(latent.SCALES)


# ---- walks and mixtures ----


@pytest.mark.parametrize("walk", [latent.lerp, latent.slerp])
def test_walks_start_and_end_at_the_two_latent_vectors(walk):
    z = walk(A, B, 7)
    assert z.shape == (7, 128)
    torch.testing.assert_close(z[0], A, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z[-1], B, rtol=1e-4, atol=1e-5)


def test_slerp_divides_a_quarter_circle_into_equal_angles():
    x, y = torch.eye(2)
    middle = latent.slerp(x, y, 3)[1]
    torch.testing.assert_close(middle, torch.tensor([1.0, 1.0]) / math.sqrt(2))
    at_30_degrees = latent.slerp(x, y, 4)[1]
    torch.testing.assert_close(at_30_degrees, torch.tensor([math.cos(math.pi / 6), 0.5]))


def test_slerp_keeps_the_length_of_latent_vectors_and_lerp_loses_it():
    x, y = torch.eye(128)[:2] * math.sqrt(128)
    assert latent.slerp(x, y, 9).norm(dim=1) == pytest.approx(math.sqrt(128), rel=1e-5)
    middle = latent.lerp(x, y, 9)[4].norm() / math.sqrt(128)
    assert middle == pytest.approx(1 / math.sqrt(2))


def test_slerp_between_random_latent_vectors_stays_about_as_long_as_they_are():
    for start, end in zip(sample_z(50, 128, 1), sample_z(50, 128, 2)):
        short, long = sorted((start.norm(), end.norm()))
        lengths = latent.slerp(start, end, 5).norm(dim=1)
        assert lengths.min() > 0.9 * short
        assert lengths.max() < 1.1 * long
        assert latent.lerp(start, end, 3)[1].norm() < 0.87 * (short + long) / 2


def test_slerp_works_at_angles_of_0_and_180_degrees():
    torch.testing.assert_close(latent.slerp(A, A, 5), A.expand(5, -1), rtol=1e-3, atol=1e-3)
    assert latent.slerp(A, 2 * A, 5).isfinite().all()
    assert latent.slerp(A, -A, 5).isfinite().all()


def test_a_mixture_of_one_latent_vector_is_that_vector():
    torch.testing.assert_close(latent.mix(A[None], [1]), A)
    torch.testing.assert_close(latent.mix(torch.stack([A, B]), [3, 0]), A)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [1, -1, 1, 0], [0.2, 0.5, 0.1, 0.2]])
def test_mixtures_are_as_long_as_latent_vectors(weights):
    z = torch.eye(128)[:4] * math.sqrt(128)
    assert latent.mix(z, weights).norm() == pytest.approx(math.sqrt(128), rel=1e-5)


def test_a_negative_weight_subtracts():
    mixture = latent.mix(torch.stack([A, A, B]), [1, -1, 1])
    torch.testing.assert_close(mixture, B / math.sqrt(3))
    mixture = latent.mix(torch.stack([A, B]), [1, 1])
    torch.testing.assert_close(mixture, (A + B) / math.sqrt(2))


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [0, 0], []])
def test_weights_that_make_no_mixture_are_refused_with_the_reason(weights):
    with pytest.raises(ValueError, match="2 latent vectors need 2 weights, not all of them 0"):
        latent.mix(torch.stack([A, B]), weights)


def test_truncation_shortens_latent_vectors_and_psi_1_changes_nothing():
    assert torch.equal(latent.truncate(A, 1), A)
    assert latent.truncate(A, 0.5).norm() == pytest.approx(A.norm().item() / 2)


# ---- directions of generators made by hand ----


def test_sefa_finds_the_components_to_which_the_first_layer_responds():
    G = Generator(width=4, z_dim=16)
    with torch.no_grad():
        G.net[0].weight.mul_(0.01)
        for strength, component in ((3, 5), (2, 11), (1, 2)):
            G.net[0].weight[component] = 0
            G.net[0].weight[component, component] = strength  # one channel each: independent
    directions = latent.sefa(G, 3)
    assert directions.shape == (3, 16)
    torch.testing.assert_close(directions.abs(), torch.eye(16)[[5, 11, 2]], atol=0.05, rtol=0)


def test_pca_finds_the_component_along_which_features_vary():
    G = Generator(width=4, z_dim=16).eval()
    with torch.no_grad():
        G.net[0].weight.mul_(0.01)
        G.net[0].weight[7] = 1.0
    directions = latent.pca(G, 2)
    assert directions.shape == (2, 16)
    assert directions.norm(dim=1) == pytest.approx(1.0, rel=1e-4)
    assert directions[0, 7].abs() > 0.95


@pytest.mark.parametrize("training", [True, False])
def test_pca_uses_eval_mode_and_leaves_the_generator_as_it_was(training):
    G = Generator(width=2, z_dim=4).train(training)
    before = flat(G.state_dict())
    directions = latent.pca(G, 2, samples=50)
    assert G.training is training
    assert flat(G.state_dict()) == before
    assert torch.equal(latent.pca(G.eval(), 2, samples=50), directions)


class LinearGenerator(nn.Module):
    """(N, 16) z -> images whose first column of pixels holds the eight numbers 0.1 mixing @ z."""

    z_dim = 16

    def __init__(self, mixing):
        super().__init__()
        self.mixing = nn.Parameter(mixing)

    def forward(self, z):
        images = torch.zeros(len(z), 3, 64, 64)
        images[:, 0, :8, 0] = 0.1 * z @ self.mixing.T
        return images


class ColumnJudge(nn.Module):
    """A judge that reads these eight numbers, one for each scale.

    The larger a number, the more probable is the value at the top of its scale.
    """

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.heads = nn.ModuleDict()
        for name, values in ATTRIBUTES.items():
            head = nn.Linear(8, len(values))
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.heads[name] = head
        for i, (attribute, numbers) in enumerate(latent.SCALES.values()):
            top = max(numbers, key=numbers.get)
            row = ATTRIBUTES[attribute].index(top)
            self.heads[attribute].weight.data[row, i] = 4.0

    def forward(self, images):
        return images[:, 0, :8, 0]


@pytest.fixture(scope="module")
def by_hand():
    """A generator whose eight scales lie along oblique axes (cosine 0.5), and its judge."""
    mixing = torch.eye(8, 16) + torch.eye(8, 16).roll(1, 1)
    return LinearGenerator(mixing), ColumnJudge()


def test_a_judge_that_knows_nothing_puts_every_face_at_the_mean_of_each_scale(by_hand):
    _, judge = by_hand
    scores = latent.scale_scores(judge, torch.zeros(5, 3, 64, 64))
    assert scores.shape == (5, 8)
    for i, (attribute, numbers) in enumerate(latent.SCALES.values()):
        values = ATTRIBUTES[attribute]
        mean = sum(numbers.get(value, 0) for value in values) / len(values)
        assert scores[0, i] == pytest.approx(mean, abs=1e-6)


def test_a_judge_that_is_sure_puts_a_face_at_the_number_of_its_value(by_hand):
    _, judge = by_hand
    column = NAMES.index("hair short to long")
    image = torch.zeros(1, 3, 64, 64)
    image[0, 0, column, 0] = 10
    assert latent.scale_scores(judge, image)[0, column] == pytest.approx(2, abs=1e-4)


def test_attribute_directions_move_their_own_scale_and_no_other(by_hand):
    G, judge = by_hand
    directions = latent.attribute_directions(G, judge, samples=3000)
    assert list(directions) == NAMES
    stacked = torch.stack(list(directions.values()))
    assert stacked.norm(dim=1) == pytest.approx(1.0, rel=1e-4)
    moves = stacked @ G.mixing.detach().T  # (8, 8): what each direction does to each number
    own = moves.diagonal()
    assert (own > 0.3).all()
    # The two scales of hair color share the judge's probabilities: they are not independent.
    scales = latent.SCALES.values()
    independent = [i for i, (attribute, _) in enumerate(scales) if attribute != "hair_color"]
    relative = (moves / own[:, None]).fill_diagonal_(0)
    assert relative[independent][:, independent].abs().max() < 0.1


def test_effects_of_attribute_directions_are_correct_and_those_of_their_opposites_wrong(by_hand):
    G, judge = by_hand
    directions = latent.attribute_directions(G, judge, samples=2000)
    opposites = {name: -direction for name, direction in directions.items()}
    rows = latent.effects(G, judge, directions)
    opposite_rows = latent.effects(G, judge, opposites, samples=50)
    for name in NAMES:
        assert rows[name]["correct"] == 1
        assert rows[name]["moves"][name] > 1
        assert list(rows[name]["moves"]) == NAMES
        assert opposite_rows[name]["correct"] == 0
        assert opposite_rows[name]["moves"][name] < -1


def test_effects_of_a_direction_without_a_scales_name_have_moves_only(by_hand):
    row = latent.effects(*by_hand, {"SeFa 1": torch.eye(16)[0]}, samples=20)["SeFa 1"]
    assert row["correct"] is None
    assert max(row["moves"].values()) > 0.5


def test_the_pretrained_directions_do_what_their_names_say():
    G, directions = load_pretrained()
    rows = latent.effects(G, load_judge(), directions, samples=40)
    assert list(rows) == NAMES
    for name, row in rows.items():
        assert row["correct"] > 0.9
        assert row["moves"][name] > 1


@pytest.fixture(scope="module")
def fitted_to_64_pixels():
    """The directions of the pretrained generator, fitted to few faces."""
    G, _ = load_pretrained()
    return latent.attribute_directions(G, load_judge(), samples=300)


# ---- inversion ----


class Doubling(nn.Module):
    """(N, 48) z -> (N, 3, 4, 4) images, twice z: each image has one known z."""

    z_dim = 48

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, z):
        return self.scale * z.reshape(-1, 3, 4, 4)


class SumOnly(nn.Module):
    """A judge whose only feature is the sum of an image's pixels."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, images):
        return self.scale * images.flatten(1).sum(1, keepdim=True)


def test_inversion_finds_the_one_z_of_a_face():
    z = sample_z(3, 48, 4)
    found = latent.invert(Doubling(), 2 * z.reshape(3, 3, 4, 4), steps=300)
    assert found.shape == (3, 48) and not found.requires_grad
    torch.testing.assert_close(found, z, atol=1e-2, rtol=0)


def test_inversion_starts_near_the_origin_or_where_it_is_told():
    targets = torch.rand(2, 3, 4, 4)
    start = sample_z(2, 48, 6)
    kept = start.clone()
    near = latent.invert(Doubling(), targets, steps=0)
    assert torch.equal(near[0], near[1]) and 0 < near[0].norm() < 2
    assert torch.equal(latent.invert(Doubling(), targets, steps=0, start=start), start)
    latent.invert(Doubling(), targets, steps=3, start=start.requires_grad_())
    assert torch.equal(start, kept), "the caller's start is not moved"
    moved = latent.invert(Doubling(), targets, steps=1, lr=0.25)
    step = (moved - near).abs()
    assert step == pytest.approx(0.25, rel=1e-3), "Adam's first step is as long as lr"


def test_inversion_moves_where_no_gradient_leaves_the_origin():
    class Dead(Doubling):  # at the origin, all of its ReLUs output 0, as in a real run of page 05
        def forward(self, z):
            return super().forward(F.relu(z - 0.02) - F.relu(-z - 0.02))

    z = sample_z(2, 48, 4)
    with torch.no_grad():
        targets = Dead()(z)
    stuck = latent.invert(Dead(), targets, start=torch.zeros(2, 48))
    assert torch.equal(stuck, torch.zeros(2, 48))
    found = latent.invert(Dead(), targets, steps=300)
    assert (found - z).abs().mean() < 0.3 * z.abs().mean()


def test_each_face_is_inverted_as_if_it_were_alone():
    targets = 2 * sample_z(4, 48, 8).reshape(4, 3, 4, 4)
    together = latent.invert(Doubling(), targets, steps=30, judge=SumOnly())
    for i in range(4):
        alone = latent.invert(Doubling(), targets[i : i + 1], steps=30, judge=SumOnly())
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=1e-3)


def test_with_a_judge_the_features_come_closer_and_the_weight_says_how_much():
    class Half(Doubling):  # a generator that can't reach its targets: half of each image is 0
        def forward(self, z):
            return super().forward(z) * (torch.arange(4) < 2)

    targets = 1 + torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    sums = []
    for weight in (0, 0.001, 1):
        z = latent.invert(Half(), targets, steps=400, judge=SumOnly(), weight=weight)
        sums.append(Half()(z).flatten(1).sum(1).detach())
    short = [(targets.flatten(1).sum(1) - total).abs().mean().item() for total in sums]
    assert short[0] > 1.1 * short[1] > 10 * short[2]
    without = latent.invert(Half(), targets, steps=400)
    torch.testing.assert_close(Half()(without).flatten(1).sum(1).detach(), sums[0])


def test_inversion_comes_near_faces_of_the_pretrained_generator():
    G, _ = load_pretrained()
    targets = generate(G, sample_z(8, G.z_dim, 5))
    found = generate(G, latent.invert(G, targets, steps=200))
    errors = (found - targets).square().flatten(1).mean(1).sqrt()
    between = (targets - targets.roll(1, 0)).square().flatten(1).mean(1).sqrt()
    assert errors.median() < between.median() / 3
    assert (errors < 0.8 * between).all()  # some hair has another color
    judge = load_judge()
    by_features = generate(G, latent.invert(G, targets, steps=200, judge=judge))
    with torch.no_grad():
        wanted = judge(targets)
        closer = (judge(by_features) - wanted).square().mean()
        assert closer < 0.7 * (judge(found) - wanted).square().mean()


def test_inversion_leaves_the_networks_and_the_global_rng_as_they_were():
    G = Generator(width=2, z_dim=8, size=16).train()
    judge = load_judge().train()
    before = [tensor.clone() for net in (G, judge) for tensor in net.state_dict().values()]
    state = torch.get_rng_state()
    targets = torch.zeros(2, 3, 16, 16)
    in_train_mode = latent.invert(G, targets, steps=3, judge=judge)
    with pytest.raises(ValueError):
        latent.invert(G, targets[:, :, :8, :8], steps=1)
    assert G.training and judge.training
    after = [tensor for net in (G, judge) for tensor in net.state_dict().values()]
    assert all(torch.equal(old, new) for old, new in zip(before, after))
    assert all(weight.grad is None for net in (G, judge) for weight in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    in_eval_mode = latent.invert(G.eval(), targets, steps=3, judge=judge.eval())
    assert torch.equal(in_train_mode, in_eval_mode)
    assert not G.training and not judge.training


@pytest.mark.parametrize("targets, starts", [((2, 3, 8, 8), 2), ((2, 3, 4, 4), 1), ((4, 4), 4)])
def test_faces_of_another_shape_than_the_generators_are_refused(targets, starts):
    with pytest.raises(ValueError, match="prepare them at G's size"):
        latent.invert(Doubling(), torch.zeros(targets), start=torch.zeros(starts, 48))


# ---- other sizes, batches, and the global generator ----


@pytest.mark.parametrize("size, least", [(16, 0.5), (32, 0.7), (128, 0.9)])
def test_directions_of_faces_of_another_size_are_about_the_same(fitted_to_64_pixels, size, least):
    G, _ = load_pretrained()
    directions = latent.attribute_directions(Resized(G, size), load_judge(), samples=300)
    assert list(directions) == NAMES
    for name in ("hair dark to light", "skin dark to light"):
        assert directions[name] @ fitted_to_64_pixels[name] > least


@pytest.mark.parametrize("samples", [1, 300, 512])
def test_directions_are_fitted_to_all_samples_however_they_are_generated(
    by_hand, samples, monkeypatch
):
    sizes = []

    def record(judge, faces):
        sizes.append(len(faces))
        return torch.zeros(len(faces), 8)

    monkeypatch.setattr(latent, "scale_scores", record)
    latent.attribute_directions(*by_hand, samples=samples)
    assert sum(sizes) == samples
    assert max(sizes) <= 256


def test_the_global_rng_is_untouched(by_hand):
    G, judge = by_hand
    pretrained, _ = load_pretrained()
    before = torch.get_rng_state()
    latent.pca(pretrained, samples=50)
    latent.sefa(pretrained)
    directions = latent.attribute_directions(G, judge, samples=50)
    latent.effects(G, judge, directions, samples=20)
    assert torch.equal(before, torch.get_rng_state())
