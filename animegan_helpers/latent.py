"""Latent vectors (z_dim,) become walks, mixtures, named directions; faces become latent vectors.

Built on page 06.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drawn import ATTRIBUTES, HAIR, SKIN
from .generator import eval_mode, generate, sample_z
from .judge import AnyFaces, extract_features

LIGHTNESS = 1  # index in the hue, lightness and saturation of a color
WARMTH = {
    "red": 1.0,
    "orange": 1.0,
    "blond": 1.0,
    "brown": 1.0,
    "pink": 0.5,
    "purple": -0.5,
    "blue": -1.0,
    "green": -1.0,
}
# What a slider moves: an attribute, and a number for each of its values (0 for those not named).
SCALES = {
    "hair dark to light": ("hair_color", {name: color[LIGHTNESS] for name, color in HAIR.items()}),
    "hair cold to warm": ("hair_color", WARMTH),
    "hair short to long": ("hair_length", {"short": 0.0, "medium": 1.0, "long": 2.0}),
    "skin dark to light": ("skin", {name: color[LIGHTNESS] for name, color in SKIN.items()}),
    "eyes closed to open": ("eyes", {"open": 1.0, "half": 0.5, "wink": 0.5}),
    "eyes cold to warm": ("eye_color", WARMTH | {"gold": 1.0, "aqua": -1.0}),
    "mouth closed to open": ("mouth", {"open": 1.0, "small o": 0.5}),
    "glasses off to on": ("accessory", {"glasses": 1.0}),
}


# ---- walks and mixtures ----


def lerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Two latent vectors (z_dim,) -> (steps, z_dim) on the straight line between them.

    Its middle is shorter than latent vectors from N(0, 1) are.
    """
    return torch.lerp(start, end, torch.linspace(0, 1, steps)[:, None])


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Two latent vectors (z_dim,) -> (steps, z_dim) on the arc between them.

    All are about as long as latent vectors from N(0, 1) are.
    """
    t = torch.linspace(0, 1, steps)[:, None]
    cosine = torch.cosine_similarity(start, end, dim=0)
    angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))  # no division by 0 below
    arc = torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end
    return arc / torch.sin(angle)


def mix(z: Tensor, weights: Tensor | list[float]) -> Tensor:
    """(K, z_dim) latent vectors, K weights -> one (z_dim,), about as long as each of them.

    Weights (1, 1) give the middle of two; (1, -1, 1) is the arithmetic "this one, without that,
    with the other". Raises ValueError if the numbers differ, or all weights are 0.
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if len(weights) != len(z) or not weights.any():
        raise ValueError(
            f"{len(z)} latent vectors need {len(z)} weights, not all of them 0:"
            f" these are {weights.tolist()}"
        )
    return weights @ z / weights.norm()


def truncate(z: Tensor, psi: float) -> Tensor:
    """Latent vectors -> the same, scaled toward the origin by psi (1 changes nothing).

    The smaller psi is, the more alike the faces are.
    """
    return psi * z


# ---- directions ----


def sefa(G: nn.Module, count: int = 8) -> Tensor:
    """A generator -> (count, z_dim) unit directions to which its first layer responds most.

    They are the singular vectors of its weight (SeFa, arXiv:2007.06600).
    """
    weight = next(G.parameters()).detach()  # (z_dim, C, 4, 4)
    left, _, _ = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    return left.T[:count].cpu()


@torch.no_grad()
def pca(G: nn.Module, count: int = 8, samples: int = 1000, seed: int = 0) -> Tensor:
    """A generator -> (count, z_dim) unit directions of its features' largest variance (GANSpace).

    The features are those after the second block. Each direction is the mean of the latent vectors,
    weighted by the position of their features along one principal axis (arXiv:2004.02546).
    """
    device = next(G.parameters()).device
    z = sample_z(samples, G.z_dim, seed)
    with eval_mode(G):
        features = G.net[:6](z.to(device)[:, :, None, None]).flatten(1).cpu()
    features = features - features.mean(0)
    axes = torch.linalg.eigh(features @ features.T).eigenvectors  # the last has the most variance
    positions = axes[:, -count:].flip(1)  # (samples, count)
    return F.normalize(positions.T @ z)


def unlabeled_directions(G: nn.Module, count: int = 4) -> dict[str, Tensor]:
    """A generator -> the first `count` directions of SeFa and of PCA by name, such as "SeFa 1".

    They need neither labels nor a judge. What each of them changes, only eyes can say.
    """
    directions = {f"SeFa {i + 1}": direction for i, direction in enumerate(sefa(G, count))}
    return directions | {f"PCA {i + 1}": direction for i, direction in enumerate(pca(G, count))}


@torch.no_grad()
def scale_scores(judge: nn.Module, faces: AnyFaces) -> Tensor:
    """N faces -> (N, 8): their positions on `SCALES`.

    A position is the mean of the scale's numbers, weighted by the judge's probabilities.
    """
    device = next(judge.parameters()).device
    features = extract_features(judge, faces).to(device)
    scores = []
    for attribute, numbers in SCALES.values():
        number_of = torch.tensor([numbers.get(value, 0.0) for value in ATTRIBUTES[attribute]])
        probabilities = judge.heads[attribute](features).softmax(dim=1).cpu()  # (N, values)
        scores.append(probabilities @ number_of)
    return torch.stack(scores, dim=1)


def attribute_directions(
    G: nn.Module, judge: nn.Module, samples: int = 4000, seed: int = 0
) -> dict[str, Tensor]:
    """A generator and a judge -> for each of `SCALES` a unit direction (z_dim,) that moves it.

    A linear fit of the scores gives each scale's gradient. A direction is the part of its gradient
    that leaves the other scales as they are (a column of the pseudo-inverse).
    """
    z = sample_z(samples, G.z_dim, seed)
    scores = torch.cat([scale_scores(judge, generate(G, part)) for part in z.split(256)])
    z_and_one = torch.cat([z, torch.ones(samples, 1)], dim=1)
    gradients = torch.linalg.lstsq(z_and_one, scores).solution[:-1]  # (z_dim, 8)
    directions = F.normalize(torch.linalg.pinv(gradients))  # (8, z_dim)
    return dict(zip(SCALES, directions))


def effects(
    G: nn.Module,
    judge: nn.Module,
    directions: dict[str, Tensor],
    reach: float = 4.0,
    samples: int = 200,
    seed: int = 1,
) -> dict[str, dict]:
    """Directions by name -> what happens when z goes from `-reach` to `reach` along each of them.

    `correct`: the share of latent vectors whose scale of that name increases (None for a name that
    is not in `SCALES`). `moves`: for each scale the mean change, in its standard deviations.
    Use another judge than the one that the directions were fitted with: it would be biased.
    """
    z = sample_z(samples, G.z_dim, seed)
    deviation = scale_scores(judge, generate(G, z)).std(0)  # (8,)
    rows = {}
    for name, direction in directions.items():
        low = scale_scores(judge, generate(G, z - reach * direction))  # (samples, 8)
        high = scale_scores(judge, generate(G, z + reach * direction))
        moves = (high - low).mean(0) / deviation
        increased = dict(zip(SCALES, (high > low).double().mean(0).tolist()))
        rows[name] = {
            "correct": increased.get(name),
            "moves": dict(zip(SCALES, moves.tolist())),
        }
    return rows


# ---- inversion ----


def invert(
    G: nn.Module,
    targets: Tensor,
    steps: int = 100,
    lr: float = 0.1,
    judge: nn.Module | None = None,
    weight: float = 0.05,
    start: Tensor | None = None,
) -> Tensor:
    """N faces (N, 3, S, S) in [-1, 1] -> (N, z_dim) latent vectors whose faces are close to them.

    Adam moves each z against the gradient of the mean squared error of its pixels (inversion by
    optimization, arXiv:1611.05644). With a judge, on the same device, `weight` times that of
    its features is added. z begins at `start` (N, z_dim), by default near the origin: at the
    origin itself, all ReLUs of G's first block may output 0, and z would never move. All faces
    are one batch. Both networks are left as they were. Raises ValueError if G's faces have
    another shape.
    """
    device = next(G.parameters()).device
    targets = targets.to(device)
    if start is None:
        start = 0.05 * sample_z(1, G.z_dim).expand(len(targets), -1)
    z = start.detach().to(device).clone().requires_grad_()
    adam = torch.optim.Adam([z], lr)
    with eval_mode(G, judge):
        wanted = None if judge is None else judge(targets).detach()  # (N, 64)
        for _ in range(steps):
            images = G(z)
            _check_shapes(images, targets)
            errors = (images - targets).square().flatten(1).mean(1)  # (N,)
            if judge is not None:
                errors = errors + weight * (judge(images) - wanted).square().mean(1)
            adam.zero_grad()
            errors.sum().backward(inputs=[z])
            adam.step()
    return z.detach().cpu()


def _check_shapes(images, targets) -> None:
    if images.shape != targets.shape:
        raise ValueError(
            f"G generates {tuple(images.shape)}, the faces to invert are {tuple(targets.shape)}:"
            " prepare them at G's size, and give each of them one start"
        )
