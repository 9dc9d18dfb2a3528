"""(N, z_dim) noise becomes (N, 3, 64, 64) pictures in [-1, 1]. Built in page 04."""

from torch import nn

from .layers import halvings, start_weights, up

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


class Generator(nn.Module):
    """(N, z_dim) codes, each number drawn from N(0, 1) -> (N, 3, size, size) pictures in [-1, 1].

    `activation` is "relu" or "leaky_relu". Raises ValueError for a size that can't be reached by doubling 4x4.
    """

    def __init__(self, width=64, z_dim=128, size=64, activation="relu", start="normal"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        steps, act = halvings(size, width=width, z_dim=z_dim), ACTIVATIONS[activation]
        channels = width * 2 ** (steps - 1)
        layers = [nn.ConvTranspose2d(z_dim, channels, kernel_size=4, bias=False), nn.BatchNorm2d(channels), act()]
        for _ in range(steps - 1):
            layers += up(channels, channels // 2, act)
            channels //= 2
        last = nn.ConvTranspose2d(channels, 3, kernel_size=4, stride=2, padding=1, bias=False)
        self.z_dim, self.net = z_dim, nn.Sequential(*layers, last, nn.Tanh())
        start_weights(self, start)

    def forward(self, codes):
        return self.net(codes[:, :, None, None])
