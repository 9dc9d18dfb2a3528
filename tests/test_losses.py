"""losses: three losses, the R1 penalty and DiffAugment, compared with values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from small_runs import BCE as BCE_RECIPE
from small_runs import DEFAULT, HINGE, NOISY
from torch import nn

from animegan_helpers.losses import (
    BCE,
    Hinge,
    Relativistic,
    diff_augment,
    make_loss,
    r1_penalty,
)
from animegan_helpers.rng import rng

# ---- losses ----


def test_an_undecided_discriminator_pays_2_ln_2_or_ln_2_in_the_relativistic_loss():
    zeros = torch.zeros(8)
    assert BCE().d_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert BCE().g_loss(zeros, zeros).item() == pytest.approx(math.log(2))
    for loss in (Relativistic().d_loss, Relativistic().g_loss):
        assert loss(zeros + 3, zeros + 3).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [BCE(), Relativistic()])
def test_a_discriminator_that_is_right_pays_little_and_makes_g_pay(loss):
    high = torch.full((4,), 9.0)
    low = torch.full((4,), -9.0)
    assert loss.d_loss(high, low) < 0.001
    assert loss.d_loss(low, high) > 8
    assert loss.g_loss(high, low) < 0.001
    assert loss.g_loss(low, high) > 8


@pytest.mark.parametrize("loss", [BCE(), Relativistic()])
def test_scores_are_probabilities_and_undecided_is_a_half(loss):
    scores = loss.scores(torch.zeros(4), torch.zeros(4))
    assert [score.item() for score in scores] == [0.5, 0.5]
    score_real, score_fake = loss.scores(torch.full((4,), 3.0), torch.full((4,), -3.0))
    assert 0.9 < score_real <= 1
    assert 0 <= score_fake < 0.1


def test_hinge_asks_d_for_its_margins_and_no_more():
    loss = Hinge()
    zeros = torch.zeros(8)
    assert loss.d_loss(zeros, zeros).item() == 2
    assert loss.d_loss(zeros + 1, zeros - 1).item() == 0
    assert loss.d_loss(zeros + 9, zeros - 9).item() == 0
    assert loss.d_loss(zeros - 2, zeros + 3).item() == 3 + 4
    assert loss.g_loss(zeros + 5, None).item() == -5


def test_hinge_gradients_reach_only_the_images_within_the_margins():
    loss = Hinge()
    real = torch.tensor([2.0, 0.5, -3, 7], requires_grad=True)
    fake = torch.tensor([-2.0, 0.5, 3, -7], requires_grad=True)
    loss.d_loss(real, fake).backward()
    assert real.grad.tolist() == [0, -0.25, -0.25, 0]
    assert fake.grad.tolist() == [0, 0.25, 0.25, 0]
    fake.grad = None
    loss.g_loss(fake, real).backward()
    assert fake.grad.tolist() == [-0.25] * 4, "G is never content"


def test_hinge_scores_are_the_fractions_that_d_calls_real():
    real = torch.tensor([0.1, 5, 0, -1])
    fake = torch.tensor([-0.1, -5, 0, 0.2])
    scores = Hinge().scores(real, fake)
    assert [score.item() for score in scores] == [0.5, 0.25]


def real_label(loss, seed):
    """The label that was drawn for one real image, worked out from the loss that it costs."""
    cost = loss.d_loss(torch.tensor([10.0]), torch.tensor([0.0]), rng(seed)).item()
    cost_of_the_fake = math.log(2)
    cost_of_label_0 = math.log1p(math.exp(10))
    return (cost_of_label_0 + cost_of_the_fake - cost) / 10


def test_noisy_labels_stay_in_their_range_fill_it_and_are_seeded():
    loss = BCE(real_labels=(0.8, 1.0), fake_labels=(0.0, 0.2))
    labels = [real_label(loss, seed) for seed in range(100)]
    assert min(labels) >= 0.8 - 1e-4
    assert max(labels) <= 1 + 1e-4
    assert min(labels) < 0.83
    assert max(labels) > 0.97
    assert real_label(loss, 7) == real_label(loss, 7)
    assert real_label(BCE(), 7) == pytest.approx(1, abs=1e-4)


def test_a_recipe_names_its_loss():
    assert type(make_loss(DEFAULT)) is Relativistic
    assert type(make_loss(HINGE)) is Hinge
    for recipe in (BCE_RECIPE, NOISY):
        loss = make_loss(recipe)
        assert type(loss) is BCE
        assert loss.real_labels == recipe.real_labels
        assert loss.fake_labels == recipe.fake_labels


def test_r1_of_a_linear_discriminator_is_its_squared_weights():
    D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1), nn.Flatten(0))
    real = torch.randn(5, 3, 4, 4)
    expected = D[1].weight.square().sum().item()
    assert r1_penalty(D, real).item() == pytest.approx(expected, rel=1e-5)
    assert not real.requires_grad, "the caller's images are left as they were"


# ---- DiffAugment ----

# Random numbers that change nothing, in the order in which they are drawn. A half is the middle of
# a range, and a cutout around 9 lies outside of the image.
NEUTRAL = {
    "brightness": 0.5,
    "saturation": 0.5,
    "contrast": 0.5,
    "shift_y": 0.5,
    "shift_x": 0.5,
    "center_y": 9.0,
    "center_x": 9.0,
}


@pytest.fixture
def augment(monkeypatch):
    """-> `diff_augment` with chosen random numbers: `augment(images, brightness=1.0)`."""

    def augment(images, **chosen):
        numbers = iter((NEUTRAL | chosen).values())

        def rand(rows, count, generator):
            values = [next(numbers) for _ in range(rows)]
            return torch.tensor(values)[:, None].expand(-1, count)

        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", rand)
            return diff_augment(images, None)

    return augment


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 64, 64, generator=rng(1)) * 2 - 1


def test_in_the_middle_of_its_ranges_diff_augment_changes_nothing(images, augment):
    assert torch.allclose(augment(images), images, atol=1e-6)


@pytest.mark.parametrize("number, offset", [(0.0, -0.5), (1.0, 0.5)])
def test_brightness_changes_by_up_to_a_half(number, offset, images, augment):
    assert torch.allclose(augment(images, brightness=number), images + offset, atol=1e-6)


@pytest.mark.parametrize("number, factor", [(0.0, 0.0), (1.0, 2.0)])
def test_saturation_is_multiplied_by_0_to_2(number, factor, images, augment):
    gray = images.mean(1, keepdim=True)
    expected = gray + factor * (images - gray)
    assert torch.allclose(augment(images, saturation=number), expected, atol=1e-5)


@pytest.mark.parametrize("number, factor", [(0.0, 0.5), (1.0, 1.5)])
def test_contrast_is_multiplied_by_a_half_to_one_and_a_half(number, factor, images, augment):
    mean = images.mean((1, 2, 3), keepdim=True)
    expected = mean + factor * (images - mean)
    assert torch.allclose(augment(images, contrast=number), expected, atol=1e-5)


def test_an_image_is_shifted_by_an_eighth_at_most_and_zeros_come_in(images, augment):
    down = augment(images, shift_y=0.0)
    assert torch.allclose(down[:, :, 8:], images[:, :, :-8], atol=1e-6)
    assert not down[:, :, :8].any()
    up = augment(images, shift_y=1.0)
    assert torch.allclose(up[:, :, :-8], images[:, :, 8:], atol=1e-6)
    assert not up[:, :, -8:].any()
    right = augment(images, shift_x=0.0)
    assert torch.allclose(right[..., 8:], images[..., :-8], atol=1e-6)
    assert not right[..., :8].any()
    left = augment(images, shift_x=1.0)
    assert torch.allclose(left[..., :-8], images[..., 8:], atol=1e-6)
    assert not left[..., -8:].any()


def cut_sizes(image_is_cut):
    """(N, 3, H, W) booleans, true in the cutout -> the heights and the widths that occur."""
    cut = image_is_cut.all(1)  # (N, H, W)
    heights = cut.any(2).sum(1)
    widths = cut.any(1).sum(1)
    return set(heights.tolist()), set(widths.tolist())


@pytest.mark.parametrize("center", [0.5, 0.37, 0.61])
def test_the_cutout_is_half_as_high_and_wide_as_the_image(center, images, augment):
    heights, widths = cut_sizes(augment(images, center_y=center, center_x=center) == 0)
    assert heights <= {32, 33}
    assert widths <= {32, 33}


def test_a_cutout_in_the_corner_is_a_quarter_of_one_inside(images, augment):
    corner = augment(images, center_y=0.0, center_x=0.0) == 0
    assert set(corner.sum((1, 2, 3)).tolist()) <= {3 * 16**2, 3 * 17**2}


def test_shifts_and_cutouts_follow_height_and_width_each(images, augment):
    wide = images[:, :, :32]  # (4, 3, 32, 64)
    down = augment(wide, shift_y=0.0)
    assert torch.allclose(down[:, :, 4:], wide[:, :, :-4], atol=1e-6)
    assert not down[:, :, :4].any()
    left = augment(wide, shift_x=1.0)
    assert torch.allclose(left[..., :-8], wide[..., 8:], atol=1e-6)
    assert not left[..., -8:].any()
    heights, widths = cut_sizes(augment(wide, center_y=0.5, center_x=0.5) == 0)
    assert heights <= {16, 17}
    assert widths <= {32, 33}


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_a_batch_in_half_precision_is_augmented_in_the_same_way(dtype, tolerance, images):
    expected = diff_augment(images, rng(3))
    augmented = diff_augment(images.to(dtype), rng(3))
    assert augmented.dtype == dtype
    assert torch.allclose(augmented.float(), expected, atol=tolerance)


def test_a_fifth_of_all_pixels_is_cut_out():
    augmented = diff_augment(torch.full((4000, 3, 16, 16), 9.0), rng(2))
    inner = augmented[:, 0, 2:-2, 2:-2]  # no shift reaches these; the cutout's center lies anywhere
    fraction = (inner == 0).float().mean().item()
    # On each axis, a pixel at p is cut if the center, even from 0 to 1, is within a quarter of it.
    lengths = [min(1, p / 16 + 0.25) - max(0, p / 16 - 0.25) for p in range(2, 14)]
    assert fraction == pytest.approx(np.mean(lengths) ** 2, abs=0.01)


def test_diff_augment_follows_its_generator_and_changes_each_image_in_its_own_way():
    same = torch.rand(1, 3, 16, 16, generator=rng(1)).expand(16, -1, -1, -1)
    before = torch.get_rng_state()
    first = diff_augment(same, rng(3))
    again = diff_augment(same, rng(3))
    other = diff_augment(same, rng(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(first.unique(dim=0)) == 16
    assert first.shape == same.shape
    assert first.dtype == same.dtype
    assert first.isfinite().all()


def test_gradients_reach_every_image_through_its_augmentation():
    images = torch.rand(8, 3, 16, 16, generator=rng(1)) * 2 - 1
    images.requires_grad_()
    augmented = diff_augment(images, rng(3))
    (gradient,) = torch.autograd.grad(augmented.square().sum(), images)
    assert gradient.isfinite().all()
    assert gradient.abs().sum((1, 2, 3)).min() > 0
