"""Precision and recall have known answers: equal sets, disjoint sets, half of the modes."""

import pytest
import torch

from animegan_helpers.precision_recall import precision_recall


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def column(*numbers):
    """Features of one dimension."""
    return torch.tensor(numbers)[:, None]


def modes(*centers, count=200, seed=0):
    """(len(centers) * count, 8): a narrow cluster of `count` points around each center."""
    return torch.cat([center + 0.1 * noise(count, 8, seed=seed + center) for center in centers])


def by_definition(real, fake, k):
    """The definition, one face at a time."""

    def fraction_inside(points, centers):
        count = 0
        for point in points:
            for i, center in enumerate(centers):
                others = torch.cat([centers[:i], centers[i + 1 :]])
                radius = (others - center).norm(dim=1).sort().values[k - 1]
                if (point - center).norm() <= radius:
                    count += 1
                    break
        return count / len(points)

    return fraction_inside(fake, real), fraction_inside(real, fake)


def test_equal_sets_have_precision_1_and_recall_1():
    real = noise(300, 8)
    assert precision_recall(real, real.clone()) == (1, 1)


def test_disjoint_sets_have_precision_0_and_recall_0():
    real = noise(300, 8)
    assert precision_recall(real, real + 1000) == (0, 0)


def test_fakes_of_half_of_the_modes_have_precision_1_and_recall_one_half():
    real = modes(0, 10, 20, 30)
    assert precision_recall(real, real[:400]) == (1, 0.5)
    new = modes(0, 10, seed=100)  # other points of the same two modes
    precision, recall = precision_recall(real, new)
    assert precision > 0.8
    assert 0.4 < recall <= 0.5


def test_fakes_of_all_modes_and_as_many_others_have_precision_one_half_and_recall_1():
    real = modes(0, 10)
    fake = torch.cat([real, modes(50, 60)])
    assert precision_recall(real, fake) == (0.5, 1)


def test_one_fake_repeated_reaches_only_its_own_copy():
    real = noise(300, 8)
    assert precision_recall(real, real[:1].repeat(50, 1)) == (1, 1 / 300)


def test_by_hand_with_one_neighbor():
    real = column(0.0, 1.0, 2.0, 10.0)  # the balls' radii are 1, 1, 1 and 8
    fake = column(1.5, 3.5, 30.0)  # 2, 2 and 26.5
    precision, recall = precision_recall(real, fake, k=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == 1  # 10 lies in the ball of the outlier, which no real face is near


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_follows_the_definition(k):
    real = noise(40, 4, seed=1)
    fake = 1.3 * noise(30, 4, seed=2) + 0.5
    assert precision_recall(real, fake, k) == pytest.approx(by_definition(real, fake, k))


def test_precision_and_recall_change_places_with_the_sets():
    real = noise(400, 4)
    fake = 0.5 * noise(300, 4, seed=1)
    precision, recall = precision_recall(real, fake)
    assert precision_recall(fake, real) == (recall, precision)
    assert precision > recall  # the fakes are typical, but leave out what is rare


def test_more_neighbors_make_larger_balls():
    real = noise(300, 8)
    fake = noise(300, 8, seed=1) + 0.5
    values = torch.tensor([precision_recall(real, fake, k) for k in (1, 3, 10)])
    assert (values.diff(dim=0) >= 0).all()
    assert (values[0] < values[2]).all()


def test_large_sets_are_read_in_parts():
    real = noise(2500, 4)
    fake = noise(1100, 4, seed=1)
    distances = torch.cdist(fake.double(), real.double())
    radii = torch.cdist(real.double(), real.double()).sort(dim=1).values[:, 3]
    precision, _ = precision_recall(real, fake)
    assert precision == pytest.approx((distances <= radii).any(dim=1).double().mean().item())


def test_too_few_faces_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="more than k faces.*300 and 3"):
        precision_recall(noise(300, 8), noise(3, 8))
    with pytest.raises(ValueError, match="neighbor 0"):
        precision_recall(noise(300, 8), noise(300, 8), k=0)
