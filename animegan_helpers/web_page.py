"""A generator becomes one web page with sliders that needs no server. Built on page 11.

`write` writes that page, the explorer, into a file; `InNotebook` shows it inside a notebook.
`write_conditional` writes one with menus (page 12).
"""

import base64
import copy
import json
from html import escape
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoints import atomic_write
from .conditional import CONDITIONED, ConditionalGenerator
from .drawn import ATTRIBUTES
from .generator import Generator, generate, sample_z
from .images import to_pixels

TITLE = "Anime faces from noise"
TEMPLATE = Path(__file__).parent / "web_page.html"
FRAME = """<iframe title="Explorer: a generated face, and sliders that change it"
sandbox="allow-scripts allow-downloads" srcdoc="{html}"
style="width: 100%; height: {height}px; border: 0"></iframe>
<p>No sliders above? Run this cell, or choose <i>File &gt; Trust Notebook</i>.</p>"""


# ---- without batch norm ----


@torch.no_grad()
def fold_batch_norm(conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """A transposed convolution, its batch norm -> one layer that equals both in eval mode."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter(conv.weight * scale[:, None, None])  # (in, out, 4, 4)
    folded.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
    return folded


def check_generator(G: nn.Module) -> None:
    """Raises ValueError if G is not the package's generator."""
    if not isinstance(G, Generator):
        raise ValueError(f"{type(G).__name__} can't be shared: use the package's Generator")


def folded(G: Generator) -> nn.Sequential:
    """A generator -> a network (N, z_dim, 1, 1) -> (N, 3, H, W) without batch norm.

    Its layers are a transposed convolution and its activation, in turn.
    Raises ValueError if G is not the package's generator.
    """
    check_generator(G)
    *blocks, last, tanh = copy.deepcopy(G).cpu().net
    layers = []
    for conv, norm, activation in zip(blocks[::3], blocks[1::3], blocks[2::3]):
        layers += [fold_batch_norm(conv, norm), activation]
    last.bias = nn.Parameter(torch.zeros(3))
    return nn.Sequential(*layers, last, tanh).requires_grad_(False)


# ---- the page ----


def phases(weight: Tensor) -> Tensor:
    """(in, out, 4, 4) -> (2, 2, out/4, 2, 2, in, 4): the weights in the order the page reads them.

    With stride 2 and padding 1, an output pixel depends on 2x2 input pixels and 2x2 of the 4x4
    weights. Which ones, depends on whether its row and column are even or odd: its phase. So the
    order is: phase, block of four outputs, tap (of the 2x2), input, output in its block.
    """
    inputs, outputs = weight.shape[:2]
    split = weight.flip(2, 3).reshape(inputs, outputs // 4, 4, 2, 2, 2, 2)
    return split.permute(4, 6, 1, 3, 5, 0, 2)  # of the last four axes, 3 and 5 are the taps


def link(z: Tensor, directions: dict[str, Tensor]) -> str:
    """A latent vector (z_dim,) -> the end of the page's address that shows it, sliders at 0.

    z is rounded to steps of 1/32, one byte for each component.
    """
    steps = (32 * z).round().clamp(-127, 127).to(torch.int8)
    text = base64.urlsafe_b64encode(steps.numpy().tobytes()).decode().rstrip("=")
    zeros = "_".join("0" for _ in directions)
    return f"#{text}.{zeros}"


Menus = dict[str, dict[str, Tensor]]  # name -> choice -> what it adds beside z, (dim,)


def page(
    G: Generator,
    directions: dict[str, Tensor],
    title: str = TITLE,
    seed: int = 13,
    menus: Menus | None = None,
) -> str:
    """A generator and its directions -> the HTML of the page, which opens with the face of `seed`.

    With `menus`, the input of G is z with the sum of the chosen vectors beside it.
    The weights are in half precision, unless that changes a pixel of 64 faces by more than 2 of
    255. Raises ValueError if G is not the package's generator.
    """
    check_generator(G)
    menus = menus or {}
    first_choices = [next(iter(choices.values())) for choices in menus.values()]
    beside = torch.stack(first_choices).sum(0) if menus else torch.empty(0)
    z = sample_z(64, G.z_dim - len(beside), seed)
    net, bits, error = _smallest(G, torch.cat([z, beside.expand(64, -1)], dim=1))
    model = {
        "z_dim": z.shape[1],
        "bits": bits,
        "start": link(z[0], directions),
        "directions": _all_rounded(directions),
        "menus": {name: _all_rounded(choices) for name, choices in menus.items()},
        "layers": [_layer(conv, activation) for conv, activation in zip(net[::2], net[1::2])],
    }
    weights = sum(weight.numel() for weight in G.parameters())
    about = (
        f"Your browser generates these faces itself, with a network of {weights:,} weights. Nothing"
        f" is loaded, nothing is sent. The weights have {bits} bits each: in {len(z)} test faces,"
        f" no pixel differs from PyTorch's by more than {error} of 255."
    )
    html = TEMPLATE.read_text(encoding="utf-8")
    html = html.replace("{{title}}", escape(title))
    html = html.replace("{{about}}", about)
    return html.replace("{{model}}", json.dumps(model).replace("<", "\\u003c"))


def write(
    path: str | Path, G: Generator, directions: dict[str, Tensor], title: str = TITLE
) -> Path:
    """A generator and its directions -> the explorer as one HTML file, 4 MB at width 36; its path.

    It opens from disk, on any static site, or in an `<iframe src=...>`, and loads nothing.
    Raises ValueError as `page` does, and CheckpointError if the file can't be written.
    """
    atomic_write(Path(path), page(G, directions, title).encode())
    return Path(path)


def write_conditional(path: str | Path, G: ConditionalGenerator, title: str = TITLE) -> Path:
    """A conditional generator -> an explorer with a menu for each attribute; its path.

    Raises CheckpointError if the file can't be written.
    """
    menus = {}
    for name, table in zip(CONDITIONED, G.embedding.tables):
        vectors = table.weight.detach().cpu()
        menus[name.replace("_", " ")] = dict(zip(ATTRIBUTES[name], vectors))
    atomic_write(Path(path), page(G.net, {}, title, menus=menus).encode())
    return Path(path)


class InNotebook:
    """The HTML of `page`, in a frame below a cell. It works without a kernel.

    The frame's page can't reach the notebook's: it may only run its script and save an image.
    """

    def __init__(self, html: str, height: int = 820):
        self.html = html
        self.height = height  # pixels

    def __repr__(self):
        return "[an explorer: run this cell, then move its sliders]"

    def _repr_html_(self) -> str:
        return FRAME.format(height=self.height, html=escape(self.html))


def _smallest(G, inputs) -> tuple[nn.Sequential, int, int]:
    """-> G without batch norm, the bits of its weights, and how far a pixel is off with them."""
    whole_net = folded(G)
    for dtype in (torch.float16, torch.float32):
        net = copy.deepcopy(whole_net).to(dtype)
        error = _largest_error(net, G, inputs)
        if error <= 2:
            break
    return net, torch.finfo(dtype).bits, error


def _largest_error(net, G, z) -> int:
    """-> how far, of 255, any pixel of the network's faces is from the generator's."""
    expected = to_pixels(generate(G, z)).int()
    faces = copy.deepcopy(net).float()(z[:, :, None, None])
    return (to_pixels(faces).int() - expected).abs().max().item()


def _all_rounded(vectors) -> dict[str, list[float]]:
    return {name: [round(x, 5) for x in vector.tolist()] for name, vector in vectors.items()}


def _layer(conv, activation) -> dict:
    """A layer as the page's script reads it; zeros fill its channels up to a multiple of four."""
    inputs, outputs = conv.weight.shape[:2]
    is_first = conv.stride == (1, 1)
    more_inputs = 0 if is_first else -inputs % 4
    more_outputs = -outputs % 4
    weight = F.pad(conv.weight, (0, 0, 0, 0, 0, more_outputs, 0, more_inputs))
    weight = weight.permute(2, 3, 1, 0) if is_first else phases(weight)
    if isinstance(activation, nn.Tanh):  # which the script applies at the end
        slope = 1.0
    else:
        slope = getattr(activation, "negative_slope", 0.0)
    return {
        "from": inputs + more_inputs,
        "to": outputs + more_outputs,
        "slope": slope,
        "weights": _base64(weight),
        "bias": _base64(F.pad(conv.bias, (0, more_outputs))),
    }


def _base64(tensor) -> str:
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()
