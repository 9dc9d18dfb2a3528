"""A shared generator survives its file; the pretrained one is there; the newest run is found."""

import functools
import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_generators import small_generator, two_directions

from animegan_helpers import __version__, checkpoints, pretrained, recipe_json, recipes
from animegan_helpers.checkpoints import CheckpointError, atomic_write, save
from animegan_helpers.generator import generate, make_generator, sample, sample_z
from animegan_helpers.judge import PRETRAINED
from animegan_helpers.latent import SCALES, attribute_directions
from animegan_helpers.training import train

NAMES = list(SCALES)
# Width 3: no number of channels is a multiple of four.
SHAPES = {
    "16 pixels, LeakyReLU": {"width": 3, "z_dim": 5, "size": 16, "activation": "leaky_relu"},
    "32 pixels": {"width": 4, "z_dim": 8, "size": 32, "activation": "relu"},
    "64 pixels": {"width": 6, "z_dim": 100, "size": 64, "activation": "relu"},
    "128 pixels": {"width": 2, "z_dim": 7, "size": 128, "activation": "relu"},
}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request):
    return SHAPES[request.param]


@pytest.fixture(scope="module")
def G(shape):
    """One generator of each shape. Read-only."""
    return small_generator(random_shift=True, **shape)


@pytest.fixture(scope="module")
def small():
    """A small generator and two directions. Read-only."""
    return small_generator(width=4, z_dim=8, size=16), two_directions()


# ---- files ----


def test_the_arguments_of_a_generator_are_read_off_its_layers(G, shape):
    assert pretrained.generator_arguments(G) == shape


def test_a_generator_comes_back_bit_for_bit(G, tmp_path):
    directions = dict(zip("ab", torch.randn(2, G.z_dim)))
    content = pretrained.to_safetensors(G, directions)
    path = atomic_write(tmp_path / "g.safetensors", content)
    loaded, loaded_directions = pretrained.load_safetensors(path)
    with open(path, "r+b") as file:  # nothing that was loaded is still in the file
        file.write(bytes(len(content)))
    assert not loaded.training
    assert list(loaded_directions) == ["a", "b"]
    assert all(torch.equal(loaded_directions[name], directions[name]) for name in directions)
    weights = loaded.state_dict()
    assert weights.keys() == G.state_dict().keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in G.state_dict().items())
    z = sample_z(4, G.z_dim, 3)
    assert torch.equal(generate(G, z), generate(loaded, z))


def test_recipe_and_version_are_in_the_metadata(small, tmp_path):
    recipe = recipes.get("paper")
    content = pretrained.to_safetensors(*small, recipe)
    with safe_open(atomic_write(tmp_path / "g.safetensors", content), "pt") as file:
        metadata = file.metadata()
    assert recipe_json.from_json(json.loads(metadata["recipe"])) == recipe
    assert metadata["version"] == __version__


def test_loading_leaves_the_global_rng_untouched(small, tmp_path):
    path = atomic_write(tmp_path / "g.safetensors", pretrained.to_safetensors(*small))
    before = torch.get_rng_state()
    pretrained.load_safetensors(path)
    pretrained.load_pretrained()
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_made_by_version_0_1_is_refused_with_the_cure(small, tmp_path):
    G, directions = small
    path = tmp_path / "old.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in G.state_dict().items()}
    tensors["directions"] = torch.stack(list(directions.values()))
    metadata = {
        "generator": json.dumps(pretrained.generator_arguments(G)),
        "directions": json.dumps(list(directions)),
    }
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="old.safetensors was made by version 0.1: share"):
        pretrained.load_safetensors(path)


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("damage", ["missing", "cut", "pickle", "text", "other program"])
def test_a_file_that_is_not_a_shared_generator_is_refused_and_runs_no_code(small, tmp_path, damage):
    path = tmp_path / "g.safetensors"
    content = pretrained.to_safetensors(*small)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "pickle":
        torch.save({"weights": Attack(tmp_path / "attacked")}, path)
    elif damage == "text":
        path.write_bytes(b"I am not a generator")
    elif damage == "other program":
        save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="g.safetensors is not a shared generator"):
        pretrained.load_safetensors(path)
    assert not (tmp_path / "attacked").exists()


# ---- the pretrained generator ----


def test_the_pretrained_generator_loads_within_a_second():
    pretrained.load_pretrained()
    start = time.process_time()
    pretrained.load_pretrained()
    assert time.process_time() - start < 1


def test_the_pretrained_generator_is_always_the_same():
    G, directions = pretrained.load_pretrained()
    again, directions_again = pretrained.load_pretrained()
    assert not G.training
    assert list(directions) == NAMES
    for name, direction in directions.items():
        assert direction.shape == (G.z_dim,)
        assert torch.equal(direction, directions_again[name])
    lengths = torch.stack(list(directions.values())).norm(dim=1)
    assert lengths == pytest.approx(1.0, abs=0.01)
    faces = sample(G, 4, 1)
    assert torch.equal(faces, sample(again, 4, 1))
    assert faces.shape == (4, 3, 64, 64)
    assert faces.abs().max() <= 1
    assert torch.pdist(faces.flatten(1)).min() > 10


def test_the_pretrained_generator_names_its_recipe_and_version():
    with safe_open(PRETRAINED / "generator.safetensors", "pt") as file:
        metadata = file.metadata()
    assert recipe_json.from_json(json.loads(metadata["recipe"])) == recipes.get("pretrained")
    assert metadata["version"] == "0.2.0"


def test_the_pretrained_tables_have_the_names_that_measuring_gives():
    tables = json.loads((PRETRAINED / "tables.json").read_text(encoding="utf-8"))
    names = {"FID", "KID x 1000", "sliced Wasserstein", "hair and eye color pairs"}
    names |= {"total variation distance, %", "precision, %", "recall, %"}
    floor = {f"{name} (real)" for name in names}
    assert set(tables["measures"]) == names | floor | {"copies, %"}
    for part in ("second judge's measures", "measures as trained"):
        assert set(tables[part]) == names | floor
    assert tables["training images"] == 32_768
    assert list(tables["effects"]) == NAMES
    for row in tables["effects"].values():
        assert set(row) == {"correct", "moves"}


def test_the_pretrained_generators_factor_is_the_one_with_the_lowest_fid():
    tables = json.loads((PRETRAINED / "tables.json").read_text(encoding="utf-8"))
    distances = tables["FID by factor"]
    factor = min(distances, key=distances.get)
    card = (PRETRAINED / "README.md").read_text(encoding="utf-8")
    assert f"was multiplied by\n{factor}." in card
    assert f"{distances[factor]:.2f} with {factor}" in card


def test_a_lengthened_generator_does_what_longer_latent_vectors_do(small, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    from make_pretrained import lengthened

    G, _ = small
    z = sample_z(8, G.z_dim, 5)
    faces = generate(G, z)
    longer = generate(lengthened(G, 1.2), z)
    assert torch.allclose(longer, generate(G, 1.2 * z), atol=1e-5)
    assert not torch.allclose(longer, faces, atol=1e-2)
    assert torch.equal(generate(G, z), faces)


# ---- the newest run ----


def write_run(home, name, seed, age, size=64):
    """The folder of a finished run, `age` seconds old."""
    recipe = recipes.get("default").changed(width=4, size=size)
    torch.manual_seed(seed)
    G = make_generator(recipe)
    run = home / "data" / "runs" / name
    save(G.state_dict(), run / "G.pth")
    atomic_write(run / "recipe.json", json.dumps(recipe_json.to_json(recipe)).encode())
    modified = time.time() - age
    os.utime(run / "G.pth", (modified, modified))
    return run


@pytest.fixture
def few_samples(monkeypatch):
    """Attribute directions are fitted to few faces, to save time."""
    few = functools.partial(attribute_directions, samples=200)
    monkeypatch.setattr(pretrained, "attribute_directions", few)


def test_without_a_run_the_pretrained_generator_is_used(home):
    G, directions, source = pretrained.latest_or_pretrained()
    assert source == "the pretrained generator"
    assert list(directions) == NAMES
    assert G.z_dim == 128


def test_of_several_runs_the_newest_finished_one_is_used(home, few_samples):
    write_run(home, "new", seed=1, age=10)
    write_run(home, "old", seed=2, age=1000)
    (home / "data" / "runs" / "unfinished").mkdir()
    before = torch.get_rng_state()
    G, directions, source = pretrained.latest_or_pretrained()
    assert torch.equal(before, torch.get_rng_state())
    assert source == "your run new"
    assert list(directions) == NAMES
    for direction in directions.values():
        assert direction.shape == (G.z_dim,)
        assert direction.isfinite().all()


def test_a_run_can_be_named(home, few_samples):
    write_run(home, "new", seed=1, age=10)
    run = write_run(home, "old", seed=2, age=1000)
    assert pretrained.latest_or_pretrained(run)[2] == "your run old"


@pytest.mark.parametrize("size", [16, 32, 128])
def test_a_run_of_another_size_has_directions_and_the_source_says_that_it_was_resized(
    home, few_samples, size
):
    write_run(home, "page-05", seed=1, age=10, size=size)
    G, directions, source = pretrained.latest_or_pretrained()
    assert pretrained.generator_arguments(G)["size"] == size
    assert source == f"your run page-05, whose {size}-pixel faces were resized for the judge"
    assert list(directions) == NAMES
    for direction in directions.values():
        assert direction.shape == (G.z_dim,)
        assert direction.isfinite().all()


def test_a_run_on_faces_without_labels_gets_directions_that_need_none(home):
    run = write_run(home, "page-05", seed=1, age=10)
    data = {"name": "animefacedataset", "labeled": False, "images": 9}
    atomic_write(run / "data.json", json.dumps(data).encode())
    G, directions, source = pretrained.latest_or_pretrained()
    assert source == "your run page-05 on animefacedataset"
    assert list(directions) == [f"{kind} {i}" for kind in ("SeFa", "PCA") for i in (1, 2, 3, 4)]
    for direction in directions.values():
        assert direction.shape == (G.z_dim,)
        assert direction.norm() == pytest.approx(1, abs=1e-4)


@pytest.fixture
def chosen(home, small, monkeypatch):
    """-> a function that makes runs, the oldest first, and says which one is taken.

    Each is a name and the file that was saved last, G.pth or the checkpoint of a step.
    """
    monkeypatch.setattr(pretrained, "load_generator", lambda run: small[0])
    monkeypatch.setattr(pretrained, "attribute_directions", lambda G, judge: small[1])

    def choose(*files):
        modified = time.time() - 1000
        for file in files:
            path = atomic_write(home / "data" / "runs" / file, b"")
            modified += 1
            os.utime(path, (modified, modified))
        source = pretrained.latest_or_pretrained()[2]
        return source.removeprefix("your run ").partition(",")[0]

    return choose


STEP_0 = "checkpoints/step_00000000.pt"
STEP_64 = "checkpoints/step_00000064.pt"
CHOICES = {
    "page 09 came after page 05": (
        "page-05",
        ["page-05/G.pth", "page-09-all/G.pth", "page-09-pink/G.pth", "page-09-scratch/G.pth"],
    ),
    "page 05 was run twice": ("page-05-2", ["page-05/G.pth", "page-05-2/G.pth"]),
    "the first run of page 05 was resumed": ("page-05", ["page-05-2/G.pth", "page-05/G.pth"]),
    "a run of your own came after page 05": ("page-05", ["page-05/G.pth", "first/G.pth"]),
    "without page 05, a run of your own": (
        "second",
        ["first/G.pth", "second/G.pth", "page-09-all/G.pth"],
    ),
    "only other pages": ("the pretrained generator", ["page-09-all/G.pth", "page-050/G.pth"]),
    "nothing": ("the pretrained generator", []),
    "no run, but a file": ("the pretrained generator", ["notes.txt"]),
    "the newest run was killed": ("page-05-2", ["page-05/G.pth", f"page-05-2/{STEP_64}"]),
    "the older run was killed": ("page-05-2", [f"page-05/{STEP_64}", "page-05-2/G.pth"]),
    "both were killed": ("page-05", [f"page-05-2/{STEP_64}", f"page-05/{STEP_64}"]),
    "a finished run was resumed, then killed": (
        "page-05",
        ["page-05/G.pth", "page-05-2/G.pth", f"page-05/{STEP_64}"],
    ),
    "the newest run was killed before its first save": (
        "page-05",
        ["page-05/G.pth", f"page-05-2/{STEP_0}"],
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_run_that_the_reader_means_is_taken(chosen, name):
    expected, files = CHOICES[name]
    assert chosen(*files) == expected


def test_a_checkpoint_that_another_process_deletes_meanwhile_is_no_obstacle(chosen, monkeypatch):
    saved = checkpoints.saved

    def saved_a_moment_ago(run):
        return [checkpoints.at_step(run, 32), *saved(run), checkpoints.at_step(run, 128)]

    monkeypatch.setattr(checkpoints, "saved", saved_a_moment_ago)
    assert chosen("page-05/G.pth", f"page-05-2/{STEP_64}") == "page-05-2"


def test_the_run_of_another_page_can_be_named(home, few_samples):
    write_run(home, "page-05", seed=1, age=10)
    run = write_run(home, "page-09-pink", seed=2, age=1000)
    assert pretrained.latest_or_pretrained(run)[2] == "your run page-09-pink"


def test_a_run_that_was_killed_is_taken_at_its_newest_checkpoint(home, faces, few_samples):
    recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
    run = home / "data" / "runs" / "page-05"
    finished = train(recipe, faces, run, steps=2).ema_generator()
    (run / "G.pth").unlink()
    with pytest.warns(UserWarning, match="page-05 has not finished"):
        G, _, source = pretrained.latest_or_pretrained()
    assert source == "your run page-05 on noise"
    assert torch.equal(sample(G, 4, 1), sample(finished, 4, 1))


def test_a_folder_that_is_not_a_run_is_refused_by_name(home):
    with pytest.raises(CheckpointError, match="nowhere"):
        pretrained.latest_or_pretrained("nowhere")
