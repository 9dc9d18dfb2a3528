"""conditional: what is wanted goes into both networks; the parts add up; files come back."""

import json
from pathlib import Path

import pytest
import torch
from small_runs import DEFAULT
from torch.nn import functional as F

from animegan_helpers import drawn
from animegan_helpers.checkpoints import CheckpointError
from animegan_helpers.conditional import (
    CONDITIONED,
    SHIPPED,
    ConditionalGenerator,
    ConditionalTrainer,
    Conditioned,
    ConditionEmbedding,
    ProjectionDiscriminator,
    are_met,
    condition,
    conditional_step,
    load_conditional,
    read_conditions,
    sample,
    save_conditional,
)
from animegan_helpers.discriminator import Discriminator
from animegan_helpers.generator import Generator
from animegan_helpers.judge import ATTRIBUTE_NAMES, HIDDEN, extract_features, load_judge
from animegan_helpers.losses import Relativistic
from animegan_helpers.prepare import prepare
from animegan_helpers.trainer import train_step


def some_conditions(count, seed=0):
    """-> random conditions (count, 4)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [len(drawn.ATTRIBUTES[name]) for name in CONDITIONED]
    columns = [torch.randint(size, (count,), generator=generator) for size in sizes]
    return torch.stack(columns, dim=1)


def small_generator():
    torch.manual_seed(0)
    return ConditionalGenerator(width=4, z_dim=8, size=16, dim=6)


# ---- conditions ----


def test_a_condition_is_the_index_of_each_value_and_the_first_value_by_default():
    expected = [drawn.ATTRIBUTES["hair_color"].index("blue"), 0, 2, 0]
    assert condition(hair_color="blue", eyes="closed").tolist() == expected
    assert condition().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "values, words",
    [
        ({"hair_color": "turquoise"}, ["turquoise", "hair_color", "black, brown, red"]),
        ({"eyes": "blue"}, ["'blue'", "eyes", "open, half, closed, wink"]),
        ({"hat": "top hat"}, ["'hat'", "hair_color, eye_color, eyes, accessory"]),
        ({"mouth": "smile"}, ["'mouth'", "hair_color, eye_color, eyes, accessory"]),
    ],
)
def test_an_unknown_value_is_refused_by_name_together_with_the_known_ones(values, words):
    with pytest.raises(ValueError) as error:
        condition(**values)
    assert all(word in str(error.value) for word in words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("faces") / "drawn", count=40, seed=3, workers=1)


def test_conditions_are_read_from_the_labels_and_keep_the_color_of_closed_eyes(folder):
    faces = prepare(folder, folder.parent / "prepared")
    conditions = read_conditions(faces, folder)
    rows = drawn.read_labels(folder)
    assert "closed" in {row["eyes"] for row in rows}
    for row, numbers in zip(rows, conditions):
        assert torch.equal(numbers, condition(**{name: row[name] for name in CONDITIONED}))
    with pytest.raises(FileNotFoundError, match="only synthetic faces have labels"):
        read_conditions(faces, folder.parent)


def test_a_condition_is_met_value_by_value_and_closed_eyes_have_no_color():
    wanted = torch.stack([condition(hair_color="red"), condition(eyes="closed")])
    predicted = torch.zeros(2, len(ATTRIBUTE_NAMES), dtype=torch.long)
    predicted[0, ATTRIBUTE_NAMES.index("eye_color")] = HIDDEN  # its eyes are closed
    met = are_met(predicted, wanted)
    assert met[0].tolist() == [0, 0, 1, 1], "the wrong hair, no color to be seen"
    assert met[1].nan_to_num(-1).tolist() == [1, -1, 0, 1]


# ---- networks ----


def test_the_embedding_of_a_combination_is_the_sum_of_vectors_that_others_trained():
    embedding = ConditionEmbedding(5)
    a = condition(hair_color="blue", eye_color="gold")
    b = condition(hair_color="pink", eye_color="red")
    mixed = condition(hair_color="blue", eye_color="red")
    other = condition(hair_color="pink", eye_color="gold")
    vectors = embedding(torch.stack([a, b, mixed, other]))
    assert vectors.shape == (4, 5)
    assert torch.allclose(vectors[0] + vectors[1], vectors[2] + vectors[3], atol=1e-6)
    by_hand = sum(table.weight[i] for table, i in zip(embedding.tables, mixed))
    assert torch.allclose(vectors[2], by_hand)


def test_the_generator_is_the_packages_with_the_embedding_beside_z():
    G = small_generator()
    z = torch.randn(3, 8)
    conditions = some_conditions(3)
    assert isinstance(G.net, Generator)
    beside = torch.cat([z, G.embedding(conditions)], dim=1)
    G.eval()
    assert torch.equal(G(z, conditions), G.net(beside))
    assert G(z, conditions).shape == (3, 3, 16, 16)
    assert torch.equal(sample(G, conditions, 5), sample(G, conditions, 5))


def test_projection_is_the_discriminators_logit_plus_an_inner_product():
    torch.manual_seed(0)
    D = ProjectionDiscriminator(width=4, size=16)
    images = torch.randn(3, 3, 16, 16)
    conditions = some_conditions(3)
    logits = D(images, conditions)
    features = D.features(images).flatten(1)
    plain = F.conv2d(D.features(images), D.unconditional[0].weight).flatten()
    for i in range(3):
        vector = sum(table.weight[k] for table, k in zip(D.embedding.tables, conditions[i]))
        assert torch.allclose(logits[i], plain[i] + vector @ features[i], atol=1e-5)


def test_without_an_embedding_the_projection_discriminator_is_the_packages():
    torch.manual_seed(0)
    plain = Discriminator(4, 16, "none", init="he")
    torch.manual_seed(0)
    D = ProjectionDiscriminator(width=4, size=16)
    for table in D.embedding.tables:
        table.weight.data.zero_()
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(D(images, some_conditions(3)), plain(images))


# ---- training ----


class Recorder(torch.nn.Module):
    """A network that keeps the conditions it was called with."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.seen = []

    def forward(self, x, conditions):
        self.seen.append(conditions)
        return self.network(x, conditions)


def test_a_real_image_and_its_fake_share_one_condition_in_every_call():
    G = Recorder(small_generator())
    D = Recorder(ProjectionDiscriminator(4, 16))
    optimizers = [torch.optim.Adam(network.parameters(), 1e-3) for network in (G, D)]
    conditions = some_conditions(4)
    real = torch.randn(4, 3, 16, 16)
    z = torch.randn(4, 8)
    options = {"loss": Relativistic(), "r1": 2.0}
    conditional_step(G, D, *optimizers, real, z, conditions, **options)
    assert len(G.seen) == 1 and len(D.seen) == 4, "fakes, real and fake, R1, G's turn"
    assert all(torch.equal(seen, conditions) for seen in G.seen + D.seen)


def test_the_conditional_step_is_the_packages_on_networks_that_hold_the_conditions():
    results = []
    conditions = some_conditions(4)
    for is_package in (False, True):
        G = small_generator()
        D = ProjectionDiscriminator(4, 16)
        optimizers = [torch.optim.Adam(network.parameters(), 1e-3) for network in (G, D)]
        torch.manual_seed(1)
        real = torch.randn(4, 3, 16, 16)
        z = torch.randn(4, 8)
        if is_package:
            networks = [Conditioned(G, conditions), Conditioned(D, conditions)]
            numbers = train_step(*networks, *optimizers, real, z)
        else:
            numbers = conditional_step(G, D, *optimizers, real, z, conditions)
        results.append([*numbers, *G.parameters(), *D.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def steps_of(seed, steps=3):
    conditions = some_conditions(12)
    trainer = ConditionalTrainer(DEFAULT, conditions, seed)
    images = torch.randint(256, (12, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    for step in range(steps):
        rows = range(4 * step, 4 * step + 4)
        trainer.step(images[list(rows)].to(torch.uint8), conditions[list(rows)])
    return trainer


def test_all_parts_learn_and_the_ema_follows():
    trainer = steps_of(0)
    start = steps_of(0, steps=0)
    for network in ("G", "D", "G_ema"):
        before = getattr(start, network).state_dict()
        after = getattr(trainer, network).state_dict()
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        assert [name for name in changed if "embedding" in name], network
    assert not trainer.ema_generator().training
    assert trainer.fixed_faces(5).shape == (5, 3, 16, 16)
    assert torch.equal(trainer.fixed_faces(5), trainer.fixed_faces(5))


@pytest.mark.parametrize("changes", [{"g_activation": "leaky_relu"}, {"d_norm_first": True}])
def test_a_recipe_that_the_networks_cannot_follow_is_refused(changes):
    with pytest.raises(ValueError, match="lack g_activation and d_norm_first"):
        ConditionalTrainer(DEFAULT.changed(**changes), torch.zeros(4, 4, dtype=torch.long))


def test_a_seed_decides_everything_and_a_state_goes_on():
    trainer = steps_of(1)
    assert torch.equal(trainer.fixed_faces(4), steps_of(1).fixed_faces(4))
    other = ConditionalTrainer(DEFAULT, some_conditions(12), 1)
    other.load_state(trainer.state())
    assert torch.equal(other.fixed_faces(4), trainer.fixed_faces(4))


# ---- files ----


def test_a_generator_comes_back_from_its_file_in_half_precision(tmp_path):
    G = small_generator().eval()
    conditions = some_conditions(6)
    back = load_conditional(save_conditional(G, tmp_path / "G.safetensors"))
    assert not back.training and back.z_dim == 8
    difference = (sample(back, conditions, 0) - sample(G, conditions, 0)).abs().max()
    assert difference < 0.01
    assert next(G.parameters()).dtype == torch.float32, "G itself stays as it was"


def test_a_file_of_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("no weights here")
    with pytest.raises(CheckpointError, match="notes.safetensors"):
        load_conditional(path)
    with pytest.raises(CheckpointError, match="missing.safetensors"):
        load_conditional(tmp_path / "missing.safetensors")


# ---- the generator that comes with the package, and how it was made ----


@pytest.fixture
def script(monkeypatch):
    """The benchmark that makes it, as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import conditional

    return conditional


def test_the_shipped_generator_is_small_and_meets_hair_colors():
    assert SHIPPED.stat().st_size < 1.2e6
    conditions = some_conditions(200)
    images = sample(load_conditional(), conditions, 0)
    judge = load_judge()
    met = are_met(judge.attributes(extract_features(judge, images)), conditions)
    assert met[:, 0].mean() > 0.9 and met[:, 1].nanmean() > 0.4


def test_it_learned_without_the_held_out_pair_and_with_few_of_the_rare_one(script):
    conditions = some_conditions(4000)
    kept = conditions[script.training_rows(conditions)]
    assert script.has_pair(conditions, script.HELD_OUT).sum() > 20
    assert script.has_pair(kept, script.HELD_OUT).sum() == 0
    assert script.has_pair(kept, script.RARE).sum() == script.RARE_COUNT
    other = condition(**script.HELD_OUT | {"eye_color": "blue"})
    assert (kept[:, :2] == other[:2]).all(dim=1).any()


def test_page_12_holds_out_the_same_pairs_as_the_benchmark(script):
    page = Path(__file__).parent.parent / "notebooks" / "12_tell_it_what_to_generate.ipynb"
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    for name in ("HELD_OUT", "RARE"):
        assert f"{name} = {json.dumps(getattr(script, name))}\n" in code


def test_concatenation_depends_on_the_condition(script):
    torch.manual_seed(0)
    D = script.ConcatenationDiscriminator(4, 16, "none", "he")
    images = torch.randn(3, 3, 16, 16)
    assert not torch.allclose(D(images, some_conditions(3)), D(images, some_conditions(3, 1)))
