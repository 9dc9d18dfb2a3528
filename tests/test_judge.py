"""The judge learns the attributes of synthetic faces, and says clearly what it can't use."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Subset

from animegan_helpers import drawn
from animegan_helpers.checkpoints import CheckpointError, save
from animegan_helpers.images import to_tensor
from animegan_helpers.judge import (
    ATTRIBUTE_NAMES,
    HIDDEN,
    accuracy,
    extract_features,
    image_batches,
    load_judge,
    resize_for_judge,
    resizing_note,
    save_judge,
    train_judge,
    true_labels,
)
from animegan_helpers.prepare import prepare
from animegan_helpers.rng import rng

COUNT = 300
OTHER_SIZES = [16, 32, 128]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("judge") / "drawn", count=COUNT, seed=3, workers=1)


@pytest.fixture(scope="module")
def prepared(folder):
    return prepare(folder, folder.parent / "prepared")


@pytest.fixture(scope="module")
def labels(prepared, folder):
    return true_labels(prepared, folder)


@pytest.fixture(scope="module")
def judge(prepared, labels):
    return train_judge(prepared, labels, epochs=10, batch=32)


@pytest.fixture
def global_rng_untouched():
    """Torch's global random state is the same before and after the test."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


# ---- labels ----


def test_labels_are_in_the_order_of_the_faces_names(folder, prepared, labels):
    row = COUNT // 2
    face = drawn.attributes(3, row)
    assert prepared.names[row].endswith(f"{row:06d}.png")
    for name, label in zip(ATTRIBUTE_NAMES, labels[row].tolist()):
        if face["eyes"] == "closed" and name in ("eye_color", "eye_shape"):
            assert label == HIDDEN
        else:
            assert label == drawn.ATTRIBUTES[name].index(face[name])
    reversed_faces = SimpleNamespace(names=prepared.names[::-1])
    assert torch.equal(true_labels(reversed_faces, folder), labels.flip(0))


def test_color_and_shape_of_closed_eyes_are_hidden(labels):
    closed_eyes = drawn.ATTRIBUTES["eyes"].index("closed")
    is_closed = labels[:, ATTRIBUTE_NAMES.index("eyes")] == closed_eyes
    assert 0 < is_closed.sum() < COUNT
    for name in ("eye_color", "eye_shape"):
        column = labels[:, ATTRIBUTE_NAMES.index(name)]
        assert torch.equal(column == HIDDEN, is_closed)


def test_missing_labels_raise_errors_that_name_what_is_missing(folder, prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="no labels.csv"):
        true_labels(prepared, tmp_path)
    with pytest.raises(ValueError, match="no row for 'other.png'"):
        true_labels(SimpleNamespace(names=["images/other.png"]), folder)


@pytest.mark.parametrize("header", ["", "image_id,tags", "file,hair_color", "file", "id,age"])
def test_the_labels_of_another_set_are_not_taken_for_those_of_synthetic_faces(
    folder, prepared, tmp_path, header
):
    (tmp_path / "labels.csv").write_text(f"{header}\n1,17\n")
    assert drawn.has_labels(folder) and not drawn.has_labels(tmp_path)
    with pytest.raises(FileNotFoundError, match="no labels.csv of synthetic faces"):
        true_labels(prepared, tmp_path)


# ---- training ----


def test_a_judge_learns_its_attributes_even_from_few_faces(judge, prepared, labels):
    fractions = accuracy(judge, prepared, labels)
    assert list(fractions) == list(drawn.ATTRIBUTES)
    assert fractions["hair_color"] > 0.9
    assert fractions["skin"] > 0.9


def test_features_of_the_training_faces_have_mean_0_and_variance_1(judge, prepared):
    features = extract_features(judge, prepared)
    assert features.shape == (COUNT, 64)
    assert features.mean(0).abs().max() < 0.3
    assert 0.5 < features.var(0).mean() < 1.5


def test_a_judge_is_reproducible_from_its_seed(prepared, labels, global_rng_untouched):
    def train(seed):
        faces = Subset(prepared, range(40))
        judge = train_judge(faces, labels[:40], epochs=1, batch=20, seed=seed)
        return judge.state_dict()

    first = train(0)
    again = train(0)
    other = train(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["net.0.weight"], other["net.0.weight"])


@pytest.mark.parametrize("count", [256, 257, 258])
def test_a_judge_learns_from_any_number_of_faces(prepared, labels, count):
    faces = Subset(prepared, range(count))
    judge = train_judge(faces, labels[:count], epochs=1, batch=128)
    features = extract_features(judge, faces)
    assert features.mean(0).abs().mean() < 0.02
    assert 0.97 < features.var(0).mean() < 1.03


def test_faces_and_labels_of_different_numbers_are_refused(prepared, labels):
    with pytest.raises(ValueError, match=f"{COUNT} faces and 5 labels"):
        train_judge(prepared, labels[:5])


# ---- files ----


def test_a_judge_survives_saving_and_loading(judge, prepared, tmp_path, global_rng_untouched):
    path = save_judge(judge, tmp_path / "judge.pt")
    assert path.stat().st_size < 1_000_000
    loaded = load_judge(path)
    faces = Subset(prepared, range(50))
    assert not loaded.training
    features = extract_features(loaded, faces)
    assert torch.allclose(features, extract_features(judge, faces), atol=0.05)


def test_a_file_that_is_not_a_judge_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not a judge"):
        load_judge(save({"weight": torch.ones(2)}, tmp_path / "other.pt"))
    with pytest.raises(CheckpointError, match="does not exist"):
        load_judge(tmp_path / "none.pt")


def test_the_packages_judge_reads_synthetic_faces(prepared, labels):
    fractions = accuracy(load_judge(), prepared, labels)
    assert fractions["hair_color"] > 0.98
    assert min(fractions.values()) > 0.7


# ---- features ----


def prepared_at(folder, size):
    """-> the synthetic faces, prepared at another size."""
    return prepare(folder, folder.parent / f"prepared_{size}", size)


def test_faces_of_64_pixels_reach_the_network_bit_for_bit(judge, prepared):
    images = to_tensor(prepared[:8])
    assert resize_for_judge(images) is images
    with torch.no_grad():
        assert torch.equal(judge(images), judge.net(images))


@pytest.mark.parametrize("size", OTHER_SIZES)
def test_faces_of_another_size_are_resized(judge, size):
    images = torch.rand(5, 3, size, size, generator=rng(size)) * 2 - 1
    resized = F.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    features = extract_features(judge, images)
    assert features.shape == (5, 64)
    assert torch.equal(features, extract_features(judge, resized))


@pytest.mark.parametrize("size, least", [(16, 0.9), (32, 0.95), (128, 0.95)])
def test_the_packages_judge_reads_hair_and_skin_of_faces_of_another_size(
    folder, labels, size, least
):
    fractions = accuracy(load_judge(), prepared_at(folder, size), labels)
    assert fractions["hair_color"] > least
    assert fractions["skin"] > least


@pytest.mark.parametrize("size", OTHER_SIZES)
def test_a_judge_can_be_trained_on_faces_of_another_size(folder, labels, size):
    faces = Subset(prepared_at(folder, size), range(40))
    judge = train_judge(faces, labels[:40], epochs=1, batch=20)
    features = extract_features(judge, faces)
    assert features.isfinite().all()
    assert features.std() > 0.1


@pytest.mark.parametrize("size", OTHER_SIZES)
def test_a_note_names_both_sizes_where_faces_are_resized(size):
    assert f"{size}x{size} pixels" in resizing_note(size)
    assert "64x64" in resizing_note(size)
    assert resizing_note(64) == ""


WRONG_SHAPES = {
    "gray": (2, 1, 64, 64),
    "not square": (2, 3, 64, 32),
    "one image": (3, 64, 64),
    "channels last": (2, 64, 64, 3),
}


@pytest.mark.parametrize("kind", WRONG_SHAPES)
def test_what_are_not_square_color_images_is_refused_with_its_shape(judge, kind):
    shape = WRONG_SHAPES[kind]
    with pytest.raises(ValueError, match="square faces") as error:
        judge(torch.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("size", [8, 48, 100])
def test_a_size_that_no_recipe_has_is_refused(judge, size):
    with pytest.raises(ValueError, match=f"image size {size} can't work"):
        judge(torch.zeros(2, 3, size, size))


def test_extracting_features_leaves_the_network_as_it_was(prepared):
    network = nn.Sequential(nn.Conv2d(3, 4, 64), nn.BatchNorm2d(4), nn.Flatten()).train()
    before = [value.clone() for value in network.state_dict().values()]
    faces = Subset(prepared, range(20))
    features = extract_features(network, faces)
    assert network.training
    assert not features.requires_grad
    after = network.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize("training", [True, False])
def test_an_error_leaves_the_network_as_it_was(training):
    judge = load_judge().train(training)
    for images in (torch.zeros(2, 3, 48, 48), torch.zeros(2, 1, 64, 64)):
        with pytest.raises(ValueError):
            extract_features(judge, images)
        assert all(layer.training is training for layer in judge.modules())


def test_datasets_pixels_and_tensors_give_the_same_features(judge, prepared):
    faces = Subset(prepared, range(20))
    pixels = prepared[:20]
    features = extract_features(judge, faces)
    assert torch.equal(extract_features(judge, pixels), features)
    assert torch.equal(extract_features(judge, to_tensor(pixels)), features)


def test_image_batches_hold_every_face_once_in_order(prepared):
    batches = list(image_batches(prepared, size=128))
    assert [len(batch) for batch in batches] == [128, 128, 44]
    assert torch.equal(torch.cat(batches), to_tensor(prepared[:]))
