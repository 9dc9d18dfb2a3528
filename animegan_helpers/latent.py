"""Codes become walks, mixtures and directions; directions get a name and a measured effect. Built in page 06."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from . import checkpoints
from .device import data_folder
from .drawn import ATTRIBUTES, HAIR, SKIN
from .generator import Generator
from .measure import READY, features, load_judge
from .training import codes, load_generator, paint

# What a slider should move, as numbers for the values of an attribute: the judge's probabilities weigh them.
WARM = {"red": 1, "orange": 1, "blond": 1, "brown": 1, "pink": 0.5, "purple": -0.5, "blue": -1, "green": -1}
SCALES = {
    "hair dark to light": ("hair_color", {name: hls[1] for name, hls in HAIR.items()}),
    "hair cold to warm": ("hair_color", WARM),
    "hair short to long": ("hair_length", {"short": 0, "medium": 1, "long": 2}),
    "skin dark to light": ("skin", {name: hls[1] for name, hls in SKIN.items()}),
    "eyes closed to open": ("eyes", {"open": 1, "half": 0.5, "wink": 0.5}),
    "eyes cold to warm": ("eye_color", WARM | {"gold": 1, "aqua": -1}),
    "mouth closed to open": ("mouth", {"open": 1, "small o": 0.5}),
    "glasses off to on": ("accessory", {"glasses": 1}),
}


def straight(start, end, steps: int) -> torch.Tensor:
    """Two codes (z_dim,) -> (steps, z_dim), on the straight line between them. Its middle is shorter than codes are."""
    return torch.lerp(start, end, torch.linspace(0, 1, steps)[:, None])


def spherical(start, end, steps: int) -> torch.Tensor:
    """Two codes (z_dim,) -> (steps, z_dim), on the arc between them: on the way all are about as long as codes are."""
    t = torch.linspace(0, 1, steps)[:, None]
    angle = torch.acos(torch.cosine_similarity(start, end, dim=0).clamp(-1 + 1e-6, 1 - 1e-6))
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)


def mix(codes, weights) -> torch.Tensor:
    """(K, z_dim) codes and K weights, negative ones too -> one code (z_dim,), about as long as codes are.

    (1, 1) is halfway between two; (1, -1, 1) is the arithmetic "this one, without that, with the other".
    Raises ValueError if the numbers differ or all weights are 0.
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if len(weights) != len(codes) or not weights.any():
        raise ValueError(f"{len(codes)} codes need as many weights, not all of them 0: these are {weights.tolist()}")
    return weights @ codes / weights.norm()


def truncate(codes, psi: float) -> torch.Tensor:
    """Codes -> the same nearer to the middle of all: psi 1 changes nothing, below it faces get more alike."""
    return psi * codes


def sefa(G, count: int = 8) -> torch.Tensor:
    """A generator -> (count, z_dim) unit directions to which its first layer answers most (arXiv:2007.06600)."""
    weight = next(G.parameters()).detach()  # (z_dim, C, 4, 4)
    return torch.linalg.svd(weight.flatten(1), full_matrices=False).U.T[:count].cpu()


@torch.no_grad()
def pca(G, count: int = 8, samples: int = 1000, seed: int = 0) -> torch.Tensor:
    """A generator -> (count, z_dim) unit directions along which its features vary most (GANSpace, arXiv:2004.02546).

    The features are those behind the second block. A direction is the mean of the codes, each weighed by how far along
    the axis its features lie.
    """
    z = codes(samples, G.z_dim, seed)
    seen = G.net[:6](z.to(next(G.parameters()).device)[:, :, None, None]).flatten(1).cpu()
    seen = seen - seen.mean(0)
    far = torch.linalg.eigh(seen @ seen.T).eigenvectors[:, -count:].flip(1)  # (samples, count), the widest axis first
    return torch.nn.functional.normalize(far.T @ z)


def scores(judge, faces) -> torch.Tensor:
    """Faces -> (N, 8): where the judge sees each of them on each of `SCALES`."""
    seen = features(judge, faces)
    columns = []
    for attribute, values in SCALES.values():
        weights = torch.tensor([float(values.get(value, 0)) for value in ATTRIBUTES[attribute]])
        with torch.no_grad():
            columns.append(judge.heads[attribute](seen).softmax(1) @ weights)
    return torch.stack(columns, 1)


def attribute_directions(G, judge, samples: int = 4000, seed: int = 0) -> dict[str, torch.Tensor]:
    """A generator and a judge -> for each of `SCALES` a unit direction (z_dim,) that moves it, and the others little.

    A linear fit of the scores on the codes gives each scale's gradient; a direction is what is left of it when all
    others' gradients are taken away (the columns of the pseudo-inverse).
    """
    z = codes(samples, G.z_dim, seed)
    seen = scores(judge, paint(G, z))
    gradients = torch.linalg.lstsq(torch.cat([z, torch.ones(samples, 1)], 1), seen).solution[:-1]  # (z_dim, 8)
    independent = torch.nn.functional.normalize(torch.linalg.pinv(gradients))
    return dict(zip(SCALES, independent))


def effects(G, judge, directions: dict, reach: float = 4.0, samples: int = 200, seed: int = 1) -> dict[str, dict]:
    """What each direction does when codes go from `-reach` to `reach` along it -> by name: `right`, the share of codes
    whose scale moves up (None for a name that is none of `SCALES`), and `moves`, by how much each scale moves on
    average, in its standard deviations.

    Take another judge than the directions were fitted with: a fit always pleases its own.
    """
    z = codes(samples, G.z_dim, seed)
    spread = scores(judge, paint(G, z)).std(0)
    told = {}
    for name, direction in directions.items():
        low, high = (scores(judge, paint(G, z + side * reach * direction)) for side in (-1, 1))
        moves = dict(zip(SCALES, ((high - low).mean(0) / spread).tolist()))
        up = dict(zip(SCALES, (high > low).double().mean(0).tolist()))
        told[name] = {"right": up.get(name), "moves": moves}
    return told


@torch.random.fork_rng(devices=[])  # start weights are drawn, then replaced
def load(path):
    """A shared generator.safetensors -> its generator, in eval mode, and its directions by name. Runs no code of it.

    Raises CheckpointError if it is missing, damaged, or another file.
    """
    try:
        with safe_open(path, "pt") as file:
            told, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
        directions = dict(zip(json.loads(told["directions"]), tensors.pop("directions").float()))
        G = Generator(**json.loads(told["generator"]))
        G.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise checkpoints.CheckpointError(f"{path} is not a shared generator ({error!r}): get it once more") from error
    return G.eval(), directions


def ready():
    """-> the generator that comes with the package, in eval mode, and its attribute directions."""
    return load(READY / "generator.safetensors")


@torch.random.fork_rng(devices=[])
def mine_or_ready(run=None):
    """A run's folder -> its generator, its attribute directions, and where they come from.

    Without one: the newest finished run under data/runs; if there is none yet, what comes with the package.
    """
    finished = sorted((data_folder() / "runs").glob("*/G.pth"), key=lambda path: path.stat().st_mtime)
    if run is None and not finished:
        return *ready(), "the ready generator"
    run = Path(run or finished[-1].parent)
    G = load_generator(run)
    return G, attribute_directions(G, load_judge()), f"your run {run.name}"
