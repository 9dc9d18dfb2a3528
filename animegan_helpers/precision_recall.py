"""Features of real and fake faces, (N, d) and (M, d), become two fractions. Built on page 07."""

import torch
from torch import Tensor


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Features (N, d) and (M, d) -> precision and recall, from 0 to 1 (arXiv:1904.06991).

    Around each face lies a ball that reaches its k-th nearest neighbor in its own set. Precision is
    the fraction of fakes within a ball of a real face, recall the fraction of real faces within a
    ball of a fake. Higher is better. Two sets of real faces don't reach 1: compare with their
    values, for the same features, k and numbers of faces. One fake far from all others has a large
    ball, which can raise recall (arXiv:2002.09797).
    Raises ValueError for k faces or fewer.
    """
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f"a ball to neighbor {k} needs k of 1 or more, and more than k faces, real and fake:"
            f" these are {len(real)} and {len(fake)}"
        )
    real = real.double()
    fake = fake.double()
    return _fraction_inside(fake, real, k), _fraction_inside(real, fake, k)


def _fraction_inside(points, centers, k) -> float:
    """-> the fraction of the points that lie in at least one ball around the centers."""
    radii = [
        _distances(part, centers).kthvalue(k + 1, dim=1).values  # the nearest center is itself
        for part in centers.split(1000)
    ]
    radii = torch.cat(radii)
    inside = [(_distances(part, centers) <= radii).any(dim=1) for part in points.split(1000)]
    return torch.cat(inside).double().mean().item()


def _distances(points, centers) -> Tensor:
    """(n, d) and (M, d) -> (n, M). Exact: equal rows have distance 0, so copies are inside."""
    return torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist")
