"""Features of real faces, learned without labels on the set itself (SimCLR, arXiv:2002.05709).

python tests/benchmarks/real_features.py DATA [--minutes 40] [--runs RUN ...]
    [--name real_features]
-> data/features/NAME_SET_COUNT.pt: the network; recorded/NAME.json and a table: how its distances
rise with blur, noise, and synthetic faces mixed in, and those of the runs' faces. The network is
trained only if there is none for this name and set. An interrupted training begins again.

Two random crops of a face, mirrored and tinted differently, must get similar features, and those of
two faces different ones. Noise is no part of it, and a crop blurs only a little, so that the
features can see both. The encoder has seen none of the faces that it compares, real or generated.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from record import versions, write_json
from torch import nn
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from animegan_helpers import checkpoints, device, metrics, plotting
from animegan_helpers.dataset import BatchOrder, Faces
from animegan_helpers.device import move
from animegan_helpers.generator import sample
from animegan_helpers.images import to_tensor
from animegan_helpers.judge import extract_features
from animegan_helpers.layers import down
from animegan_helpers.prepare import load_faces
from animegan_helpers.rng import rng, seeded_weights
from animegan_helpers.runs import load_generator

COUNT = 2000  # faces per number, at most: half of a small set is left for training
BATCH = 256
TEMPERATURE = 0.2


class Encoder(nn.Module):
    """(N, 3, 64, 64) faces in [-1, 1] -> (N, 128) features; about 1.1 million weights."""

    num_features = 128

    def __init__(self, width: int = 40):
        super().__init__()
        self.net = nn.Sequential(
            *down(3, width),
            *down(width, 2 * width),
            *down(2 * width, 4 * width),
            *down(4 * width, 8 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, self.num_features, bias=False),
            nn.BatchNorm1d(self.num_features, affine=False),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(self.num_features, 64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, 64, 64) -> (N, 128)."""
        return self.net(images)


def random_views(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(N, 3, H, W) -> (N, 3, H, W): each image cropped, mirrored and tinted at random.

    The crop keeps 0.6 to 1 of each side; brightness, contrast and each channel change a little.
    """
    numbers = torch.rand(9, len(images), 1, 1, generator=generator).to(images.device)
    scale = 0.6 + 0.4 * numbers[0]
    mirror = torch.where(numbers[1] < 0.5, -1.0, 1.0)
    shift_x = (2 * numbers[2] - 1) * (1 - scale)
    shift_y = (2 * numbers[3] - 1) * (1 - scale)
    zero = torch.zeros_like(scale)
    rows = [torch.cat([mirror * scale, zero, shift_x], 2), torch.cat([zero, scale, shift_y], 2)]
    theta = torch.cat(rows, 1)  # (N, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    contrast = 0.7 + 0.6 * numbers[4][:, None]
    brightness = 0.4 * (numbers[5][:, None] - 0.5)
    channels = 0.3 * (numbers[6:9].permute(1, 0, 2, 3) - 0.5)  # (N, 3, 1, 1)
    return crops * contrast + brightness + channels


def contrastive_loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N, d) features of N images' first and second views -> NT-Xent, a scalar."""
    both = F.normalize(torch.cat([a, b]), dim=1)
    similarities = both @ both.T / TEMPERATURE
    similarities.fill_diagonal_(-math.inf)
    partners = torch.arange(2 * len(a), device=a.device).roll(len(a))
    return F.cross_entropy(similarities, partners)


def train_encoder(faces: Dataset, minutes: float, where: torch.device, seed: int = 0) -> Encoder:
    """(N, 64, 64, 3) uint8 faces -> an encoder, trained for so long; the rate falls to 0."""
    with seeded_weights(seed):
        encoder = Encoder().to(where)
    optimizer = torch.optim.AdamW(encoder.parameters(), 2e-3, weight_decay=1e-4)
    bar = tqdm(total=round(60 * minutes), desc="learning features", unit="s")
    start = time.perf_counter()
    elapsed = 0.0
    order = iter(BatchOrder(len(faces), BATCH, seed))
    step = 0
    while elapsed < 60 * minutes:
        images = to_tensor(move(faces[next(order)], where))
        generator = rng(seed, "views", step)
        views = torch.cat([random_views(images, generator) for _ in range(2)])
        loss = contrastive_loss(*encoder.head(encoder(views)).chunk(2))
        warm_up = min(1, (step + 1) / 50)
        optimizer.param_groups[0]["lr"] = (
            2e-3 * warm_up * (0.5 + 0.5 * math.cos(math.pi * elapsed / (60 * minutes)))
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        elapsed = time.perf_counter() - start
        bar.update(min(bar.total, round(elapsed)) - bar.n)
        if step % 20 == 0:
            bar.set_postfix(step=step, loss=f"{loss.item():.2f}", refresh=False)
    bar.close()
    return encoder.eval()


def save_encoder(encoder: Encoder, minutes: float, path: Path) -> None:
    """An encoder, and how long it was trained -> a file."""
    weights = {name: value.cpu() for name, value in encoder.state_dict().items()}
    checkpoints.save({"weights": weights, "minutes": minutes}, path)


def load_encoder(path: Path) -> tuple[Encoder, float]:
    """A file of `save_encoder` -> the encoder, in eval mode, and the minutes of its training."""
    saved = checkpoints.load(path)
    encoder = Encoder()
    encoder.load_state_dict(saved["weights"])
    return encoder.eval(), saved["minutes"]


def distances(encoder: Encoder, real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """(N, 3, 64, 64) real faces and others -> FID, and KID x 1000, of the encoder's features."""
    a = extract_features(encoder, real)
    b = extract_features(encoder, fake)
    return {"FID": metrics.fid(a, b), "KID x 1000": 1000 * metrics.kid(a, b)[0]}


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """(N, C, H, W) -> the same, blurred by a Gaussian of `sigma` pixels."""
    x = torch.arange(-7, 8.0)
    row = torch.exp(-x.square() / (2 * sigma**2))
    row = row / row.sum()
    kernel = row.expand(images.shape[1], 1, 15)
    images = F.pad(images, (7, 7, 7, 7), mode="reflect")
    images = F.conv2d(images, kernel[:, :, None], groups=len(kernel))
    return F.conv2d(images, kernel[:, :, :, None], groups=len(kernel))


def compared_and_training(faces: Faces) -> tuple[torch.Tensor, torch.Tensor, Subset]:
    """-> two sets of N faces (N, 3, 64, 64) to compare, and all other faces, to train on."""
    rows = torch.randperm(len(faces), generator=rng(0, "rows")).tolist()
    count = min(COUNT, len(faces) // 4)
    real = to_tensor(faces[rows[:count]])
    other = to_tensor(faces[rows[count : 2 * count]])
    return real, other, Subset(faces, rows[2 * count :])


def table_of(
    encoder: Encoder, real: torch.Tensor, other: torch.Tensor, runs: list[Path]
) -> dict[str, dict]:
    """-> by name of what was done to `other`, N real faces: their distance from N `real` ones.

    Then the same for N faces of each run.
    """
    count = len(other)
    synthetic = to_tensor(load_faces("drawn")[:count])
    noise = torch.randn(other.shape, generator=rng(0, "noise"))
    sets = {"other real faces": other}
    for sigma in (0.5, 1.0, 2.0):
        sets[f"blurred, sigma {sigma:g}"] = blurred(other, sigma)
    for size in (0.05, 0.1, 0.2):
        sets[f"noise, deviation {size:g}"] = (other + size * noise).clamp(-1, 1)
    for share in (0.1, 0.25, 0.5, 1.0):
        mixed_in = round(share * count)
        sets[f"{share:.0%} synthetic"] = torch.cat([synthetic[:mixed_in], other[mixed_in:]])
    for run in runs:
        sets[f"run {run.name}"] = sample(load_generator(run), count, 0)
    return {name: distances(encoder, real, images) for name, images in sets.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--runs", type=Path, nargs="+", default=[])
    parser.add_argument("--name", default="real_features")
    args = parser.parse_args()
    faces = load_faces(args.data)
    real, other, training = compared_and_training(faces)
    source = f"{Path(faces.report.source).stem}_{len(faces)}"
    path = device.data_folder() / "features" / f"{args.name}_{source}.pt"
    if path.exists():
        print(f"{path} is used; remove it to train another encoder")
    else:
        encoder = train_encoder(training, args.minutes, device.pick().device)
        save_encoder(encoder, args.minutes, path)
    encoder, minutes = load_encoder(path)
    table = table_of(encoder, real, other, args.runs)
    results = versions("cpu") | {
        "set": faces.report.source,
        "minutes": minutes,
        "training images": len(training),
        "faces": len(real),
        "distances": table,
    }
    write_json(results, plotting.RECORDED / f"{args.name}.json")
    for name, row in table.items():
        print(f"{name:<28}" + "".join(f"{key} {value:9.2f}   " for key, value in row.items()))


if __name__ == "__main__":
    main()
