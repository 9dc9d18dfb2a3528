"""Numbers with known answers: distances, coverage, copies; a judge that learns; and clear words when it can't work."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from animegan_helpers import drawn, measure, preprocess, recipes, training
from animegan_helpers.checkpoints import CheckpointError, save
from animegan_helpers.generator import Generator

COUNT = 300


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bell(count, means, deviations, seed=0):
    """Features whose mean and covariance are exactly these, the covariance diagonal."""
    points = noise(count, len(means), seed=seed).double()
    orthogonal, _ = torch.linalg.qr(points - points.mean(0))
    return orthogonal * (count - 1) ** 0.5 * torch.tensor(deviations) + torch.tensor(means)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("measure") / "drawn", count=COUNT, seed=3, workers=1)


@pytest.fixture(scope="module")
def prepared(folder):
    return preprocess.prepare(folder, folder.parent / "prepared")


@pytest.fixture(scope="module")
def truth(prepared, folder):
    return measure.labels(prepared, folder)


@pytest.fixture(scope="module")
def judge(prepared, truth):
    return measure.train_judge(prepared, truth, epochs=10, batch=32)


@pytest.fixture
def untouched():
    """Torch's global random numbers are as they were."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


# ---- the split ----


def test_a_split_is_disjoint_and_whole_and_follows_its_seed(untouched):
    train, held_out = preprocess.split(1000, held_out=0.1, seed=4)
    assert (len(train), len(held_out)) == (900, 100)
    assert sorted(train + held_out) == list(range(1000))
    assert preprocess.split(1000, 0.1, seed=4) == (train, held_out) != preprocess.split(1000, 0.1, seed=5)


@pytest.mark.parametrize("count, share", [(3, 0.1), (10, 0.0), (10, 1.0), (0, 0.5)])
def test_a_split_with_an_empty_part_is_refused(count, share):
    with pytest.raises(ValueError, match="both parts need a face"):
        preprocess.split(count, share)


# ---- FID and KID ----


def test_fid_of_two_bells_is_the_closed_formula():
    real = bell(400, [0.0, 1.0, -2.0], [1.0, 2.0, 0.5])
    fake = bell(500, [1.0, 1.0, 0.0], [3.0, 2.0, 1.0], seed=1)
    assert measure.fid(real, fake) == pytest.approx(1 + 4 + (3 - 1) ** 2 + (1 - 0.5) ** 2, abs=1e-4)


def test_fid_and_kid_of_a_set_and_itself_are_nothing_and_grow_with_a_shift(untouched):
    real = noise(600, 8)
    assert measure.fid(real, real) == pytest.approx(0, abs=1e-3)
    fids = [measure.fid(real, real + shift) for shift in (0.0, 0.2, 0.5, 2.0)]
    kids = [measure.kid(real, real + shift, subsets=5)[0] for shift in (0.0, 0.2, 0.5, 2.0)]
    assert fids == sorted(fids) and fids[-1] == pytest.approx(8 * 2**2, rel=1e-3)
    assert kids == sorted(kids) and kids[1] > 0


def test_fid_of_few_faces_is_too_large_and_kid_is_not():
    halves = [(noise(400, 8, seed=2 * i), noise(400, 8, seed=2 * i + 1)) for i in range(8)]
    curve = measure.fid_by_count(noise(4000, 8, seed=100), noise(4000, 8, seed=101), (50, 200, 1000, 4000))
    assert list(curve) == [50, 200, 1000, 4000]
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    kids = torch.tensor([measure.kid(*half, size=400, subsets=1)[0] for half in halves])
    assert kids.min() < 0 < kids.max()
    assert kids.mean().abs() < 3 * kids.std() / len(kids) ** 0.5
    assert min(measure.fid(*half) for half in halves) > 0


def test_kid_follows_its_seed():
    real, fake = noise(300, 8), noise(300, 8, seed=1) + 0.3
    first = measure.kid(real, fake, seed=5, size=100)
    assert measure.kid(real, fake, seed=5, size=100) == first != measure.kid(real, fake, seed=6, size=100)
    assert first[1] > 0


def test_too_few_faces_are_told():
    with pytest.raises(ValueError, match="more faces than features.*100 and 8"):
        measure.fid(noise(100, 8), noise(8, 8))
    with pytest.raises(ValueError, match="subsets of 500 needs as many.*600 and 499"):
        measure.kid(noise(600, 8), noise(499, 8))


class Known(nn.Identity):
    """torchmetrics' network in a test: the features are known already."""

    def __init__(self, count):
        super().__init__()
        self.num_features = count


def torchmetrics_of(metric, real, fake):
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return metric.compute()


@pytest.mark.parametrize("seed", range(3))
def test_fid_is_that_of_torchmetrics(seed):
    fid = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance(Known(8))
    real, fake = noise(300, 8, seed=seed), noise(200, 8, seed=seed + 10) * 1.5 + 0.3
    assert measure.fid(real, fake) == pytest.approx(torchmetrics_of(fid, real, fake).item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
@pytest.mark.parametrize("seed", range(3))
def test_kid_is_that_of_torchmetrics(seed):
    real, fake = noise(200, 8, seed=seed), noise(200, 8, seed=seed + 10) * 1.5 + 0.3
    Kernel = pytest.importorskip("torchmetrics.image.kid").KernelInceptionDistance
    whole, _ = torchmetrics_of(Kernel(Known(8), subsets=1, subset_size=200), real, fake)
    assert measure.kid(real, fake, subsets=1, size=200)[0] == pytest.approx(whole.item(), rel=1e-4)
    torch.manual_seed(seed)
    mean, deviation = torchmetrics_of(Kernel(Known(8), subsets=400, subset_size=50), real, fake)
    ours = measure.kid(real, fake, subsets=400, size=50)  # other subsets, so only about the same
    assert ours == pytest.approx((mean.item(), deviation.item()), rel=0.15)


# ---- the judge ----


def test_labels_follow_the_names_of_the_rows(folder, prepared, truth):
    row = COUNT // 2
    face = drawn.attributes(3, row)
    assert prepared.names[row].endswith(f"{row:06d}.png")
    for name, number in zip(measure.NAMES, truth[row].tolist()):
        hidden = face["eyes"] == "closed" and name in ("eye_color", "eye_shape")
        assert number == (measure.HIDDEN if hidden else drawn.ATTRIBUTES[name].index(face[name]))
    backwards = SimpleNamespace(names=prepared.names[::-1])
    assert torch.equal(measure.labels(backwards, folder), truth.flip(0))


def test_labels_that_are_not_there_are_told(folder, prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="no labels.csv"):
        measure.labels(prepared, tmp_path)
    with pytest.raises(ValueError, match="no row for 'other.png'"):
        measure.labels(SimpleNamespace(names=["images/other.png"]), folder)


def test_a_judge_learns_its_attributes_even_from_a_few_faces(judge, prepared, truth):
    right = measure.accuracy(judge, prepared, truth)
    assert list(right) == list(drawn.ATTRIBUTES)
    assert right["hair_color"] > 0.9 and right["skin"] > 0.9
    seen = measure.features(judge, prepared)
    assert seen.shape == (COUNT, 64)
    assert seen.mean(0).abs().max() < 0.3 and 0.5 < seen.var(0).mean() < 1.5


def test_a_judge_follows_its_seed_and_disturbs_no_other_randomness(prepared, truth, untouched):
    def train(seed):
        return measure.train_judge(Subset(prepared, range(40)), truth[:40], epochs=1, batch=20, seed=seed).state_dict()

    first, again, other = train(0), train(0), train(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["net.0.weight"], other["net.0.weight"])


def test_a_judge_survives_its_file(judge, prepared, tmp_path):
    path = measure.save_judge(judge, tmp_path / "judge.pt")
    assert path.stat().st_size < 1_000_000
    back = measure.load_judge(path)
    some = Subset(prepared, range(50))
    assert not back.training
    assert torch.allclose(measure.features(back, some), measure.features(judge, some), atol=0.05)


def test_a_file_that_is_no_judge_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="not a judge"):
        measure.load_judge(save({"weight": torch.ones(2)}, tmp_path / "other.pt"))
    with pytest.raises(CheckpointError, match="does not exist"):
        measure.load_judge(tmp_path / "none.pt")


def test_what_a_judge_can_not_use_is_told(judge, prepared, truth):
    with pytest.raises(ValueError, match=r"looks at \(N, 3, 64, 64\).*32, 32"):
        measure.features(judge, noise(2, 3, 32, 32))
    with pytest.raises(ValueError, match=f"{COUNT} faces and 5 labels"):
        measure.train_judge(prepared, truth[:5])


def test_features_leave_the_network_as_it_was(judge, prepared):
    network = nn.Sequential(nn.Conv2d(3, 4, 64), nn.BatchNorm2d(4), nn.Flatten()).train()
    before = [value.clone() for value in network.state_dict().values()]
    some = Subset(prepared, range(20))
    seen = measure.features(network, some)
    assert network.training and not seen.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values()))
    pixels = torch.tensor(prepared.array[:20])
    assert torch.equal(measure.features(network, pixels), seen)
    assert torch.equal(measure.features(network, preprocess.to_tensor(pixels)), seen)


# ---- coverage and copies ----


def test_a_collapsed_set_has_few_combinations_and_wrong_shares(truth):
    collapsed = truth[:1].repeat(COUNT, 1)
    collapsed[:, measure.NAMES.index("eye_color")] = 2
    assert measure.combinations(collapsed) == (1, 80)
    assert measure.combinations(truth)[0] > 70
    wrong = measure.total_variation(truth, collapsed)
    assert wrong["eye_color"] > 0.8 and wrong["hair_color"] > 0.8
    assert set(measure.total_variation(truth, truth).values()) == {0}


def test_shares_and_their_distance_have_known_answers():
    labels = torch.zeros(4, 9, dtype=torch.long)
    labels[1:, 4] = torch.tensor([0, 1, 2])
    labels[3, 3] = measure.HIDDEN
    assert measure.shares(labels)["eyes"].tolist() == [0.5, 0.25, 0.25, 0]
    assert measure.shares(labels)["eye_color"][0] == 1
    assert measure.combinations(labels) == (1, 80)
    wrong = measure.total_variation(torch.zeros(4, 9, dtype=torch.long), labels)
    assert wrong["eyes"] == 0.5 and wrong["eye_color"] == 0


def test_the_nearest_is_found_in_parts_as_in_one():
    among = noise(300, 5)
    distances, rows = measure.nearest(among[50:90] + 1e-3, among, size=7)
    assert rows.tolist() == list(range(50, 90))
    assert distances.max() < 0.01


def test_copies_are_flagged_and_held_out_faces_are_not(prepared):
    pixels = torch.tensor(prepared.array[:])
    train, held_out, new = (measure.thumbnails(part) for part in pixels.split(100))
    noisy = (preprocess.to_tensor(pixels[:40]) + 0.05 * noise(40, 3, 64, 64)).clamp(-1, 1)
    for copies in (pixels[:40], pixels[:40].flip(2), noisy):
        found = measure.memorised(measure.thumbnails(copies), train, held_out)
        assert found["share"] == 1 and found["ratio"] < 0.5
        assert found["rows"].tolist() == list(range(40))
    fresh = measure.memorised(new, train, held_out, percent=10)
    assert fresh["share"] < 0.25 and fresh["ratio"] == pytest.approx(1, abs=0.1)
    mixed = measure.memorised(torch.cat([new, train]), train, held_out, percent=10)
    assert mixed["share"] == pytest.approx((fresh["share"] + 1) / 2)


def test_sliced_wasserstein_tells_faces_from_worse_ones(prepared, untouched):
    pixels = torch.tensor(prepared.array[:])
    real, other = pixels[:150], pixels[150:]
    blurred = nn.functional.avg_pool2d(preprocess.to_tensor(other), 3, 1, 1)
    same = measure.sliced_wasserstein(real, other)
    assert same == measure.sliced_wasserstein(real, other) != measure.sliced_wasserstein(real, other, seed=1)
    worse = (blurred, noise(150, 3, 64, 64).clamp(-1, 1))
    numbers = [same, *(measure.sliced_wasserstein(real, fake) for fake in worse)]
    assert numbers == sorted(numbers) and numbers[1] > 1.5 * same
    with pytest.raises(ValueError, match="150 real and 20 fake"):
        measure.sliced_wasserstein(real, other[:20])


# ---- the table ----


@pytest.fixture
def G():
    return Generator(width=4, z_dim=8).train()


def test_the_table_of_a_generator_orders_it_behind_the_real_faces(judge, prepared, G, untouched):
    before = [value.clone() for value in G.state_dict().values()]
    faces, held_out = Subset(prepared, range(260)), Subset(prepared, range(260, COUNT))
    numbers = measure.measure(G, faces, judge, held_out, count=100, seeds=(0, 1))
    assert all(len(values) == 2 and values[0] != values[1] for name, values in numbers.items() if "FID" in name)
    for name in ("FID", "KID x 1000", "sliced Wasserstein", "wrong shares of attributes, %"):
        assert max(numbers[f"{name} (real)"]) < min(numbers[name])
    colours = "hair and eye colours seen together"
    assert max(numbers[colours]) < min(numbers[f"{colours} (real)"])
    assert numbers["copies, %"] == [0, 0]
    assert G.training and all(torch.equal(a, b) for a, b in zip(before, G.state_dict().values()))
    again = measure.measure(G, faces, judge, held_out, count=100, seeds=(1,))
    assert {name: values[1:] for name, values in numbers.items()} == again
    lines = measure.table(numbers).splitlines()
    assert len(lines) == len(numbers) and all("±" in line for line in lines)
    assert "±" not in measure.table(again)


def test_the_table_of_copies_says_so(judge, prepared):
    pixels = torch.tensor(prepared.array[:])
    numbers = measure.measure(pixels[:100], pixels[:260], judge, pixels[260:], seeds=(0,))
    assert numbers["copies, %"] == [100]
    assert "copies, %" not in measure.measure(pixels[:100], pixels[:260], judge, seeds=(0,))


def test_any_network_can_judge_but_only_a_judge_tells_attributes(prepared):
    network = nn.Sequential(nn.AvgPool2d(32), nn.Flatten())
    numbers = measure.measure(torch.tensor(prepared.array[:100]), prepared, network, seeds=(0,))
    assert {name.removesuffix(" (real)") for name in numbers} == {"FID", "KID x 1000", "sliced Wasserstein"}
    with pytest.raises(ValueError, match="more faces than features"):
        measure.measure(torch.tensor(prepared.array[:12]), prepared, network, seeds=(0,))


# ---- alarms ----


def rows(*gaps):
    """A history: D's scores lie `gaps` apart around a half."""
    names = ("step", "loss_d", "loss_g", "score_real", "score_fake")
    return [dict(zip(names, (i, 1.0, 1.0, 0.5 + gap / 2, 0.5 - gap / 2))) for i, gap in enumerate(gaps, 1)]


def alike(count=64, spread=0.0):
    """`count` faces that are one face, but for noise."""
    return (noise(1, 3, 64, 64) + spread * noise(count, 3, 64, 64, seed=1)).clamp(-1, 1)


def playing(step, faces=None):
    """Stands for a game at some step whose generator draws these faces, or else quite different ones."""
    return SimpleNamespace(step=step, fixed_faces=lambda: noise(64, 3, 16, 16).clamp(-1, 1) if faces is None else faces)


@pytest.mark.parametrize("name, value", [("loss_g", math.nan), ("score_real", math.inf), ("loss_d", -math.inf)])
def test_the_first_number_that_is_none_is_named_with_its_step(name, value):
    history = rows(*[0.1] * 20)
    assert measure.not_finite(history) == measure.not_finite([]) == ""
    for step in (12, 17):
        history[step - 1][name] = value
    told = measure.not_finite(history)
    assert told.startswith(f"not finite: {name} is {value} at step 12;") and "lower learning rate" in told


def test_d_has_won_if_its_scores_lay_apart_over_all_the_last_steps():
    assert measure.saturated(rows(*[0.99] * 199)) == "", "199 steps are too few to tell"
    assert "0.990 apart" in measure.saturated(rows(*[0.99] * 200))
    assert "last 200 steps" in measure.saturated(rows(*[0.1] * 500, *[0.981] * 200))
    assert measure.saturated(rows(*[0.975] * 200)) == ""
    assert measure.saturated(rows(*[0.99] * 500, *[0.1] * 200)) == "", "what is over is over"
    assert measure.saturated(rows(*[1.0] * 9, 0.5), steps=10, gap=0.94) and not measure.saturated(rows(1.0), steps=2)


def test_variety_is_the_median_difference_of_neighbours():
    grey = torch.tensor([0.0, 0.1, 0.3, 0.7])[:, None, None, None].expand(-1, 3, 16, 16)  # neighbours: .1 .1 .2 .4
    # a face's thumbnail holds what both halves have in common, and how they differ: of a plain face, half are zeros
    assert measure.variety(grey) == pytest.approx(0.1 / 2**0.5, rel=1e-4)
    assert measure.variety(alike()) < 0.005
    for away, cries in ((0.058, True), (0.062, False)):
        assert bool(measure.collapsed(grey[:1] + away * 2**0.5 * torch.arange(20.0)[:, None, None, None])) == cries


def test_drawn_faces_have_variety_and_one_face_with_noise_has_none(prepared):
    real = torch.tensor(prepared.array[:64])
    assert measure.variety(real) == pytest.approx(0.25, abs=0.05)
    assert measure.variety(preprocess.to_tensor(real)) == pytest.approx(measure.variety(real))
    assert measure.collapsed(real) == "" and "collapse: the faces are alike" in measure.collapsed(alike(spread=0.1))
    some = measure.variety(real)
    assert measure.collapsed(real, least=some + 1e-3) and not measure.collapsed(real, least=some - 1e-3)


def test_four_faces_over_and_over_are_a_collapse(prepared):
    assert measure.collapsed(torch.tensor(prepared.array[:4]).repeat(16, 1, 1, 1))


def test_collapse_is_no_alarm_before_step_300():
    assert measure.alarms(playing(299, alike()), rows(*[0.1] * 299)) == []
    (told,) = measure.alarms(playing(300, alike()), rows(*[0.1] * 300))
    assert told.startswith("collapse: ")
    assert measure.alarms(playing(300), rows(*[0.1] * 300)) == []


def test_a_watch_looks_now_and_then_and_tells_each_kind_once():
    told, history, faces = [], rows(*[0.99] * 500), alike()
    watch = measure.Watch(100, told.append)
    for step in range(1, 450):
        watch(playing(step, faces), history[:step])
    assert [line.partition(";")[0].partition(" (")[0].partition(": over")[0] for line in told] == [
        "Warning at step 200: D has won",
        "Warning at step 300: collapse: the faces are alike",
    ]
    history[440]["loss_d"] = math.nan
    watch(playing(450, faces), history[:450], done=True)
    assert len(told) == 3 and "not finite: loss_d is nan at step 441" in told[2], "and surely at the end"


@pytest.fixture(scope="module")
def small_faces(folder):
    return preprocess.prepare(folder, folder.parent / "small", 32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_alarm_cries_while_all_is_well(seed, small_faces, tmp_path):
    told, recipe = [], recipes.get("default", width=8, size=32, batch=8)
    training.train(recipe, small_faces, tmp_path, steps=300, seed=seed, watch=measure.Watch(50, told.append))
    assert told == []


@pytest.fixture(scope="module")
def drawn_faces(tmp_path_factory):
    place = tmp_path_factory.mktemp("default")
    return preprocess.prepare(drawn.write(place / "drawn", count=600), place / "prepared", 64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_alarm_cries_on_the_default_recipe_itself(seed, drawn_faces, tmp_path):
    told, recipe = [], recipes.get("default")
    training.train(recipe, drawn_faces, tmp_path, steps=320, seed=seed, watch=measure.Watch(40, told.append))
    assert told == []


def test_a_discriminator_far_too_strong_is_told(small_faces, tmp_path):
    told, recipe = [], recipes.get("bce", width=8, size=32, batch=8, lr_g=4e-5, lr_d=2e-3)
    training.train(recipe, small_faces, tmp_path, steps=240, watch=measure.Watch(20, told.append))
    assert len(told) == 1 and "D has won" in told[0]


def test_a_generator_that_paints_one_face_is_told(small_faces, tmp_path):
    told = []
    watch = measure.Watch(100, told.append)

    def collapsing(game, history, done=False):
        with torch.no_grad():
            game.G.net[0].weight.zero_()  # whatever the code, the features are the same
        watch(game, history, done)

    recipe = recipes.get("bce", width=4, size=32, batch=4)
    training.train(recipe, small_faces, tmp_path, steps=301, watch=collapsing)
    assert [line.partition(" (")[0] for line in told] == ["Warning at step 300: collapse: the faces are alike"]
