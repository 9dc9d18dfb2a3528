"""(N, 3, S, S) faces become (N, 64) features and nine attributes. Built on page 07.

Everywhere `AnyFaces` are (N, H, W, 3) uint8, (N, 3, H, W) in [-1, 1], or a dataset of uint8 images.
They are read in batches, so a large set is never in memory as a whole.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import Dataset
from tqdm import tqdm

from .checkpoints import CheckpointError, load, save
from .dataset import BatchOrder, Faces
from .device import move
from .drawn import ATTRIBUTES, has_labels, read_labels
from .generator import eval_mode
from .images import flip, to_tensor
from .layers import down
from .recipes import check_size
from .rng import rng, seeded_weights

AnyFaces = Dataset | Tensor
PRETRAINED = Path(__file__).parent / "pretrained"  # the package's generator and judge
ATTRIBUTE_NAMES = tuple(ATTRIBUTES)
HIDDEN = -100  # the label of what closed eyes hide; `cross_entropy` ignores this number


class Judge(nn.Module):
    """(N, 3, S, S) faces -> (N, 64) features; one linear head per attribute reads them.

    Its network sees 64x64 pixels: `forward` resizes faces of another size, such as 32 or 128.
    Of synthetic faces it reads hair and skin at every size, but eyes at 32 pixels less well (79 %
    instead of 99 % open or closed), and at 16 pixels not at all. So compare its numbers only with
    those of faces of the same size (`resizing_note`).

    On the faces that the judge learned from, each feature has mean 0 and variance 1. So the FIDs of
    two judges are of similar size, but a table needs one fixed judge. The FID of a single face,
    repeated, is about 128: 64 for its distance from the mean, 64 for the missing variance.
    """

    num_features = 64
    size = 64  # pixels along each side of what the network sees

    def __init__(self, width: int = 16):
        super().__init__()
        self.net = nn.Sequential(
            *down(3, width),  # (N, 3, 64, 64) -> (N, width, 32, 32)
            *down(width, width * 2),  # (N, 2 width, 16, 16)
            *down(width * 2, width * 4),  # (N, 4 width, 8, 8)
            *down(width * 4, width * 8),  # (N, 8 width, 4, 4)
            nn.Flatten(),
            nn.Linear(width * 8 * 4 * 4, self.num_features, bias=False),
            nn.BatchNorm1d(self.num_features, affine=False),  # (N, 64)
        )
        self.heads = nn.ModuleDict()
        for name, values in ATTRIBUTES.items():
            self.heads[name] = nn.Linear(self.num_features, len(values))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) in [-1, 1] -> (N, 64). Resizes them to 64x64 first (`resize_for_judge`).

        Raises ValueError for another shape, or a size that no recipe has.
        """
        return self.net(resize_for_judge(images))

    @torch.no_grad()
    def attributes(self, features: Tensor) -> Tensor:
        """(N, 64) features -> (N, 9) predicted values, as indices into those of `ATTRIBUTES`.

        Color and shape of closed eyes are `HIDDEN`.
        """
        features = features.to(next(self.parameters()).device)
        predicted = [head(features).argmax(1) for head in self.heads.values()]
        return _hide_closed_eyes(torch.stack(predicted, dim=1).cpu())


def resize_for_judge(images: Tensor) -> Tensor:
    """(N, 3, S, S) in [-1, 1] -> (N, 3, 64, 64), bilinear and without aliasing.

    Images of 64x64 are returned as they are.
    Raises ValueError for another shape, or a size that no recipe has.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(
            f"the judge needs square faces, (N, 3, S, S), not {tuple(images.shape)}:"
            " prepare them first"
        )
    check_size(images.shape[3])
    if images.shape[3] == Judge.size:
        return images
    return F.interpolate(images, (Judge.size, Judge.size), mode="bilinear", antialias=True)


def resizing_note(size: int) -> str:
    """The size of measured faces in pixels -> what to say beside their numbers; "" for 64."""
    if size == Judge.size:
        return ""
    return (
        f"All faces have {size}x{size} pixels. The judge saw them resized to"
        f" {Judge.size}x{Judge.size}: compare these numbers only with those of other faces of"
        f" {size}x{size} pixels."
    )


def _hide_closed_eyes(labels: Tensor) -> Tensor:
    closed = labels[:, ATTRIBUTE_NAMES.index("eyes")] == ATTRIBUTES["eyes"].index("closed")
    for name in ("eye_color", "eye_shape"):
        labels[closed, ATTRIBUTE_NAMES.index(name)] = HIDDEN
    return labels


def true_labels(faces: Faces, folder: str | Path) -> Tensor:
    """Prepared faces and the folder they were drawn in -> their (N, 9) attributes, as indices.

    They are in the order of `faces.names`, and in the form that `Judge.attributes` predicts.
    Raises FileNotFoundError without their labels.csv, ValueError if a face has no row in it.
    """
    if not has_labels(folder):
        raise FileNotFoundError(
            f"{folder} has no labels.csv of synthetic faces: only synthetic faces have labels"
            " (drawn.write makes them)"
        )
    label_of = {}
    for row in read_labels(folder):
        label_of[row["file"]] = [ATTRIBUTES[name].index(row[name]) for name in ATTRIBUTE_NAMES]
    try:
        labels = [label_of[Path(name).name] for name in faces.names]
    except KeyError as missing:
        raise ValueError(
            f"{folder}/labels.csv has no row for {missing}: it belongs to other images"
        ) from None
    return _hide_closed_eyes(torch.tensor(labels))


def train_judge(
    faces: AnyFaces,
    labels: Tensor,
    epochs: int = 12,
    batch: int = 64,
    seed: int = 0,
    lr: float = 1e-2,
    device: torch.device | str = "cpu",
) -> Judge:
    """N uint8 faces and their (N, 9) labels -> a trained judge, in eval mode.

    Raises ValueError if the two numbers differ.
    """
    if len(faces) != len(labels):
        raise ValueError(f"{len(faces)} faces and {len(labels)} labels: each face needs one row")
    with seeded_weights(seed):
        judge = Judge().to(device)
    order = BatchOrder(len(faces), batch, seed)
    steps = epochs * len(order)
    optimizer = torch.optim.AdamW(judge.parameters(), lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    bar = tqdm(range(steps), desc="training the judge", unit="step")
    for step, rows in zip(bar, order):
        images = _flip_and_shift(faces[rows], seed, step)
        loss = _attribute_loss(judge, move(images, device), move(labels[rows], device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    # The features' mean and variance are those of unshifted faces. All batches count alike, so they
    # have about the same size.
    size = math.ceil(len(faces) / math.ceil(len(faces) / 256))
    update_bn((move(images, device) for images in image_batches(faces, size)), judge)
    return judge.eval()


def _flip_and_shift(pixels, seed, step):
    """(N, S, S, 3) uint8 -> (N, 3, 64, 64) in [-1, 1], some mirrored, all shifted by up to 3."""
    images = resize_for_judge(to_tensor(flip(pixels, rng(seed, "flips", step))))
    shift = torch.randint(-3, 4, (2,), generator=rng(seed, "augment", step))
    return images.roll(shift.tolist(), dims=(2, 3))


def _attribute_loss(judge, images, labels):
    """The mean over the batch of the sum of the nine cross-entropies; hidden labels add 0."""
    features = judge(images)
    loss = 0
    for head, column in zip(judge.heads.values(), labels.T):
        loss += F.cross_entropy(head(features), column, ignore_index=HIDDEN, reduction="sum")
    return loss / len(images)


def accuracy(judge: Judge, faces: AnyFaces, labels: Tensor) -> dict[str, float]:
    """N faces and their (N, 9) labels -> for each attribute the fraction predicted correctly.

    What closed eyes hide does not count.
    """
    predicted = judge.attributes(extract_features(judge, faces))
    visible = labels != HIDDEN
    correct = (predicted == labels) & visible
    fractions = correct.sum(0) / visible.sum(0)
    return dict(zip(ATTRIBUTE_NAMES, fractions.tolist()))


def save_judge(judge: Judge, path: str | Path) -> Path:
    """The judge's weights -> a file of 0.6 MB: half precision, which a judge can afford."""
    return save({name: weight.half() for name, weight in judge.state_dict().items()}, path)


@torch.random.fork_rng(devices=[])  # initial weights are drawn, then replaced
def load_judge(path: str | Path = PRETRAINED / "judge.pt") -> Judge:
    """A file of `save_judge` -> the judge, in eval mode. Without a path: the package's judge.

    That one never changes, so tables can be compared. Raises CheckpointError if the file is
    missing, damaged, or not a judge.
    """
    weights = load(path)
    judge = Judge()
    try:
        judge.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not a judge of these attributes: train one with train_judge"
        ) from error
    return judge.eval()


def image_batches(faces: AnyFaces, size: int = 256) -> Iterator[Tensor]:
    """N faces -> batches of up to `size`, each (n, 3, H, W) in [-1, 1]."""
    for start in range(0, len(faces), size):
        stop = min(start + size, len(faces))
        batch = faces[list(range(start, stop))]
        yield to_tensor(batch) if batch.dtype == torch.uint8 else batch


@torch.no_grad()
def extract_features(network: nn.Module, faces: AnyFaces) -> Tensor:
    """A network (a judge, Inception) and N faces -> their (N, d) features, on the CPU.

    The network runs in eval mode and is left as it was.
    """
    device = next(network.parameters(), torch.empty(0)).device
    with eval_mode(network):
        features = [network(batch.to(device)).float().cpu() for batch in image_batches(faces)]
    return torch.cat(features)
