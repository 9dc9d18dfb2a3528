"""The plain training loop and ours; the work of a step, and how many steps a second has."""

import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from animegan_helpers import device as devices
from animegan_helpers.discriminator import make_discriminator
from animegan_helpers.generator import make_generator
from animegan_helpers.history import Log
from animegan_helpers.images import to_tensor
from animegan_helpers.recipes import Recipe
from animegan_helpers.speed import Speed
from animegan_helpers.trainer import Trainer

# ---- the limit ----


def multiplications(network: nn.Module, x: torch.Tensor) -> list[int]:
    """A network and a batch -> the multiplications per image of each convolution, in order."""
    counts = []
    hooks = []

    def count(layer, inputs, output):
        grid = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        positions = grid[0, 0].numel()
        counts.append(positions * layer.weight.numel())

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            hooks.append(layer.register_forward_hook(count))
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return counts


def flops(recipe: Recipe) -> int:
    """A recipe -> the floating-point operations per image that a step needs, without R1.

    A multiplication and its addition are 2. Backward, a layer needs two products, one for the
    gradient of its weights, one for that of its input: G needs 3 in all; D needs 3 for real, 3 for
    fake, and 2 in G's turn, which needs no gradient of its weights. No step needs the gradient of
    z, or in D's turn that of the images.
    """
    G = make_generator(recipe)
    D = make_discriminator(recipe)
    g = multiplications(G, torch.zeros(2, recipe.z_dim))
    d = multiplications(D, torch.zeros(2, 3, recipe.size, recipe.size))
    return 2 * (3 * sum(g) - g[0] + 8 * sum(d) - 2 * d[0])


def limit(
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    sizes: tuple = (1024, 2048, 4096),
) -> float:
    """-> GFLOP/s of this machine's matrix products, at the best of these sizes."""
    return max(devices.matrix_rate(device, dtype, size) for size in sizes)


# ---- the two loops ----


class PlainLoop:
    """The loop of PyTorch's DCGAN example: correct, and with no thought for speed."""

    def __init__(self, recipe: Recipe, device: torch.device | str):
        self.recipe = recipe
        self.device = torch.device(device)
        self.G = make_generator(recipe).to(self.device)
        self.D = make_discriminator(recipe).to(self.device)
        self.opt_g = torch.optim.Adam(self.G.parameters(), recipe.lr_g, recipe.betas)
        self.opt_d = torch.optim.Adam(self.D.parameters(), recipe.lr_d, recipe.betas)

    def step(self, real: torch.Tensor) -> tuple[float, float, float, float]:
        """One step on (N, 3, H, W) images in [-1, 1] -> losses of D and G, scores."""
        bce = nn.BCEWithLogitsLoss()
        real = real.to(self.device)
        ones = torch.ones(len(real), device=self.device)
        zeros = torch.zeros(len(real), device=self.device)

        self.D.zero_grad()
        logits = self.D(real)
        loss_real = bce(logits, ones)
        loss_real.backward()
        score_real = logits.sigmoid().mean().item()
        fake = self.G(torch.randn(len(real), self.recipe.z_dim, device=self.device))
        logits = self.D(fake.detach())
        loss_fake = bce(logits, zeros)
        loss_fake.backward()
        score_fake = logits.sigmoid().mean().item()
        self.opt_d.step()

        self.G.zero_grad()
        loss_g = bce(self.D(fake), ones)  # its gradients of D's weights are computed for nothing
        loss_g.backward()
        self.opt_g.step()
        return (loss_real + loss_fake).item(), loss_g.item(), score_real, score_fake

    def step_on_pixels(self, pixels: torch.Tensor) -> tuple[float, float, float, float]:
        """The same on (N, H, W, 3) uint8 faces."""
        return self.step(to_tensor(pixels))


class OurLoop:
    """The package's trainer; its numbers are fetched as `training.train` does it."""

    def __init__(self, recipe: Recipe, device: torch.device | str, speed: Speed | None = None):
        self.trainer = Trainer(recipe, device=device, speed=speed)
        self.log = Log(self.trainer.speed.fetch_every)

    def step(self, images: torch.Tensor) -> None:
        """One step on (N, H, W, 3) uint8 faces."""
        self.log.append(self.trainer.step(images))
        self.log.fetched()


def image_folder(folder: Path, size: int) -> ImageFolder:
    """A folder of folders of images -> the example's data set, which decodes at each access."""
    half = (0.5, 0.5, 0.5)
    steps = [
        transforms.Resize(size),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(half, half),
    ]
    return ImageFolder(folder, transforms.Compose(steps))


def endless(loader: DataLoader) -> Iterator[torch.Tensor]:
    """A loader of (images, classes) -> images, epoch after epoch."""
    return (images for images, _ in chain.from_iterable(repeat(loader)))


def wait_for_gpu() -> None:
    """Return when the GPU has finished. A clock that is read earlier measures only the launches."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def steps_per_second(step: Callable, loader: Iterator, seconds: float, warm_up: int = 2) -> float:
    """-> steps per second, at least two of them; the steps of the warm-up don't count."""
    for _ in range(warm_up):
        step(next(loader))
    wait_for_gpu()
    start = time.perf_counter()
    steps = 0
    while steps < 2 or time.perf_counter() - start < seconds:
        step(next(loader))
        steps += 1
    wait_for_gpu()
    return steps / (time.perf_counter() - start)
