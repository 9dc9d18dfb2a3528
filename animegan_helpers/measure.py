"""Pictures become numbers: a judge of one's own, FID and KID with their floor, coverage, copies (page 07), alarms (08).

Everywhere `faces` are (N, H, W, 3) uint8, (N, 3, H, W) in [-1, 1], or a dataset of `preprocess`; whole batches are
read from it, so a large set is never in memory. Features are (N, d), a row a face.
"""

import math
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from .checkpoints import CheckpointError, load, save
from .device import generator
from .drawn import ATTRIBUTES, read_labels
from .layers import down
from .preprocess import BatchOrder, flip, to_pixels, to_tensor
from .training import sample

HIDDEN = -100  # the colour of closed eyes: nobody can tell it, and `cross_entropy` leaves this number out
NAMES = tuple(ATTRIBUTES)
# What a seed is used for, as in `training`.
WEIGHTS, FLIPS, SHIFTS, ROWS, SUBSETS, DIRECTIONS, PATCHES = range(101, 108)
READY = Path(__file__).parent / "ready"  # the generator and the judge that come with the package


def _shuffled(count, seed):
    return torch.randperm(count, generator=generator(seed, ROWS)).tolist()


# ---- the judge ----


class Judge(nn.Module):
    """(N, 3, 64, 64) faces -> (N, 64) features; from these, one linear head an attribute says what it sees.

    Each feature has mean 0 and variance 1 on the faces it learned from. So FIDs of two judges are of like size
    (tables still need one fixed judge), and one face over and over is about 128 away: 64 for its distance, 64 for the
    variance it lacks.
    """

    num_features = 64

    def __init__(self, width: int = 16):
        super().__init__()
        blocks = [*down(3, width), *(layer for i in (1, 2, 4) for layer in down(width * i, width * i * 2))]
        features = nn.Linear(width * 8 * 4 * 4, 64, bias=False), nn.BatchNorm1d(64, affine=False)
        self.net = nn.Sequential(*blocks, nn.Flatten(), *features)
        self.heads = nn.ModuleDict({name: nn.Linear(64, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, pictures):
        if pictures.shape[1:] != (3, 64, 64):
            raise ValueError(f"the judge looks at (N, 3, 64, 64) faces, not {tuple(pictures.shape)}: prepare them so")
        return self.net(pictures)

    @torch.no_grad()
    def attributes(self, features):
        """(N, 64) features -> (N, 9) numbers of values, in the order of `ATTRIBUTES`; `HIDDEN` behind closed eyes."""
        features = features.to(next(self.parameters()).device)
        return _hide(torch.stack([head(features).argmax(1) for head in self.heads.values()], 1).cpu())


def _hide(labels):
    closed = labels[:, NAMES.index("eyes")] == ATTRIBUTES["eyes"].index("closed")
    for name in ("eye_color", "eye_shape"):
        labels[closed, NAMES.index(name)] = HIDDEN
    return labels


def labels(faces, folder) -> torch.Tensor:
    """A `Prepared` set and the folder it was drawn in -> the truth, (N, 9), as `Judge.attributes` says it.

    Raises FileNotFoundError without a labels.csv, ValueError if it lacks one of the faces.
    """
    if not (Path(folder) / "labels.csv").exists():
        raise FileNotFoundError(f"{folder} has no labels.csv: only drawn faces have labels (drawn.write makes them)")
    truth = {row["file"]: [ATTRIBUTES[name].index(row[name]) for name in NAMES] for row in read_labels(folder)}
    try:
        return _hide(torch.tensor([truth[Path(name).name] for name in faces.names]))
    except KeyError as missing:
        raise ValueError(f"{folder}/labels.csv has no row for {missing}: it belongs to other pictures") from None


def train_judge(faces, labels, epochs: int = 12, batch: int = 64, seed: int = 0, lr: float = 1e-2) -> Judge:
    """64x64 faces and their labels (N, 9) -> a judge, in eval mode. Raises ValueError if their numbers differ."""
    if len(faces) != len(labels):
        raise ValueError(f"{len(faces)} faces and {len(labels)} labels: each face needs its own")
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, WEIGHTS).initial_seed())
        judge = Judge()
    order = BatchOrder(len(faces), batch, seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs * len(order))
    bar = tqdm(range(epochs * len(order)), desc="training the judge", unit="step")
    for step, rows in zip(bar, order):
        pixels = flip(faces[rows], generator(seed, FLIPS, step))
        shift = torch.randint(-3, 4, (2,), generator=generator(seed, SHIFTS, step)).tolist()
        seen = judge(to_tensor(pixels).roll(shift, (2, 3)))
        losses = [F.cross_entropy(head(seen), truth, ignore_index=HIDDEN, reduction="sum")
                  for head, truth in zip(judge.heads.values(), labels[rows].T)]  # fmt: skip
        loss = sum(losses) / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    update_bn(_parts(faces), judge)  # the features' mean and variance on the faces as they are, not shifted
    return judge.eval()


def accuracy(judge: Judge, faces, labels) -> dict[str, float]:
    """-> for each attribute the share of faces that the judge reads as `labels` (N, 9) does; what is hidden apart."""
    right = (judge.attributes(features(judge, faces)) == labels) & (labels != HIDDEN)
    return dict(zip(NAMES, (right.sum(0) / (labels != HIDDEN).sum(0)).tolist()))


def save_judge(judge: Judge, path) -> Path:
    """The judge's weights -> a file of 0.6 MB, in half precision: enough for a judge, and it can be shipped."""
    return save({name: weight.half() for name, weight in judge.state_dict().items()}, path)


def load_judge(path=READY / "judge.pt") -> Judge:
    """What `save_judge` wrote -> the judge, in eval mode; without a path the one that comes with the package.

    That one is fixed, so that tables can be compared. Raises CheckpointError if a file is missing, damaged or other.
    """
    judge, weights = Judge(), load(path)
    try:
        judge.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path} is not a judge of these attributes: train one with train_judge") from error
    return judge.eval()


# ---- from faces to features ----


def _parts(faces, size=256):
    """-> the faces as (up to `size`, 3, H, W) in [-1, 1], part by part."""
    for start in range(0, len(faces), size):
        part = faces[list(range(start, min(start + size, len(faces))))]
        yield to_tensor(part) if part.dtype == torch.uint8 else part


@torch.no_grad()
def features(network: nn.Module, faces) -> torch.Tensor:
    """Faces -> (N, d), what the network (a judge, Inception) says of each. The network is left as it was."""
    was_training, device = network.training, next(iter(network.parameters()), torch.empty(0)).device
    network.eval()
    found = torch.cat([network(part.to(device)).float().cpu() for part in _parts(faces)])
    network.train(was_training)
    return found


# ---- how far from the real ones ----


def fid(real, fake) -> float:
    """Features (N, d) and (M, d) -> Fréchet distance (arXiv:1706.08500): 0 is equal; fewer faces give larger numbers.

    Raises ValueError for d faces or fewer: their covariance says nothing.
    """
    if min(len(real), len(fake)) <= real.shape[1]:
        need = f"FID of {real.shape[1]} features needs more faces than features, real and fake"
        raise ValueError(f"{need}: these are {len(real)} and {len(fake)}")
    real, fake = real.double(), fake.double()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    cov_real, cov_fake = real.T.cov(), fake.T.cov()
    root = torch.linalg.eigvals(cov_real @ cov_fake).sqrt().real.sum()  # trace of the product's square root
    return (means + cov_real.trace() + cov_fake.trace() - 2 * root).item()


def kid(real, fake, seed: int = 0, subsets: int = 50, size: int = 500) -> tuple[float, float]:
    """Features (N, d) and (M, d) -> kernel distance (arXiv:1801.01401), mean and deviation over subsets of `size`.

    Unbiased: around 0 for equal sets, also below, with few faces as with many. Raises ValueError for fewer than `size`.
    """
    if min(len(real), len(fake)) < size:
        raise ValueError(f"KID of subsets of {size} needs as many faces: these are {len(real)} and {len(fake)}")
    rng, distances = generator(seed, SUBSETS), []
    for _ in range(subsets):
        some_real = real[torch.randperm(len(real), generator=rng)[:size]].double()
        some_fake = fake[torch.randperm(len(fake), generator=rng)[:size]].double()
        within = _mean_off_diagonal(_kernel(some_real, some_real)) + _mean_off_diagonal(_kernel(some_fake, some_fake))
        distances.append(within - 2 * _kernel(some_real, some_fake).mean())
    distances = torch.stack(distances)
    return distances.mean().item(), distances.std(correction=0).item()


def _kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_off_diagonal(kernel):
    return (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))


def fid_by_count(real, fake, counts, seed: int = 0) -> dict[int, float]:
    """Features -> the FID of `counts` of the fake ones against all real ones: how much it owes to their number alone.

    With other real faces as `fake` it is the floor: only copies come below it.
    """
    order = _shuffled(len(fake), seed)
    return {count: fid(real, fake[order[:count]]) for count in counts}


def sliced_wasserstein(real, fake, seed: int = 0, patches: int = 32, directions: int = 64) -> float:
    """Faces, as many fake as real -> their patches' distance x 1000, mean of the sizes 64, 32, 16 (arXiv:1710.10196).

    No network is needed: 7x7 patches of each level of a Laplacian pyramid, seen from random directions; 0 is equal.
    Raises ValueError if the numbers of faces differ.
    """
    if len(real) != len(fake):
        raise ValueError(f"{len(real)} real and {len(fake)} fake faces: compare as many with as many")
    axes = F.normalize(torch.randn(directions, 3 * 7 * 7, generator=generator(seed, DIRECTIONS)))
    distances = []
    for levels in zip(_patches(real, patches, seed, 0), _patches(fake, patches, seed, 1)):
        a, b = ((axes @ level.T).sort(1).values for level in levels)
        distances.append((a - b).abs().mean().item())
    return 1000 * statistics.mean(distances)


def _patches(faces, count, *seed):
    """-> for each level of the pyramid (N * count, 147): random 7x7 patches, each channel with mean 0, deviation 1."""
    places, levels = generator(PATCHES, *seed), {}
    for part in _parts(faces):
        rows = torch.arange(len(part)).repeat(count)
        while part is not None:
            side = part.shape[-1]
            smaller = F.avg_pool2d(part, 2) if side > 16 else None
            detail = part if smaller is None else part - F.interpolate(smaller, scale_factor=2, mode="bilinear")
            y, x = torch.randint(0, side - 6, (2, len(rows)), generator=places)
            levels.setdefault(side, []).append(detail.unfold(2, 7, 1).unfold(3, 7, 1)[rows, :, y, x])
            part = smaller
    for level in map(torch.cat, levels.values()):
        deviation, mean = torch.std_mean(level, (0, 2, 3), keepdim=True)
        yield ((level - mean) / deviation.clamp(min=1e-6)).flatten(1)


# ---- what is there, and what is a copy ----


def shares(labels) -> dict[str, torch.Tensor]:
    """Attributes (N, 9) -> for each attribute the share of each of its values, where it can be seen."""
    counts = {name: torch.bincount(column[column != HIDDEN], minlength=len(ATTRIBUTES[name])).double()
              for name, column in zip(NAMES, labels.T)}  # fmt: skip
    return {name: count / count.sum().clamp(min=1) for name, count in counts.items()}


def total_variation(real, fake) -> dict[str, float]:
    """Attributes (N, 9) and (M, 9) -> for each attribute the share of faces with a wrong value: 0 equal, 1 disjoint."""
    real, fake = shares(real), shares(fake)
    return {name: ((real[name] - fake[name]).abs().sum() / 2).item() for name in NAMES}


def combinations(labels, one: str = "hair_color", other: str = "eye_color") -> tuple[int, int]:
    """Attributes (N, 9) -> how many combinations of two of them are there at least once, and how many there can be."""
    pairs = labels[:, [NAMES.index(one), NAMES.index(other)]]
    seen = pairs[(pairs != HIDDEN).all(1)].unique(dim=0)
    return len(seen), len(ATTRIBUTES[one]) * len(ATTRIBUTES[other])


def thumbnails(faces, size: int = 16) -> torch.Tensor:
    """Faces -> (N, 3 * size * size): as rows, small pictures in which a copy, mirrored or not, is near its original."""
    small = torch.cat([F.adaptive_avg_pool2d(part, size) for part in _parts(faces)])
    left, right = small[..., : size // 2], small.flip(3)[..., : size // 2]
    return torch.cat([left + right, (left - right).abs()], 3).flatten(1) / 2


def nearest(rows, among, size: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, d) and (M, d), thumbnails or features -> for each of the N its distance to the nearest, and which that is."""
    found = [torch.cdist(part, among).min(1) for part in rows.split(size)]
    return torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])


def memorised(fake, train, held_out, percent: float = 1.0) -> dict:
    """Thumbnails (or features) -> are generated faces copies of training faces? Held-out real faces are the control.

    `share`: of the fakes, how many are nearer to a training face than all but `percent` % of the held-out faces are;
    without copies it is about `percent` / 100. `ratio`: the fakes' median distance over the held-out faces'.
    `distances`, `rows`: for each fake, how far the nearest training face is, and which it is.
    """
    distances, rows = nearest(fake, train)
    control, _ = nearest(held_out, train)
    share = (distances < control.quantile(percent / 100)).double().mean().item()
    ratio = (distances.median() / control.median()).item()
    return {"share": share, "ratio": ratio, "distances": distances, "rows": rows}


def measure(G, faces, judge, held_out=None, count: int = 2000, seeds=(0, 1, 2)) -> dict[str, list]:
    """A generator (or its faces) and the real faces it was trained on -> the table: for each row a number a seed.

    Each seed draws `count` fakes, and as many real faces against them. A row's "(real)" is the same number for `count`
    other real faces: the best that can be reached without copying. With `held_out`, real faces that the generator never
    saw, there is a row of copies: 1 % is chance. The judge may be any network: only a `Judge` fills the rows of
    attributes. Raises ValueError if there are too few faces.
    """
    made = isinstance(G, nn.Module)
    count = min(count, len(faces) // 2, count if made else len(G))
    originals, control = (None, None) if held_out is None else (thumbnails(faces), thumbnails(held_out))
    numbers = {}
    for seed in tqdm(seeds, desc="measuring", unit="seed"):
        rows = _shuffled(len(faces), seed)
        real, other = faces[rows[:count]], faces[rows[count : 2 * count]]
        fake = to_pixels(sample(G, count, seed, ROWS)) if made else G[_shuffled(len(G), seed)[:count]]
        known = features(judge, real)
        for mark, some in ("", fake), (" (real)", other):
            seen = features(judge, some)
            row = {"FID": fid(known, seen), "KID x 1000": 1000 * kid(known, seen, seed, size=min(500, count))[0]}
            row["sliced Wasserstein"] = sliced_wasserstein(real, some, seed)
            if isinstance(judge, Judge):
                truth, says = judge.attributes(known), judge.attributes(seen)
                row["hair and eye colours seen together"] = combinations(says)[0]
                row["wrong shares of attributes, %"] = 100 * statistics.mean(total_variation(truth, says).values())
            if control is not None and not mark:
                row["copies, %"] = 100 * memorised(thumbnails(fake), originals, control)["share"]
            for name, number in row.items():
                numbers.setdefault(name + mark, []).append(number)
    return numbers


def table(numbers: dict[str, list]) -> str:
    """What `measure` gave -> text, a line a row: its mean over the seeds, and their spread (standard deviation)."""
    lines = []
    for name, values in numbers.items():
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        lines.append(f"{name:<44}{statistics.mean(values):>9.2f}{spread}")
    return "\n".join(lines)


# ---- alarms: what goes wrong while training ----


def not_finite(history: list[dict]) -> str:
    """The rows of a history -> what is not finite in the first such row, in words; "" if all is well."""
    for row in history:
        for name, value in row.items():
            if not math.isfinite(value):
                return f"not finite: {name} is {value} at step {row['step']}; go back, and try a lower learning rate"
    return ""


def saturated(history: list[dict], steps: int = 200, gap: float = 0.98) -> str:
    """The rows of a history -> that D has won, in words, if its scores lay `gap` apart over the last `steps`; or ""."""
    if len(history) < steps:
        return ""
    mean = statistics.fmean(row["score_real"] - row["score_fake"] for row in history[-steps:])
    told = f"D has won: over the last {steps} steps its scores for real and fake lay {mean:.3f} apart"
    return f"{told}; bring both learning rates together, or take the default recipe" if mean > gap else ""


def variety(faces) -> float:
    """Faces -> how far each is from the one most like it: the median, as root mean square difference of
    thumbnails in [-1, 1].

    64 drawn or real anime faces have about 0.25; below 0.06 nobody can tell a face from its neighbour.
    """
    rows = thumbnails(faces)
    distances = torch.cdist(rows, rows).fill_diagonal_(math.inf)
    return (distances.min(1).values.median() / rows.shape[1] ** 0.5).item()


def collapsed(faces, least: float = 0.06) -> str:
    """Some 64 generated faces -> that they are all alike, in words, if their variety is below `least`; or ""."""
    found = variety(faces)
    told = f"collapse: the faces are alike (variety {found:.3f}, real ones have about 0.25); go back to a checkpoint"
    return f"{told} before it, and bring both learning rates together, or take the default" if found < least else ""


def alarms(game, history: list[dict]) -> list[str]:
    """A game and its history, as a `watch` gets them -> what is wrong, in words. G is given 300 steps to begin with."""
    late = game.step >= 300
    found = not_finite(history), saturated(history), late and collapsed(game.fixed_faces())
    return [told for told in found if told]


class Watch:
    """A `watch` for `training.train`: every `every` steps it looks for trouble, and tells each kind once."""

    def __init__(self, every: int = 200, tell=tqdm.write):
        self.every, self.tell, self.told = every, tell, set()

    def __call__(self, game, history: list[dict], done: bool = False) -> None:
        if game.step % self.every and not done:
            return
        for alarm in alarms(game, history):
            kind = alarm.partition(":")[0]
            if kind not in self.told:
                self.tell(f"Warning at step {game.step:,}: {alarm}")
            self.told.add(kind)
