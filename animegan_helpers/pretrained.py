"""A generator with its directions becomes a safetensors file, and back. Used from page 00 on."""

import json
from contextlib import suppress
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from . import __version__, checkpoints, recipe_json
from .checkpoints import CheckpointError
from .device import run_folders
from .generator import Generator
from .judge import PRETRAINED, Judge, load_judge
from .latent import attribute_directions, unlabeled_directions
from .recipes import Recipe
from .runs import load_generator, read_data


def generator_arguments(G: Generator) -> dict:
    """A generator -> its arguments: `Generator(**generator_arguments(G))` has the same shapes."""
    convs = [layer for layer in G.net if isinstance(layer, nn.ConvTranspose2d)]
    is_leaky = isinstance(G.net[2], nn.LeakyReLU)
    return {
        "width": convs[-1].in_channels,
        "z_dim": G.z_dim,
        "size": 4 * 2 ** (len(convs) - 1),
        "activation": "leaky_relu" if is_leaky else "relu",
    }


def to_safetensors(
    G: Generator, directions: dict[str, Tensor], recipe: Recipe | None = None
) -> bytes:
    """A generator, its directions (z_dim,) by name, maybe its recipe -> a safetensors file.

    Its metadata say how to build the network again.
    """
    metadata = {
        "version": __version__,
        "generator": json.dumps(generator_arguments(G)),
        "directions": json.dumps(list(directions)),
    }
    if recipe is not None:
        metadata["recipe"] = json.dumps(recipe_json.to_json(recipe))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    tensors["directions"] = torch.stack(list(directions.values()))  # (K, z_dim)
    return safetensors.torch.save(tensors, metadata)


@torch.random.fork_rng(devices=[])  # initial weights are drawn, then replaced
def load_safetensors(path: str | Path) -> tuple[Generator, dict[str, Tensor]]:
    """A file of `to_safetensors` -> the generator, in eval mode, and its directions by name.

    Reading it runs no code. Raises CheckpointError if the file is missing, damaged, made by
    another program, or by version 0.1.
    """
    try:
        metadata, tensors = _read(path)
        if "generator" in metadata and "version" not in metadata:
            raise CheckpointError(
                f"{path} was made by version 0.1: share the generator again, or download a new file"
            )
        names = json.loads(metadata["directions"])
        directions = dict(zip(names, tensors.pop("directions").float().clone()))
        G = Generator(**json.loads(metadata["generator"]))
        G.load_state_dict(tensors)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a shared generator ({error!r}): download or share it again"
        ) from error
    return G.eval(), directions


def _read(path) -> tuple[dict, dict]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return file.metadata() or {}, tensors


def load_pretrained() -> tuple[Generator, dict[str, Tensor]]:
    """-> the package's generator, in eval mode, and its 8 attribute directions by name."""
    return load_safetensors(PRETRAINED / "generator.safetensors")


def latest_or_pretrained(
    run: str | Path | None = None,
) -> tuple[Generator, dict[str, Tensor], str]:
    """A run's folder -> its generator, directions by name, and where they come from.

    The directions are those of the attributes. A run on faces without labels (real ones) gets
    `latent.unlabeled_directions`.

    Without a run it is the newest run of page 05 in data/runs. If there is none, it is the newest
    that you trained yourself, from a shell, say. The runs of other pages (page 09 trains three of
    48 steps) count only if you name them. Without any run it is the pretrained generator.
    Directions of faces that don't have 64x64 pixels are fitted to resized ones.
    Raises CheckpointError if the run can't be read.
    """
    if run is None:
        run = newest_run()
    if run is None:
        G, directions = load_pretrained()
        return G, directions, "the pretrained generator"
    G = load_generator(run)
    source = f"your run {Path(run).name}"
    data = read_data(run)
    if not data.get("labeled", True):
        return G, unlabeled_directions(G), f"{source} on {data['name']}"
    size = generator_arguments(G)["size"]
    if size != Judge.size:
        source += f", whose {size}-pixel faces were resized for the judge"
    return G, attribute_directions(G, load_judge()), source


def newest_run() -> Path | None:
    """-> the newest run of page 05, or else the newest that no page made; None without either."""
    runs = [run for folder in run_folders() for run in folder.glob("*") if _saved_at(run) > 0]
    of_page_05 = [run for run in runs if run.name == "page-05" or run.name.startswith("page-05-")]
    own = [run for run in runs if not run.name.startswith("page-")]
    return max(of_page_05 or own, key=_saved_at, default=None)


def _saved_at(run) -> float:
    """A run's folder -> when its generator was last saved; 0 if it has not been trained yet.

    A finished run has G.pth. One that was killed has checkpoints only, the first one of step 0.
    """
    history = run / "history.jsonl"
    if history.exists() and history.stat().st_size == 0:  # it was stopped before its first step
        return 0
    untrained = checkpoints.at_step(run, 0)
    files = [path for path in checkpoints.saved(run) if path != untrained]
    if (run / "G.pth").exists():
        files.append(run / "G.pth")
    times = []
    for path in files:
        with suppress(FileNotFoundError):  # who trains the run deletes old ones
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)
