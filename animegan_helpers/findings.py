"""Prepared images become what a report says about them: copied folders, unusual images. Page 02."""

from collections import defaultdict

import numpy as np

from .dataset import folder_of

CHUNK = 512  # images in memory at a time


def duplicate_folders(names: list[str], duplicates: dict[str, str]) -> dict[str, str]:
    """-> each folder whose images are all in another folder, too -> that folder.

    Of two folders with the same images, the deeper one is the copy, or else the later name.
    """
    images_in = defaultdict(set)
    folders_with = defaultdict(set)
    for name in names:
        image = duplicates.get(name, name)
        images_in[folder_of(name)].add(image)
        folders_with[image].add(folder_of(name))

    def rank(folder: str) -> tuple[int, int, str]:
        """The folder with the most images comes first, then the one with the fewest levels."""
        return (-len(images_in[folder]), folder.count("/"), folder)

    repeated = {}
    for folder, images in images_in.items():
        candidates = folders_with[next(iter(images))]
        holders = [other for other in candidates if images <= images_in[other]]
        original = min(holders, key=rank)
        if original != folder:
            repeated[folder] = original
    return repeated


def unusual(array: np.ndarray, names: list[str], count: int = 16) -> list[str]:
    """-> the names of the images that differ most from the rest, the most unusual one first.

    The mean colors of an image's 16 blocks (a 4x4 grid) are compared with the mean of all images by
    the Mahalanobis distance. Fewer than 100 images have no unusual ones.
    """
    if len(array) < 100 or array.shape[1] < 4:
        return []
    blocks = _block_colors(array)
    blocks -= blocks.mean(0)
    covariance = blocks.T @ blocks / len(blocks)
    covariance += np.eye(48)  # one gray level more, so that it can be inverted
    distances = (blocks @ np.linalg.inv(covariance) * blocks).sum(1)  # squared
    most_distant = np.argsort(-distances, kind="stable")[:count]
    return [names[i] for i in most_distant if distances[i] > 1]


def _block_colors(array: np.ndarray) -> np.ndarray:
    """(N, size, size, 3) uint8 -> (N, 48): the mean colors of the 16 blocks of each image."""
    side = array.shape[1] // 4
    sums = []
    for start in range(0, len(array), CHUNK):
        chunk = array[start : start + CHUNK, : 4 * side, : 4 * side]
        rows = chunk.reshape(-1, 4, side, 12 * side).sum(2, dtype=np.uint32)  # fast: long rows
        sums.append(rows.reshape(-1, 16, side, 3).sum(2).reshape(-1, 48))
    return np.concatenate(sums) / side**2
