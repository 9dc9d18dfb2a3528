"""(N,) logits of real and fake images become the losses of D and G. Built on pages 05 and 09."""

import torch
import torch.nn.functional as F
from torch import nn

from .device import move
from .recipes import Recipe


class BCE:
    """The non-saturating GAN loss of the DCGAN paper: D tells real (1) from fake (0).

    Labels may be soft and noisy: each image's label is drawn between the two numbers of
    `real_labels` or `fake_labels`.
    """

    def __init__(self, real_labels: tuple = (1.0, 1.0), fake_labels: tuple = (0.0, 0.0)):
        self.real_labels = real_labels
        self.fake_labels = fake_labels

    def d_loss(
        self,
        real_logits: torch.Tensor,
        fake_logits: torch.Tensor,
        rng: torch.Generator | None = None,
    ) -> torch.Tensor:
        """(N,) logits of real and of fake images -> D's loss. An undecided D pays 2 ln 2."""
        bce = F.binary_cross_entropy_with_logits
        loss_real = bce(real_logits, _labels(real_logits, *self.real_labels, rng))
        loss_fake = bce(fake_logits, _labels(fake_logits, *self.fake_labels, rng))
        return loss_real + loss_fake

    def g_loss(self, fake_logits: torch.Tensor, real_logits: torch.Tensor) -> torch.Tensor:
        """(N,) logits -> G's loss: its fakes should be called real. Ignores the real logits."""
        return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))

    def scores(
        self, real_logits: torch.Tensor, fake_logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) logits -> D's mean probability of "real", for real and for fake images."""
        return real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()


class Hinge:
    """D wants real logits above 1 and fake ones below -1, and no more (arXiv:1705.02894)."""

    def d_loss(
        self,
        real_logits: torch.Tensor,
        fake_logits: torch.Tensor,
        rng: torch.Generator | None = None,
    ) -> torch.Tensor:
        """(N,) logits of real and of fake images -> D's loss. An undecided D pays 2."""
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()

    def g_loss(self, fake_logits: torch.Tensor, real_logits: torch.Tensor) -> torch.Tensor:
        """(N,) logits -> G's loss: the higher D rates its fakes, the lower."""
        return -fake_logits.mean()

    def scores(
        self, real_logits: torch.Tensor, fake_logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) logits -> the fraction that D calls real, of the real and of the fake images."""
        return (real_logits > 0).float().mean(), (fake_logits > 0).float().mean()


class Relativistic:
    """D says which image of a real and fake pair is the real one (arXiv:1807.00734).

    R3GAN (arXiv:2501.05441) pairs each real image with one fake, as here.
    """

    def d_loss(
        self,
        real_logits: torch.Tensor,
        fake_logits: torch.Tensor,
        rng: torch.Generator | None = None,
    ) -> torch.Tensor:
        """(N,) logits of real and of fake images -> D's loss. An undecided D pays ln 2."""
        return F.softplus(fake_logits - real_logits).mean()

    def g_loss(self, fake_logits: torch.Tensor, real_logits: torch.Tensor) -> torch.Tensor:
        """(N,) logits -> G's loss: the same question with the roles exchanged."""
        return F.softplus(real_logits - fake_logits).mean()

    def scores(
        self, real_logits: torch.Tensor, fake_logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) logits -> the mean probability that the real, and that the fake image is picked."""
        correct = (real_logits - fake_logits).sigmoid().mean()
        return correct, 1 - correct


Loss = BCE | Hinge | Relativistic


def make_loss(recipe: Recipe) -> Loss:
    """A recipe -> its loss."""
    if recipe.loss == "bce":
        return BCE(recipe.real_labels, recipe.fake_labels)
    if recipe.loss == "hinge":
        return Hinge()
    return Relativistic()


def _labels(logits, low, high, rng):
    if low == high:
        return torch.full_like(logits, low)
    noise = move(torch.rand(logits.shape, generator=rng), logits.device)
    return low + (high - low) * noise


def r1_penalty(D: nn.Module, real: torch.Tensor) -> torch.Tensor:
    """D's mean squared gradient at (N, 3, H, W) real images (arXiv:1801.04406).

    It penalizes a D whose logits change steeply near real images, so that G can follow it.
    """
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(real).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def diff_augment(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """DiffAugment: (N, 3, H, W) -> same shape and dtype; each image is tinted, shifted, cut out.

    Gradients pass through all three. Brightness by up to 0.5, saturation 0 to 2, contrast 0.5
    to 1.5, shifts by up to an eighth, a cutout of half the side (arXiv:2006.10738).
    """
    tint = move(torch.rand(3, len(images), generator=rng), images.device)
    shift = move(torch.rand(2, len(images), generator=rng), images.device)
    cutout = move(torch.rand(2, len(images), generator=rng), images.device)
    images = _tint(images, *tint.to(images.dtype))
    images = _shift(images, *shift)
    return images * _cutout_mask(images, *cutout)


def _tint(images, brightness, saturation, contrast):
    images = images + (brightness - 0.5)[:, None, None, None]
    gray = images.mean(1, keepdim=True)  # (N, 1, H, W)
    images = gray + (images - gray) * 2 * saturation[:, None, None, None]
    mean = images.mean((1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    return mean + (images - mean) * (contrast + 0.5)[:, None, None, None]


def _shift(images, y, x):
    """Crop each image from a zero-padded one: y = 0 moves it down by an eighth, y = 1 up."""
    count, _, height, width = images.shape
    padded = F.pad(images, (width // 8, width // 8, height // 8, height // 8))
    top = (height // 4 * y).round().long()  # (N,), from 0 to a quarter of the height
    left = (width // 4 * x).round().long()
    rows = top[:, None] + torch.arange(height, device=images.device)  # (N, H)
    columns = left[:, None] + torch.arange(width, device=images.device)  # (N, W)
    each = torch.arange(count, device=images.device)[:, None, None]
    crops = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2)


def _cutout_mask(images, center_y, center_x):
    """(N, 1, H, W): 0 inside a rectangle of half the height and width, 1 outside."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    in_rows = (rows - height * center_y[:, None]).abs() <= height / 4  # (N, H)
    in_columns = (columns - width * center_x[:, None]).abs() <= width / 4  # (N, W)
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return (~inside).to(images.dtype)
