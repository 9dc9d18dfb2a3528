"""dataset: prepared faces and lazy folders, one protocol for both, and the order of batches."""

import itertools
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import warnings

import numpy as np
import pytest
import torch
from common import UNREADABLE, noise_image, write_damaged
from torch.utils.data import DataLoader, Subset, TensorDataset

from animegan_helpers import dataset
from animegan_helpers.dataset import (
    BatchOrder,
    Faces,
    LazyFaces,
    Report,
    batches,
    describe,
    split,
)
from animegan_helpers.images import read_image
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.speed import DeviceFaces


def take(count, iterable):
    return list(itertools.islice(iterable, count))


# ---- the protocol of both datasets ----


@pytest.fixture(params=["prepared", "lazy"])
def either(request, drawn_folder, tmp_path):
    """The same twelve faces, prepared or read from their folder."""
    if request.param == "lazy":
        return LazyFaces(drawn_folder, 16)
    return prepare(drawn_folder, tmp_path / "prepared", size=16)


def test_a_row_a_slice_and_a_list_of_rows_mean_the_same_for_every_dataset(either):
    everything = either[:]
    assert everything.shape == (12, 16, 16, 3)
    assert everything.dtype == torch.uint8
    assert len(either) == 12
    assert either[3].shape == (16, 16, 3)
    assert torch.equal(either[3], everything[3])
    assert torch.equal(either[-1], everything[11])
    assert torch.equal(either[np.int64(2)], everything[2])
    assert torch.equal(either[2:5], everything[2:5])
    assert torch.equal(either[::4], everything[::4])
    for rows in ([7, 1, 2], range(7, 9), np.array([7, 1]), torch.tensor([7, 1, 1])):
        assert torch.equal(either[rows], everything[[int(row) for row in rows]])
    with pytest.raises(IndexError):
        either[12]


def test_a_plain_data_loader_and_a_subset_accept_every_dataset(either):
    loaded = list(DataLoader(either, batch_size=4))
    assert [tuple(batch.shape) for batch in loaded] == [(4, 16, 16, 3)] * 3
    assert torch.equal(torch.cat(loaded), either[:])
    part = Subset(either, [5, 0, 9])
    assert torch.equal(part[[2, 0]], either[[9, 5]])
    (shuffled,) = DataLoader(part, batch_size=3, shuffle=True)
    assert shuffled.shape == (3, 16, 16, 3)


def test_a_worker_gets_the_folder_of_a_prepared_set_and_not_its_pixels(drawn_folder, tmp_path):
    faces = prepare(drawn_folder, tmp_path)
    pickled = pickle.dumps(faces)
    assert len(pickled) < 1000
    assert torch.equal(pickle.loads(pickled)[:], faces[:])


def test_a_set_has_the_name_of_its_folder_even_if_it_is_the_current_one(
    drawn_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(drawn_folder)
    assert describe(prepare(".", tmp_path))["name"] == drawn_folder.name
    assert describe(LazyFaces("."))["name"] == drawn_folder.name


def test_the_pixels_of_a_dataset_are_copies(either):
    before = either[:]
    for pixels in (either[0], either[:2], either[[0, 1]]):
        pixels.zero_()
    assert torch.equal(either[:], before)
    assert before.any()


# ---- prepared sets ----


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "garbage": lambda content: b"\x93\x00{[\xff" * 30,
    "a zip": lambda content: b"PK\x03\x04" + content,
    "another kind of text": lambda content: b"[1, 2]",
    "a line more": lambda content: content + b"\nmore",
}
# These leave as many images and names as before, so they can't be noticed.
UNNOTICED = {("faces.npy", "a line more"), ("names.txt", "a zip")}
NOTICED = [
    pair
    for pair in itertools.product(["report.json", "names.txt", "faces.npy"], DAMAGES)
    if pair not in UNNOTICED
]


@pytest.mark.parametrize("name, damage", NOTICED)
def test_a_damaged_set_is_reported_or_prepared_again(drawn_folder, tmp_path, name, damage):
    faces = prepare(drawn_folder, tmp_path, 16)
    pixels = np.array(faces.array)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()  # a mapped file must not be cut
    (tmp_path / name).write_bytes(DAMAGES[damage](content))
    folder = re.escape(str(tmp_path))
    message = f"{folder} does not hold a complete prepared set .*: prepare its images again"
    with pytest.raises(ValueError, match=message):
        Faces(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_faces(tmp_path, 16)
    assert (prepare(drawn_folder, tmp_path, 16).array == pixels).all()
    assert (faces.array == pixels).all(), "a set that was open stays as it was"


@pytest.mark.parametrize("name", ["report.json", "names.txt", "faces.npy"])
def test_a_set_with_a_missing_file_is_reported(drawn_folder, tmp_path, name):
    prepare(drawn_folder, tmp_path, 16)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="does not hold a complete prepared set"):
        Faces(tmp_path)
    with pytest.raises(ValueError, match="does not hold a complete prepared set"):
        load_faces(tmp_path, 16)


def test_a_report_with_a_field_of_another_type_is_reported(drawn_folder, tmp_path):
    prepare(drawn_folder, tmp_path, 16)
    report = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps(report | {"not_rgb": 0}))
    with pytest.raises(ValueError, match="not_rgb in report.json is not of type dict"):
        Faces(tmp_path)


def test_a_report_reads_as_a_list_of_counts():
    report = Report("set", "abc", 64, found=2304, unique=2301, unusual=["d.png", "e.png"])
    report.not_rgb = {"b.png": "L"}
    report.duplicates = {"deep/a.png": "a.png", "deep/b.png": "b.png"}
    report.unreadable = {"c.png": "it is not an image"}
    report.repeated = {"deep": "."}
    report.sizes = {"64x64": 2299, "32x32": 2, "16x16": 1, "8x8": 1}
    assert str(report).splitlines() == [
        "    2,304  images found in set",
        "        1  can't be read (left out)",
        "        1  are not RGB (converted)",
        "        0  are tiny, under half of 64 pixels (kept)",
        "        2  are exact duplicates, byte for byte (left out)",
        "    2,301  unique images prepared at 64x64",
        "           sizes: 64x64 (2,299), 32x32 (2), 16x16 (1) ...",
        "           the folder deep repeats .: all its 2 images",
        "           most unusual: d.png, e.png ...",
    ]


# ---- lazy folders ----


def test_a_lazy_batch_opens_its_own_images_and_no_others(drawn_folder, monkeypatch):
    opened = []
    read = dataset.read_image

    def read_and_remember(path, size):
        opened.append(path)
        return read(path, size)

    monkeypatch.setattr(dataset, "read_image", read_and_remember)
    lazy = LazyFaces(drawn_folder)
    assert len(lazy) == 12
    assert opened == []
    for rows, batch in itertools.islice(zip(BatchOrder(12, 4), batches(lazy, 4)), 3):
        assert opened == [lazy.paths[row] for row in rows]
        assert batch.shape == (4, 64, 64, 3)
        opened.clear()


def test_lazy_and_prepared_faces_have_the_same_pixels(drawn_folder, tmp_path):
    lazy = batches(LazyFaces(drawn_folder, 32), 4)
    prepared = batches(prepare(drawn_folder, tmp_path, 32), 4)
    for one, other in take(4, zip(lazy, prepared)):
        assert torch.equal(one, other)


@pytest.fixture
def damaged(tmp_path):
    """A folder of 40 good files and 24 damaged ones -> the names of the 18 unreadable ones."""
    for i in range(40):
        noise_image(i).save(tmp_path / f"{i:03d}_good.bmp")
    kinds = write_damaged(tmp_path, 24)
    return {name for name, kind in kinds.items() if kind in UNREADABLE}


def test_a_lazy_loader_skips_bad_files_and_warns_of_each_once(damaged, tmp_path):
    lazy = LazyFaces(tmp_path, 16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        take(16, batches(lazy, 8))  # two epochs
    assert len(caught) == len(damaged) == 18
    assert {str(warning.message).split(" ")[0] for warning in caught} == damaged


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to processes")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_workers_leave_signals_of_a_terminal_to_the_main_process(name, faces):
    """Ctrl-C reaches the workers, too, and so does its end; but the current step is finished."""
    number = getattr(signal, name)
    others = set(multiprocessing.active_children())
    order = iter(batches(faces, 4, seed=5, workers=2))
    whole = [next(order), next(order)]  # one of each worker: both have begun
    workers = set(multiprocessing.active_children()) - others
    for worker in workers:
        os.kill(worker.pid, number)
    whole += [next(order) for _ in range(10)]
    assert len(workers) == 2 and all(worker.is_alive() for worker in workers)
    assert all(torch.equal(a, b) for a, b in zip(whole, take(12, batches(faces, 4, seed=5))))


@pytest.mark.filterwarnings("ignore")
def test_a_lazy_loader_skips_the_same_files_in_workers(damaged, tmp_path):
    one = take(16, batches(LazyFaces(tmp_path, 16), 8))
    other = take(16, batches(LazyFaces(tmp_path, 16), 8, workers=2))
    assert len(one) == len(other) == 16
    assert all(torch.equal(a, b) for a, b in zip(one, other))


@pytest.mark.filterwarnings("ignore")
def test_the_next_readable_image_is_used_instead_of_a_bad_one(damaged, tmp_path):
    lazy = LazyFaces(tmp_path, 16)
    names = [path.name for path in lazy.paths]
    last = max(names.index(name) for name in damaged)
    following = next(path for path in lazy.paths[last:] if path.name not in damaged)
    assert (lazy[[last]][0].numpy() == read_image(following, 16)).all()


@pytest.mark.filterwarnings("ignore")
def test_a_lazy_loader_with_nothing_to_read_says_so(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("not an image")
    message = "neither .*1.png nor the 100 images after it can be read: prepare"
    with pytest.raises(ValueError, match=message):
        LazyFaces(tmp_path)[[1]]


# ---- the order of batches ----


def first(count, *arguments):
    return take(count, BatchOrder(*arguments))


def test_every_epoch_shows_each_image_once_in_another_order():
    epochs = np.reshape(first(9, 12, 4), (3, 12)).tolist()
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_rest_of_an_epoch_makes_no_small_batch():
    epochs = first(6, 14, 4)
    for epoch in (epochs[:3], epochs[3:]):
        assert len(set(itertools.chain(*epoch))) == 12


def test_another_seed_gives_another_order_and_the_same_seed_the_same():
    assert first(3, 12, 4, 1) == first(3, 12, 4, 1)
    assert first(3, 12, 4, 1) != first(3, 12, 4, 2)


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_the_order_continues_where_it_was_interrupted(start):
    assert first(4, 12, 4, 0, start) == first(start + 4, 12, 4, 0)[start:]


def test_fewer_images_than_a_batch_are_reported():
    with pytest.raises(ValueError, match="3 images are fewer than one batch of 4"):
        BatchOrder(3, 4)


def test_the_length_of_the_order_is_that_of_an_epoch():
    assert len(BatchOrder(14, 4)) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_continue_where_they_were_interrupted_with_workers_too(faces, workers):
    complete = take(7, batches(faces, 4, seed=5))
    rest = take(2, batches(faces, 4, seed=5, start=5, workers=workers))
    assert complete[0].shape == (4, 16, 16, 3)
    assert complete[0].dtype == torch.uint8
    assert torch.equal(complete[5], rest[0])
    assert torch.equal(complete[6], rest[1])
    assert not torch.equal(complete[0], complete[4]), "the second epoch has another order"


# ---- the split ----


def test_a_split_is_disjoint_and_complete_and_follows_its_seed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train, held_out = split(1000, held_out=0.1, seed=4)
    assert (len(train), len(held_out)) == (900, 100)
    assert sorted(train + held_out) == list(range(1000))
    assert split(1000, 0.1, seed=4) == (train, held_out)
    assert split(1000, 0.1, seed=5) != (train, held_out)
    assert torch.equal(torch.get_rng_state(), before), "no other randomness is touched"


@pytest.mark.parametrize("count, share", [(3, 0.1), (10, 0.0), (10, 1.0), (0, 0.5)])
def test_a_split_with_an_empty_part_is_refused(count, share):
    with pytest.raises(ValueError, match="both parts need a face"):
        split(count, share)


# ---- what a set is called ----


def test_a_set_is_described_by_its_folder_also_a_part_of_it_and_on_a_device(
    faces, drawn_folder, tmp_path
):
    expected = {"name": "noise", "labeled": False, "images": len(faces)}
    assert describe(faces) == describe(DeviceFaces(faces, "cpu")) == expected
    assert describe(Subset(faces, [1, 2])) == expected | {"images": 2}
    drawn = prepare(drawn_folder, tmp_path / "drawn_16", 16)
    assert describe(drawn) == {"name": drawn_folder.name, "labeled": True, "images": len(drawn)}
    lazy = LazyFaces(drawn_folder, 16)
    assert describe(lazy) == {"name": drawn_folder.name, "labeled": True, "images": len(lazy)}
    assert describe(TensorDataset(torch.zeros(3)))["name"] == "TensorDataset"


def test_a_set_with_a_labels_csv_of_other_labels_is_not_described_as_labeled(
    drawn_folder, tmp_path
):
    folder = shutil.copytree(drawn_folder, tmp_path / "set")
    (folder / "labels.csv").write_text("image_id,tags\n000000,blue hair\n")
    assert not describe(LazyFaces(folder, 16))["labeled"]
    assert not describe(prepare(folder, tmp_path / "out", 16))["labeled"]
