"""Metrics have known answers: distances, attribute shares, copies, and the table of all of them."""

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from animegan_helpers import drawn, metrics
from animegan_helpers.generator import Generator
from animegan_helpers.images import to_tensor
from animegan_helpers.judge import ATTRIBUTE_NAMES, HIDDEN, load_judge, true_labels
from animegan_helpers.prepare import prepare

COUNT = 300
PAIRS = "hair and eye color pairs"
OTHER_SIZES = [16, 32, 128]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian(count, means, deviations, seed=0):
    """Features with exactly these means and this diagonal covariance."""
    points = noise(count, len(means), seed=seed).double()
    orthogonal, _ = torch.linalg.qr(points - points.mean(0))
    return orthogonal * (count - 1) ** 0.5 * torch.tensor(deviations) + torch.tensor(means)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("metrics") / "drawn", count=COUNT, seed=3, workers=1)


@pytest.fixture(scope="module")
def prepared(folder):
    return prepare(folder, folder.parent / "prepared")


@pytest.fixture(scope="module")
def pixels(prepared):
    return prepared[:]


@pytest.fixture(scope="module")
def labels(prepared, folder):
    return true_labels(prepared, folder)


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture
def global_rng_untouched():
    """Torch's global random state is the same before and after the test."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


# ---- FID and KID ----


def test_fid_of_two_gaussians_is_the_closed_formula():
    real = gaussian(400, [0.0, 1.0, -2.0], [1.0, 2.0, 0.5])
    fake = gaussian(500, [1.0, 1.0, 0.0], [3.0, 2.0, 1.0], seed=1)
    means = 1**2 + 0**2 + 2**2
    deviations = (3 - 1) ** 2 + 0**2 + (1 - 0.5) ** 2
    assert metrics.fid(real, fake) == pytest.approx(means + deviations, abs=1e-4)


def test_fid_of_a_set_and_itself_is_0_and_grows_with_a_shift(global_rng_untouched):
    real = noise(600, 8)
    assert metrics.fid(real, real) == pytest.approx(0, abs=1e-3)
    fids = [metrics.fid(real, real + shift) for shift in (0.0, 0.2, 0.5, 2.0)]
    assert fids == sorted(fids)
    assert fids[-1] == pytest.approx(8 * 2**2, rel=1e-3)


def test_kid_grows_with_a_shift(global_rng_untouched):
    real = noise(600, 8)
    kids = [metrics.kid(real, real + shift, subsets=5)[0] for shift in (0.0, 0.2, 0.5, 2.0)]
    assert kids == sorted(kids)
    assert kids[1] > 0


def test_fid_is_too_large_for_few_faces():
    real = noise(4000, 8, seed=100)
    other = noise(4000, 8, seed=101)
    curve = metrics.fid_by_count(real, other, [50, 200, 1000, 4000])
    assert list(curve) == [50, 200, 1000, 4000]
    assert list(curve.values()) == sorted(curve.values(), reverse=True)


def test_kid_is_unbiased_for_few_faces_and_fid_is_not():
    halves = [(noise(400, 8, seed=2 * i), noise(400, 8, seed=2 * i + 1)) for i in range(8)]
    kids = torch.tensor([metrics.kid(*half, size=400, subsets=1)[0] for half in halves])
    assert kids.min() < 0 < kids.max()
    assert kids.mean().abs() < 3 * kids.std() / len(kids) ** 0.5
    assert min(metrics.fid(*half) for half in halves) > 0


def test_kid_is_reproducible_from_its_seed():
    real = noise(300, 8)
    fake = noise(300, 8, seed=1) + 0.3
    first = metrics.kid(real, fake, seed=5, size=100)
    assert metrics.kid(real, fake, seed=5, size=100) == first
    assert metrics.kid(real, fake, seed=6, size=100) != first
    assert first[1] > 0


def test_too_few_faces_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="more faces than features.*100 and 8"):
        metrics.fid(noise(100, 8), noise(8, 8))
    with pytest.raises(ValueError, match="subsets of 500 faces needs.*600 and 499"):
        metrics.kid(noise(600, 8), noise(499, 8))


class KnownFeatures(nn.Identity):
    """Stands for torchmetrics' network: its input is the features already."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features


def torchmetrics_result(metric, real, fake):
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return metric.compute()


@pytest.mark.parametrize("seed", range(3))
def test_fid_agrees_with_torchmetrics(seed):
    module = pytest.importorskip("torchmetrics.image.fid")
    real = noise(300, 8, seed=seed)
    fake = noise(200, 8, seed=seed + 10) * 1.5 + 0.3
    theirs = torchmetrics_result(module.FrechetInceptionDistance(KnownFeatures(8)), real, fake)
    assert metrics.fid(real, fake) == pytest.approx(theirs.item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
@pytest.mark.parametrize("seed", range(3))
def test_kid_of_the_whole_set_agrees_with_torchmetrics(seed):
    module = pytest.importorskip("torchmetrics.image.kid")
    real = noise(200, 8, seed=seed)
    fake = noise(200, 8, seed=seed + 10) * 1.5 + 0.3
    metric = module.KernelInceptionDistance(KnownFeatures(8), subsets=1, subset_size=200)
    theirs, _ = torchmetrics_result(metric, real, fake)
    ours, _ = metrics.kid(real, fake, subsets=1, size=200)
    assert ours == pytest.approx(theirs.item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
@pytest.mark.parametrize("seed", range(3))
def test_kid_of_subsets_is_close_to_that_of_torchmetrics(seed):
    module = pytest.importorskip("torchmetrics.image.kid")
    real = noise(200, 8, seed=seed)
    fake = noise(200, 8, seed=seed + 10) * 1.5 + 0.3
    torch.manual_seed(seed)
    metric = module.KernelInceptionDistance(KnownFeatures(8), subsets=400, subset_size=50)
    mean, deviation = torchmetrics_result(metric, real, fake)
    ours = metrics.kid(real, fake, subsets=400, size=50)  # other subsets: only about the same
    assert ours == pytest.approx((mean.item(), deviation.item()), rel=0.15)


# ---- sliced Wasserstein ----


def test_sliced_wasserstein_ranks_real_blurred_and_noise(pixels, global_rng_untouched):
    real = pixels[:150]
    other = pixels[150:]
    blurred = nn.functional.avg_pool2d(to_tensor(other), 3, 1, 1)
    random = noise(150, 3, 64, 64).clamp(-1, 1)
    distances = [metrics.sliced_wasserstein(real, fake) for fake in (other, blurred, random)]
    assert distances == sorted(distances)
    assert distances[1] > 1.5 * distances[0]


def test_sliced_wasserstein_is_reproducible_from_its_seed(pixels):
    real = pixels[:50]
    other = pixels[50:100]
    first = metrics.sliced_wasserstein(real, other)
    assert metrics.sliced_wasserstein(real, other) == first
    assert metrics.sliced_wasserstein(real, other, seed=1) != first


def test_sliced_wasserstein_needs_equal_numbers_of_faces(pixels):
    with pytest.raises(ValueError, match="150 real and 20 fake"):
        metrics.sliced_wasserstein(pixels[:150], pixels[:20])


def test_sliced_wasserstein_of_two_sizes_is_refused_with_both(pixels):
    small = nn.functional.avg_pool2d(to_tensor(pixels[:20]), 2)
    with pytest.raises(ValueError, match="real faces of 64 pixels, and fake ones of 32"):
        metrics.sliced_wasserstein(pixels[:20], small)
    with pytest.raises(ValueError, match="real faces of 32 pixels, and fake ones of 64"):
        metrics.sliced_wasserstein(small, pixels[:20])


# ---- attributes ----


def test_a_collapsed_set_has_one_pair_and_a_large_total_variation_distance(labels):
    collapsed = labels[:1].repeat(COUNT, 1)
    collapsed[:, ATTRIBUTE_NAMES.index("eye_color")] = 2
    assert metrics.attribute_pairs(collapsed) == (1, 80)
    assert metrics.attribute_pairs(labels)[0] > 70
    distances = metrics.total_variation(labels, collapsed)
    assert distances["eye_color"] > 0.8
    assert distances["hair_color"] > 0.8
    assert set(metrics.total_variation(labels, labels).values()) == {0}


def test_shares_leave_hidden_values_out():
    labels = torch.zeros(4, 9, dtype=torch.long)
    labels[1:, 4] = torch.tensor([0, 1, 2])
    labels[3, 3] = HIDDEN
    assert metrics.attribute_shares(labels)["eyes"].tolist() == [0.5, 0.25, 0.25, 0]
    assert metrics.attribute_shares(labels)["eye_color"][0] == 1
    assert metrics.attribute_pairs(labels) == (1, 80)
    distances = metrics.total_variation(torch.zeros(4, 9, dtype=torch.long), labels)
    assert distances["eyes"] == 0.5
    assert distances["eye_color"] == 0


# ---- copies ----


def test_the_nearest_rows_are_the_same_in_any_number_of_parts():
    others = noise(300, 5)
    distances, rows = metrics.nearest(others[50:90] + 1e-3, others, size=7)
    assert rows.tolist() == list(range(50, 90))
    assert distances.max() < 0.01


def test_a_mirrored_image_has_the_same_thumbnail(pixels):
    thumbnails = metrics.thumbnails(pixels[:10])
    assert thumbnails.shape == (10, 3 * 16 * 16)
    assert torch.allclose(metrics.thumbnails(pixels[:10].flip(2)), thumbnails, atol=1e-6)


def test_copies_are_flagged_mirrored_and_noisy_ones_too(pixels):
    train, held_out, _ = (metrics.thumbnails(part) for part in pixels.split(100))
    noisy = (to_tensor(pixels[:40]) + 0.05 * noise(40, 3, 64, 64)).clamp(-1, 1)
    for copies in (pixels[:40], pixels[:40].flip(2), noisy):
        result = metrics.memorized(metrics.thumbnails(copies), train, held_out)
        assert result["share"] == 1
        assert result["ratio"] < 0.5
        assert result["rows"].tolist() == list(range(40))


def test_new_faces_are_not_flagged_as_copies(pixels):
    train, held_out, new = (metrics.thumbnails(part) for part in pixels.split(100))
    result = metrics.memorized(new, train, held_out, percent=10)
    assert result["share"] < 0.25
    assert result["ratio"] == pytest.approx(1, abs=0.1)
    mixed = metrics.memorized(torch.cat([new, train]), train, held_out, percent=10)
    assert mixed["share"] == pytest.approx((result["share"] + 1) / 2)


# ---- the table ----


@pytest.fixture
def G():
    return Generator(width=4, z_dim=8).train()


def test_the_table_ranks_an_untrained_generator_behind_the_floor(judge, prepared, G):
    faces = Subset(prepared, range(260))
    held_out = Subset(prepared, range(260, COUNT))
    numbers = metrics.measure(G, faces, judge, held_out, count=100, seeds=(0, 1))
    distances = ("FID", "KID x 1000", "sliced Wasserstein", "total variation distance, %")
    for name in distances:
        assert max(numbers[f"{name} (real)"]) < min(numbers[name])
    assert max(numbers[PAIRS]) < min(numbers[f"{PAIRS} (real)"])
    assert numbers["copies, %"] == [0, 0]
    fractions = ("precision, %", "recall, %")
    for name in fractions:
        assert max(numbers[name]) < min(numbers[f"{name} (real)"])
    floor = [f"{name} (real)" for name in [*distances, *fractions, PAIRS]]
    assert sorted(numbers) == sorted([*distances, *fractions, PAIRS, "copies, %", *floor])


@pytest.mark.parametrize("size", OTHER_SIZES)
def test_faces_of_another_size_are_measured_too(judge, folder, size):
    prepared = prepare(folder, folder.parent / f"prepared_{size}", size)
    faces = Subset(prepared, range(260))
    held_out = Subset(prepared, range(260, COUNT))
    G = Generator(width=2, z_dim=4, size=size)
    numbers = metrics.measure(G, faces, judge, held_out, count=80, seeds=(0,))
    for name in ("FID", "KID x 1000", "sliced Wasserstein", "total variation distance, %"):
        assert numbers[f"{name} (real)"] < numbers[name]
    assert numbers["copies, %"] == [0]
    copies = metrics.measure(prepared[:100], faces, judge, held_out, seeds=(0,))
    assert copies["copies, %"] == [100]


def test_measuring_leaves_the_generator_as_it_was(judge, prepared, G, global_rng_untouched):
    before = [value.clone() for value in G.state_dict().values()]
    metrics.measure(G, prepared, judge, count=100, seeds=(0,))
    assert G.training
    assert all(torch.equal(a, b) for a, b in zip(before, G.state_dict().values()))


def test_each_seed_is_measured_by_itself(judge, prepared, G):
    numbers = metrics.measure(G, prepared, judge, count=100, seeds=(0, 1))
    for name in ("FID", "FID (real)"):
        assert numbers[name][0] != numbers[name][1]
    again = metrics.measure(G, prepared, judge, count=100, seeds=(1,))
    assert again == {name: values[1:] for name, values in numbers.items()}


def test_the_formatted_table_has_a_line_per_row_and_a_deviation_for_several_seeds():
    lines = metrics.format_table({"FID": [3.0, 5.0], "FID (real)": [0.5, 0.7]}).splitlines()
    assert [line.split() for line in lines] == [
        ["FID", "4.00", "±", "1.41"],
        ["FID", "(real)", "0.60", "±", "0.14"],
    ]
    assert "±" not in metrics.format_table({"FID": [3.0]})


def test_a_generator_of_copies_is_measured_as_one(judge, pixels):
    train = pixels[:260]
    numbers = metrics.measure(pixels[:100], train, judge, pixels[260:], seeds=(0,))
    assert numbers["copies, %"] == [100]
    assert "copies, %" not in metrics.measure(pixels[:100], train, judge, seeds=(0,))


def test_any_network_can_judge_but_only_a_judge_reads_attributes(prepared):
    network = nn.Sequential(nn.AvgPool2d(32), nn.Flatten())
    numbers = metrics.measure(prepared[:100], prepared, network, seeds=(0,))
    names = {name.removesuffix(" (real)") for name in numbers}
    assert names == {"FID", "KID x 1000", "precision, %", "recall, %", "sliced Wasserstein"}
    with pytest.raises(ValueError, match="more than 12 faces"):
        metrics.measure(prepared[:12], prepared, network, seeds=(0,))
