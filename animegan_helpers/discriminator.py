"""(N, 3, 64, 64) pictures become (N,) logits. Built in page 03."""

from torch import nn

from .layers import down, halvings, spectral, start_weights


class Discriminator(nn.Module):
    """(N, 3, size, size) pictures -> (N,) logits: above 0 means "real".

    No sigmoid: the loss has it. No batch norm on the first layer (DCGAN's advice) unless `norm_first`.
    `norm="none"` leaves batch norm out everywhere, `norm="spectral"` puts spectral norm in its place.
    Raises ValueError for a size that can't be halved to 4x4.
    """

    def __init__(self, width=64, size=64, norm="batch", norm_first=False, start="normal"):
        super().__init__()
        if norm not in ("batch", "spectral", "none"):
            raise ValueError(f"norm {norm!r}: choose 'batch', 'spectral' or 'none'")
        steps = halvings(size, width=width)
        layers = down(3, width, norm=norm == "batch" and norm_first)
        for i in range(steps - 1):
            layers += down(width * 2**i, width * 2 ** (i + 1), norm=norm == "batch")
        last = nn.Conv2d(width * 2 ** (steps - 1), 1, kernel_size=4, bias=False)
        self.net = nn.Sequential(*layers, last, nn.Flatten(0))
        start_weights(self, start)
        if norm == "spectral":
            spectral(self)

    def forward(self, pictures):
        return self.net(pictures)
