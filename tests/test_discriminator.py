"""discriminator: pictures become scores."""

import pytest
import torch
from torch import nn

from animegan_helpers import checkpoints
from animegan_helpers.discriminator import Discriminator


def kinds(net, *wanted):
    return [layer for layer in net.modules() if isinstance(layer, wanted)]


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_every_picture_gets_one_score(size):
    assert Discriminator(width=2, size=size)(torch.zeros(3, 3, size, size)).shape == (3,)


def test_the_score_of_a_single_picture_keeps_its_axis():
    assert Discriminator(width=2, size=16).eval()(torch.zeros(1, 3, 16, 16)).shape == (1,)


def test_scores_are_logits_so_they_go_below_0_and_above_1():
    torch.manual_seed(0)
    D = Discriminator(width=8, size=16, norm="none", start="he")
    scores = D(torch.randn(64, 3, 16, 16) * 3)
    assert scores.min() < 0 and scores.max() > 1
    assert not kinds(D, nn.Sigmoid)


def test_the_number_of_weights_is_as_the_formula_says():
    w = 64
    convolutions = 16 * (3 * w + w * 2 * w + 2 * w * 4 * w + 4 * w * 8 * w + 8 * w)
    first_bias, norms = w, 2 * (2 * w + 4 * w + 8 * w)
    assert sum(p.numel() for p in Discriminator(width=w).parameters()) == convolutions + first_bias + norms


def test_batch_norm_stands_where_it_is_asked_for():
    assert len(kinds(Discriminator(2), nn.BatchNorm2d)) == 3
    assert len(kinds(Discriminator(2, norm_first=True), nn.BatchNorm2d)) == 4
    assert not kinds(Discriminator(2, norm="none", norm_first=True), nn.BatchNorm2d)


def test_spectral_norm_stands_in_the_place_of_batch_norm():
    D = Discriminator(2, norm="spectral", norm_first=True)
    assert not kinds(D, nn.BatchNorm2d)
    assert all(nn.utils.parametrize.is_parametrized(conv, "weight") for conv in kinds(D, nn.Conv2d))
    for _ in range(50):
        D(torch.randn(4, 3, 64, 64))
    for conv in kinds(D, nn.Conv2d):
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_a_spectral_discriminator_survives_its_file(tmp_path):
    D, other = (Discriminator(4, 16, norm="spectral") for _ in range(2))
    pictures = torch.randn(4, 3, 16, 16)
    D(pictures)
    weights = checkpoints.load(checkpoints.save(D.state_dict(), tmp_path / "D.pth"))  # with weights_only=True
    other.load_state_dict(weights)
    assert torch.equal(other(pictures), D(pictures)), "its estimate of the largest singular value goes on, too"


def test_start_weights_are_the_papers():
    torch.manual_seed(0)
    D = Discriminator(width=64)
    assert all(conv.weight.std().item() == pytest.approx(0.02, rel=0.05) for conv in kinds(D, nn.Conv2d))
    scales = torch.cat([norm.weight for norm in kinds(D, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=3e-3) and scales.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "wrong", [{"size": 60}, {"size": 8}, {"size": 0}, {"width": 0}, {"width": -3}, {"norm": "layer"}]
)
def test_what_cannot_work_is_named(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Discriminator(**wrong)
