"""Codes: known answers for walks and mixtures, and generators and judges made by hand whose directions are known."""

import functools
import json
import math
import os
import time

import pytest
import torch
from torch import nn

from animegan_helpers import checkpoints, latent, recipes, training
from animegan_helpers.drawn import ATTRIBUTES
from animegan_helpers.generator import Generator

A, B = training.codes(2, 128, 5)
NAMES = list(latent.SCALES)


# ---- walks and mixtures ----


def test_walks_begin_and_end_at_the_two_codes():
    for walk in (latent.straight, latent.spherical):
        way = walk(A, B, 7)
        assert way.shape == (7, 128)
        torch.testing.assert_close(way[0], A, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(way[-1], B, rtol=1e-4, atol=1e-5)


def test_a_quarter_of_a_circle_has_its_middle_at_45_degrees():
    x, y = torch.eye(2)
    torch.testing.assert_close(latent.spherical(x, y, 3)[1], torch.tensor([1.0, 1.0]) / math.sqrt(2))
    thirty = latent.spherical(x, y, 4)[1]  # a third of 90 degrees
    torch.testing.assert_close(thirty, torch.tensor([math.cos(math.pi / 6), 0.5]))


def test_the_arc_keeps_the_length_of_codes_and_the_straight_line_loses_it():
    x, y = torch.eye(128)[:2] * math.sqrt(128)
    assert latent.spherical(x, y, 9).norm(dim=1) == pytest.approx(math.sqrt(128), rel=1e-5)
    middle = latent.straight(x, y, 9)[4].norm() / math.sqrt(128)
    assert middle == pytest.approx(1 / math.sqrt(2))


def test_the_arc_of_drawn_codes_stays_about_as_long_as_they_are():
    for start, end in zip(training.codes(50, 128, 1), training.codes(50, 128, 2)):
        lengths = latent.spherical(start, end, 5).norm(dim=1)
        low, high = sorted((start.norm(), end.norm()))
        assert lengths.min() > 0.9 * low and lengths.max() < 1.1 * high
        assert latent.straight(start, end, 3)[1].norm() < 0.87 * (low + high) / 2


def test_an_arc_of_no_angle_stays_where_it_is_and_one_of_180_degrees_has_no_holes():
    torch.testing.assert_close(latent.spherical(A, A, 5), A.expand(5, -1), rtol=1e-3, atol=1e-3)
    assert latent.spherical(A, 2 * A, 5).isfinite().all()
    assert latent.spherical(A, -A, 5).isfinite().all()


def test_a_mixture_of_one_code_is_the_code_itself():
    torch.testing.assert_close(latent.mix(A[None], [1]), A)
    torch.testing.assert_close(latent.mix(torch.stack([A, B]), [3, 0]), A)


def test_mixtures_are_as_long_as_codes_and_arithmetic_takes_away():
    four = torch.eye(128)[:4] * math.sqrt(128)
    for weights in ([1, 1, 1, 1], [1, -1, 1, 0], [0.2, 0.5, 0.1, 0.2]):
        assert latent.mix(four, weights).norm() == pytest.approx(math.sqrt(128), rel=1e-5)
    torch.testing.assert_close(latent.mix(torch.stack([A, A, B]), [1, -1, 1]), B / math.sqrt(3))
    torch.testing.assert_close(latent.mix(torch.stack([A, B]), [1, 1]), (A + B) / math.sqrt(2))


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [0, 0], []])
def test_weights_that_make_no_mixture_are_refused_with_the_reason(weights):
    with pytest.raises(ValueError, match="2 codes need as many weights"):
        latent.mix(torch.stack([A, B]), weights)


def test_truncation_shrinks_codes_and_psi_1_changes_nothing():
    assert torch.equal(latent.truncate(A, 1), A)
    assert latent.truncate(A, 0.5).norm() == pytest.approx(A.norm().item() / 2)


# ---- directions of generators made by hand ----


def test_sefa_finds_the_number_to_which_the_first_layer_answers():
    G = Generator(width=4, z_dim=16)
    with torch.no_grad():
        G.net[0].weight.mul_(0.01)
        for strength, number in ((3, 5), (2, 11), (1, 2)):
            G.net[0].weight[number] = 0
            G.net[0].weight[number, number] = strength  # one channel each: they are independent
    found = latent.sefa(G, 3)
    assert found.shape == (3, 16)
    torch.testing.assert_close(found.abs(), torch.eye(16)[[5, 11, 2]], atol=0.05, rtol=0)


def test_pca_finds_the_number_along_which_features_vary():
    G = Generator(width=4, z_dim=16).eval()
    with torch.no_grad():
        G.net[0].weight.mul_(0.01)
        G.net[0].weight[7] = 1.0
    found = latent.pca(G, 2)
    assert found.shape == (2, 16)
    assert found.norm(dim=1) == pytest.approx(1.0, rel=1e-4)
    assert found[0, 7].abs() > 0.95


class Painter(nn.Module):
    """Codes (N, 16) -> pictures whose first column of pixels shows `mixing @ code`, eight numbers."""

    z_dim = 16

    def __init__(self, mixing):
        super().__init__()
        self.mixing = nn.Parameter(mixing)

    def forward(self, codes):
        pictures = torch.zeros(len(codes), 3, 64, 64)
        pictures[:, 0, :8, 0] = 0.1 * codes @ self.mixing.T
        return pictures


class Reader(nn.Module):
    """A judge that reads these eight numbers: for each scale, its highest value is the surer the larger the number."""

    def __init__(self):
        super().__init__()
        self.net, self.heads = nn.Linear(1, 1), nn.ModuleDict()
        for name, values in ATTRIBUTES.items():
            head = nn.Linear(8, len(values))
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.heads[name] = head
        for i, (attribute, values) in enumerate(latent.SCALES.values()):
            best = max(values, key=values.get)
            self.heads[attribute].weight.data[ATTRIBUTES[attribute].index(best), i] = 4.0

    def forward(self, pictures):
        return pictures[:, 0, :8, 0]


@pytest.fixture(scope="module")
def by_hand():
    """A generator whose eight scales lie along skew axes (of cosine 0.5), and a judge that reads them."""
    mixing = torch.eye(8, 16) + torch.eye(8, 16).roll(1, 1)
    return Painter(mixing), Reader()


def test_scores_are_the_values_weighed_by_the_judges_probabilities(by_hand):
    _, judge = by_hand
    middle = latent.scores(judge, torch.zeros(5, 3, 64, 64))  # it knows nothing: all values are equally likely
    assert middle.shape == (5, 8)
    for i, (attribute, values) in enumerate(latent.SCALES.values()):
        mean = sum(values.get(value, 0) for value in ATTRIBUTES[attribute]) / len(ATTRIBUTES[attribute])
        assert middle[0, i] == pytest.approx(mean, abs=1e-6)
    sure = torch.zeros(1, 3, 64, 64)
    sure[0, 0, NAMES.index("hair short to long"), 0] = 10
    assert latent.scores(judge, sure)[0, NAMES.index("hair short to long")] == pytest.approx(2, abs=1e-4)


def test_attribute_directions_move_their_own_scale_and_no_other(by_hand):
    G, judge = by_hand
    directions = latent.attribute_directions(G, judge, samples=3000)
    assert list(directions) == NAMES
    moved = torch.stack(list(directions.values())) @ G.mixing.detach().T  # (8, 8): what each does to each number
    own = moved.diagonal()
    # two scales of one attribute (dark to light, cold to warm) share the judge's probabilities: they are not free
    free = [i for i, (attribute, _) in enumerate(latent.SCALES.values()) if attribute != "hair_color"]
    beside = (moved / own[:, None]).fill_diagonal_(0)[free][:, free].abs()
    assert (own > 0.3).all() and beside.max() < 0.1
    assert torch.stack(list(directions.values())).norm(dim=1) == pytest.approx(1.0, rel=1e-4)


def test_effects_say_that_good_directions_are_right_and_their_opposites_wrong(by_hand):
    G, judge = by_hand
    directions = latent.attribute_directions(G, judge, samples=2000)
    told = latent.effects(G, judge, directions)
    wrong = latent.effects(G, judge, {name: -direction for name, direction in directions.items()}, samples=50)
    for name in NAMES:
        assert told[name]["right"] == 1 and told[name]["moves"][name] > 1
        assert wrong[name]["right"] == 0 and wrong[name]["moves"][name] < -1
        assert list(told[name]["moves"]) == NAMES


def test_effects_of_directions_without_a_scales_name_are_told_too(by_hand):
    told = latent.effects(*by_hand, {"SeFa 1": torch.eye(16)[0]}, samples=20)["SeFa 1"]
    assert told["right"] is None and max(told["moves"].values()) > 0.5


# ---- what comes with the package, and what the reader has trained ----


def test_the_ready_generator_is_there_at_once_and_always_the_same():
    latent.ready()
    start = time.process_time()
    G, directions = latent.ready()
    assert time.process_time() - start < 1
    again, others = latent.ready()
    assert list(directions) == NAMES and not G.training
    assert all(vector.shape == (G.z_dim,) and torch.equal(vector, others[name]) for name, vector in directions.items())
    assert torch.stack(list(directions.values())).norm(dim=1) == pytest.approx(1.0, abs=0.01)
    faces = training.sample(G, 4, 1)
    assert faces.shape == (4, 3, 64, 64) and torch.equal(faces, training.sample(again, 4, 1))
    assert faces.abs().max() <= 1 and torch.pdist(faces.flatten(1)).min() > 10


def test_the_ready_directions_do_what_their_names_say():
    from animegan_helpers import measure

    G, directions = latent.ready()
    told = latent.effects(G, measure.load_judge(), directions, samples=40)
    assert all(row["right"] > 0.9 and row["moves"][name] > 1 for name, row in told.items())


def a_run(home, name, seed, age):
    """A finished run's folder, `age` seconds old."""
    recipe = recipes.get("default").changed(width=4)
    torch.manual_seed(seed)
    G = training.make_generator(recipe)
    run = home / "data" / "runs" / name
    checkpoints.save(G.state_dict(), run / "G.pth")
    checkpoints.write_whole(run / "recipe.json", json.dumps(recipes.to_json(recipe)).encode())
    os.utime(run / "G.pth", (time.time() - age,) * 2)
    return G


def test_without_a_run_the_ready_generator_is_taken(home):
    G, directions, source = latent.mine_or_ready()
    assert source == "the ready generator" and list(directions) == NAMES and G.z_dim == 128


def test_of_several_runs_the_newest_is_taken_and_another_can_be_named(home, monkeypatch):
    few = functools.partial(latent.attribute_directions, samples=200)
    monkeypatch.setattr(latent, "attribute_directions", few)
    a_run(home, "young", seed=1, age=10)
    a_run(home, "old", seed=2, age=1000)
    (home / "data" / "runs" / "unfinished").mkdir()
    G, directions, source = latent.mine_or_ready()
    assert source == "your run young" and list(directions) == NAMES
    assert all(vector.shape == (G.z_dim,) and vector.isfinite().all() for vector in directions.values())
    before = torch.get_rng_state()
    assert latent.mine_or_ready(home / "data" / "runs" / "old")[2] == "your run old"
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_that_is_not_finished_is_refused_with_the_reason(home):
    with pytest.raises(checkpoints.CheckpointError, match="nowhere"):
        latent.mine_or_ready("nowhere")


def test_nothing_here_touches_the_global_random_numbers(by_hand):
    G, judge = by_hand
    ready, _ = latent.ready()
    before = torch.get_rng_state()
    latent.ready()
    latent.pca(ready, samples=50)
    latent.sefa(ready)
    latent.effects(G, judge, latent.attribute_directions(G, judge, samples=50), samples=20)
    assert torch.equal(before, torch.get_rng_state())
