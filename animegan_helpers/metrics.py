"""Real and generated faces become numbers: FID and KID, attribute shares, copies. Built on page 07.

Features are (N, d), one row per face, from `judge.extract_features`; labels are (N, 9).
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .drawn import ATTRIBUTES
from .generator import sample
from .images import to_pixels
from .judge import ATTRIBUTE_NAMES, HIDDEN, AnyFaces, Judge, extract_features, image_batches
from .patches import sliced_wasserstein
from .precision_recall import precision_recall
from .rng import rng


def fid(real: Tensor, fake: Tensor) -> float:
    """Features (N, d) and (M, d) -> Fréchet distance (arXiv:1706.08500). Lower is better, 0 equal.

    Biased: fewer faces give a larger number. Raises ValueError for d faces or fewer, which have no
    covariance of full rank.
    """
    if min(len(real), len(fake)) <= real.shape[1]:
        raise ValueError(
            f"FID of {real.shape[1]} features needs more faces than features, real and fake:"
            f" these are {len(real)} and {len(fake)}"
        )
    real = real.double()
    fake = fake.double()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    cov_real = real.T.cov()
    cov_fake = fake.T.cov()
    # the trace of a product's square root is the sum of its eigenvalues' square roots
    trace_of_root = torch.linalg.eigvals(cov_real @ cov_fake).sqrt().real.sum()
    covariances = cov_real.trace() + cov_fake.trace() - 2 * trace_of_root
    return (means + covariances).item()


def kid(
    real: Tensor, fake: Tensor, seed: int = 0, subsets: int = 50, size: int = 500
) -> tuple[float, float]:
    """Features (N, d) and (M, d) -> kernel distance (arXiv:1801.01401): mean, standard deviation.

    Both are over random subsets of `size` faces. Unbiased: around 0 for equal sets, also below. The
    second is too small as an uncertainty, since all subsets share the same faces: sample again.
    Raises ValueError for fewer than `size` faces.
    """
    if min(len(real), len(fake)) < size:
        raise ValueError(
            f"KID with subsets of {size} faces needs at least {size}, real and fake:"
            f" these are {len(real)} and {len(fake)}"
        )
    generator = rng(seed, "subsets")
    distances = []
    for _ in range(subsets):
        real_subset = _random_rows(real, size, generator)
        fake_subset = _random_rows(fake, size, generator)
        within_real = _mean_off_diagonal(_kernel(real_subset, real_subset))
        within_fake = _mean_off_diagonal(_kernel(fake_subset, fake_subset))
        between = _kernel(real_subset, fake_subset).mean()
        distances.append(within_real + within_fake - 2 * between)
    distances = torch.stack(distances)
    return distances.mean().item(), distances.std(correction=0).item()


def _random_rows(features, size, generator):
    rows = torch.randperm(len(features), generator=generator)[:size]
    return features[rows].double()


def _kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_off_diagonal(kernel):
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))


def fid_by_count(real: Tensor, fake: Tensor, counts: list[int], seed: int = 0) -> dict[int, float]:
    """Features (N, d) and (M, d) -> for each count the FID of that many fakes against all real.

    With other real faces as `fake` it is the floor: what FID owes to the number of faces alone.
    """
    order = _shuffled(len(fake), seed)
    return {count: fid(real, fake[order[:count]]) for count in counts}


def _shuffled(count, seed) -> list[int]:
    return torch.randperm(count, generator=rng(seed, "rows")).tolist()


def attribute_shares(labels: Tensor) -> dict[str, Tensor]:
    """Labels (N, 9) -> for each attribute the share of each of its values, where it is visible."""
    shares = {}
    for name, column in zip(ATTRIBUTE_NAMES, labels.T):
        visible = column[column != HIDDEN]
        counts = torch.bincount(visible, minlength=len(ATTRIBUTES[name])).double()
        shares[name] = counts / counts.sum().clamp(min=1)
    return shares


def total_variation(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Labels (N, 9) and (M, 9) -> for each attribute the total variation distance of its shares.

    It is the share of faces that would need another value: 0 for equal shares, 1 for disjoint ones.
    """
    real_shares = attribute_shares(real)
    fake_shares = attribute_shares(fake)
    distances = {}
    for name in ATTRIBUTE_NAMES:
        difference = real_shares[name] - fake_shares[name]
        distances[name] = difference.abs().sum().item() / 2
    return distances


def attribute_pairs(
    labels: Tensor, first: str = "hair_color", second: str = "eye_color"
) -> tuple[int, int]:
    """Labels (N, 9) -> how many pairs of two attributes' values occur, how many are possible."""
    columns = [ATTRIBUTE_NAMES.index(first), ATTRIBUTE_NAMES.index(second)]
    pairs = labels[:, columns]
    visible = (pairs != HIDDEN).all(dim=1)
    possible = len(ATTRIBUTES[first]) * len(ATTRIBUTES[second])
    return len(pairs[visible].unique(dim=0)), possible


def thumbnails(faces: AnyFaces, size: int = 16) -> Tensor:
    """N faces -> (N, 3 * size * size): rows in which a copy, mirrored or not, is near its original.

    A row holds the mean of the two halves of a small image, and half of their absolute difference.
    """
    small = torch.cat([F.adaptive_avg_pool2d(batch, size) for batch in image_batches(faces)])
    left = small[..., : size // 2]
    right = small.flip(3)[..., : size // 2]
    mean = (left + right) / 2
    difference = (left - right).abs() / 2
    return torch.cat([mean, difference], dim=3).flatten(1)


def nearest(rows: Tensor, others: Tensor, size: int = 256) -> tuple[Tensor, Tensor]:
    """Thumbnails or features (N, d) and (M, d) -> (N,) distances to the nearest, (N,) its index."""
    smallest = [torch.cdist(part, others).min(dim=1) for part in rows.split(size)]
    distances = torch.cat([part.values for part in smallest])
    indices = torch.cat([part.indices for part in smallest])
    return distances, indices


def memorized(fake: Tensor, train: Tensor, held_out: Tensor, percent: float = 1.0) -> dict:
    """Thumbnails or features, (N, d) each -> are fake faces copies of training faces?

    Held-out real faces are the control. `share`: the fraction of fakes nearer to a training face
    than all but `percent` % of the held-out faces are. By chance it is about percent / 100, and
    more for few held-out faces: for 1 %, 1.3 % of 410, 7 % of 16. `ratio`: the fakes' median
    distance over theirs. `distances`, `rows`: of each fake to its nearest training face.
    """
    distances, rows = nearest(fake, train)
    control, _ = nearest(held_out, train)
    return {
        "share": (distances < control.quantile(percent / 100)).double().mean().item(),
        "ratio": (distances.median() / control.median()).item(),
        "distances": distances,
        "rows": rows,
    }


def measure(
    G: nn.Module | Tensor,
    faces: AnyFaces,
    judge: nn.Module,
    held_out: AnyFaces | None = None,
    count: int = 2000,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[str, list[float]]:
    """A generator (or its faces) and the real faces it learned from -> rows with a number per seed.

    Each seed compares `count` fakes (at most half of `faces`) with that many real faces. A "(real)"
    row compares other real faces: the floor. `held_out`, faces that G never saw, adds copies (see
    `memorized`). Only a `Judge` fills the rows of attributes. Print `judge.resizing_note` below.
    Raises ValueError for too few faces, or if real and fake faces differ in size.
    """
    fakes = count if isinstance(G, nn.Module) else len(G)
    count = min(count, fakes, len(faces) // 2)
    features = extract_features(judge, faces[[0]]).shape[1]
    if count <= features:
        compared = f"{count} are compared (at most half of the {len(faces)} images)"
        cure = "take a larger count or a larger set"
        raise ValueError(f"FID needs more than {features} faces, and {compared}: {cure}")
    if held_out is not None:
        originals = thumbnails(faces)
        control = thumbnails(held_out)
    table = defaultdict(list)
    for seed in tqdm(seeds, desc="measuring", unit="seed"):
        rows = _shuffled(len(faces), seed)
        real = faces[rows[:count]]
        real_features = extract_features(judge, real)
        fake = _fake_pixels(G, count, seed)
        numbers = _compare(judge, real, real_features, fake, seed)
        if held_out is not None:
            copies = memorized(thumbnails(fake), originals, control)
            numbers["copies, %"] = 100 * copies["share"]
        floor = _compare(judge, real, real_features, faces[rows[count : 2 * count]], seed)
        numbers |= {f"{name} (real)": value for name, value in floor.items()}
        for name, value in numbers.items():
            table[name].append(value)
    return dict(table)


def _fake_pixels(G, count, seed) -> Tensor:
    if isinstance(G, nn.Module):
        return to_pixels(sample(G, count, seed, "rows"))
    return G[_shuffled(len(G), seed)[:count]]


def _compare(judge, real, real_features, images, seed) -> dict[str, float]:
    """Real faces and others -> their distances by name, in the order of the table."""
    features = extract_features(judge, images)
    mean_kid, _ = kid(real_features, features, seed, size=min(500, len(images)))
    precision, recall = precision_recall(real_features, features)
    numbers = {
        "FID": fid(real_features, features),
        "KID x 1000": 1000 * mean_kid,
        "precision, %": 100 * precision,
        "recall, %": 100 * recall,
        "sliced Wasserstein": sliced_wasserstein(real, images, seed),
    }
    if isinstance(judge, Judge):
        labels = judge.attributes(features)
        distances = total_variation(judge.attributes(real_features), labels)
        numbers["hair and eye color pairs"] = attribute_pairs(labels)[0]
        numbers["total variation distance, %"] = 100 * statistics.mean(distances.values())
    return numbers


def format_table(numbers: dict[str, list[float]]) -> str:
    """Rows from `measure` -> text: each row's mean over the seeds, and its standard deviation."""
    lines = []
    for name, values in numbers.items():
        line = f"{name:<36}{statistics.mean(values):>9.2f}"
        if len(values) > 1:
            line += f" ± {statistics.stdev(values):.2f}"
        lines.append(line)
    return "\n".join(lines)
