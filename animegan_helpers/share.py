"""A generator becomes files for others: weights with a card, and one web page with sliders. Built in page 11."""

import base64
import copy
import json
from dataclasses import asdict
from html import escape
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from . import checkpoints, download, latent, measure, plotting, recipes
from .generator import Generator
from .preprocess import to_pixels
from .training import codes, load_generator, paint, read_recipe, sample

TITLE = "Anime faces from noise"
MARK = "<!-- written by animegan_helpers share -->"  # where README.md has it, the files beside it may be replaced
FILES = {  # in the order in which they are written: the card with its mark first
    "README.md": "the card: what this is, whose pictures it learned from, how good it is",
    "samples.png": "32 faces",
    "faces.html": "the generator with sliders: open it in a browser; it needs no server and no network",
    "generator.safetensors": "all weights and the sliders' directions; reading it runs no code",
}
TEMPLATE = Path(__file__).parent / "share.html"


# ---- without batch norm ----


@torch.no_grad()
def fold(conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """A transposed convolution and the batch norm behind it -> one that gives what both give in eval mode."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter(conv.weight * scale[:, None, None])  # (in, out, 4, 4)
    folded.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
    return folded


def folded(G: Generator) -> nn.Sequential:
    """A generator -> (N, z_dim, 1, 1) to faces without batch norm: a transposed convolution, its activation, the next.

    Raises ValueError if it is another network than the package's.
    """
    if not isinstance(G, Generator):
        raise ValueError(f"{type(G).__name__} can't be shared: it takes the package's Generator")
    *net, last, tanh = copy.deepcopy(G).cpu().requires_grad_(False).net
    last.bias = nn.Parameter(torch.zeros(3), requires_grad=False)
    blocks = [(fold(conv, norm), act) for conv, norm, act in zip(net[::3], net[1::3], net[2::3])]
    return nn.Sequential(*(part for block in blocks for part in block), last, tanh).requires_grad_(False)


def _pairs(net: nn.Sequential):
    return list(zip(net[::2], net[1::2]))


# ---- weights as files ----


def arguments(G: Generator) -> dict:
    """A generator -> the arguments that make its like: `Generator(**arguments(G))`."""
    convs = [part for part in G.net if isinstance(part, nn.ConvTranspose2d)]
    activation = "leaky_relu" if isinstance(G.net[2], nn.LeakyReLU) else "relu"
    size = 4 * 2 ** (len(convs) - 1)
    return {"width": convs[-1].in_channels, "z_dim": G.z_dim, "size": size, "activation": activation}


def weights(G: Generator, directions: dict, recipe=None) -> bytes:
    """A generator and its directions -> a safetensors file; its metadata tell how to build the network."""
    told = {"generator": arguments(G), "directions": list(directions)} | ({"recipe": asdict(recipe)} if recipe else {})
    tensors = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    tensors["directions"] = torch.stack(list(directions.values()))
    return safetensors.torch.save(tensors, {key: json.dumps(value) for key, value in told.items()})


# ---- the web page ----


def phases(weight: torch.Tensor) -> torch.Tensor:
    """(in, out, 4, 4) transposed weights, out in fours -> (2, 2, out/4, 2, 2, in, 4), as the web page reads them.

    With stride 2 and padding 1 an output pixel sees 2x2 input pixels through 2x2 of the 4x4 weights; which, depends on
    its row and column being even or odd: its phase. So: phase, block of four outputs, tap, input, output of the block.
    """
    inputs, outputs = weight.shape[:2]
    apart = weight.flip(2, 3).reshape(inputs, outputs // 4, 4, 2, 2, 2, 2)  # ..., tap, phase, tap, phase
    return apart.permute(4, 6, 1, 3, 5, 0, 2)


def link(code: torch.Tensor, directions: dict) -> str:
    """A code (z_dim,) -> the end of the web page's address that shows it, in steps of 1/32; sliders in the middle."""
    whole = (32 * code).round().clamp(-127, 127).to(torch.int8).numpy().tobytes()
    return f"#{base64.urlsafe_b64encode(whole).decode().rstrip('=')}.{'_'.join('0' * len(directions))}"


def page(G: Generator, directions: dict, title: str = TITLE, seed: int = 13) -> str:
    """A generator and its directions -> the web page, all in one text; it opens with the face of `seed`.

    Weights are in half precision, unless that changes any pixel of 64 faces by more than 2 of 255.
    """
    z = codes(64, G.z_dim, seed)
    faces = to_pixels(paint(G, z)).int()
    for number in (torch.float16, torch.float32):
        net = folded(G).to(number)
        off = (to_pixels(copy.deepcopy(net).float()(z[:, :, None, None])).int() - faces).abs().max().item()
        if off <= 2:
            break
    bits = torch.finfo(number).bits
    ways = {name: [round(x, 5) for x in way.tolist()] for name, way in directions.items()}
    blocks = [_block(conv, act) for conv, act in _pairs(net)]
    model = {"z_dim": G.z_dim, "bits": bits, "start": link(z[0], ways), "directions": ways, "layers": blocks}
    about = (
        f"A network of {sum(p.numel() for p in G.parameters()):,} weights paints these faces here, in your browser:"
        f" nothing is loaded, nothing is sent. Its weights have {bits} bits each; in {len(z)} faces tried, no pixel"
        f" differs from PyTorch's by more than {off} of 255."
    )
    text = TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", escape(title)).replace("{{about}}", about)
    return text.replace("{{model}}", json.dumps(model).replace("<", "\\u003c"))


def _block(conv, act) -> dict:
    """A layer as the page's script reads it: its channels filled up to fours with zeros."""
    first, (inputs, outputs) = conv.stride == (1, 1), conv.weight.shape[:2]
    more, less = -outputs % 4, 0 if first else -inputs % 4
    weight = F.pad(conv.weight, (0, 0, 0, 0, 0, more, 0, less))
    order, bias = weight.permute(2, 3, 1, 0) if first else phases(weight), F.pad(conv.bias, (0, more))
    texts = (base64.b64encode(part.contiguous().numpy().tobytes()).decode() for part in (order, bias))
    slope = getattr(act, "negative_slope", float(isinstance(act, nn.Tanh)))  # the script has its tanh at the end
    return {"from": inputs + less, "to": outputs + more, "slope": slope} | dict(zip(("weights", "bias"), texts))


# ---- all of it ----


def sliders(G: Generator) -> dict[str, torch.Tensor]:
    """A generator -> directions for its sliders: by name, if it paints what the package's judge knows, or by number."""
    if arguments(G)["size"] == 64:
        judge = measure.load_judge()
        strange = measure.features(judge, sample(G, 256, 0)).mean(0).square().mean()
        if strange < 0.25:  # 0 for drawn faces, about 0.1 soon after training has begun, 0.5 for other anime faces
            return latent.attribute_directions(G, judge)
    return {f"direction {i + 1}": way for i, way in enumerate(latent.sefa(G, min(8, G.z_dim)))}


def known(run=None) -> dict:
    """A run's folder, or None for the ready generator -> what is known of it, for `write`."""
    if run is None:
        G, directions = latent.ready()
        numbers = json.loads((measure.READY / "tables.json").read_text(encoding="utf-8"))["measures"]
        return dict(G=G, directions=directions, recipe=recipes.get("ready"), numbers=numbers, data="drawn")
    file = Path(run) / "measures.json"
    numbers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    G = load_generator(run)
    return dict(G=G, directions=sliders(G), recipe=read_recipe(run), numbers=numbers)


def write(out, G: Generator, *, directions=None, recipe=None, numbers=None, data="", title=TITLE) -> dict[str, str]:
    """A generator -> the folder `out` with all of `FILES`; -> each file's name, and what it is.

    `directions` are unit vectors (z_dim,) by name (default: `sliders`), `numbers` what `measure.measure` gave, `data`
    "drawn", the name of a public set, or a sentence that says whose pictures it learned from. Files of an earlier
    sharing are replaced; raises FileExistsError if one of the names is taken by another file.
    """
    out, card_file = Path(out), Path(out) / "README.md"
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not (card_file.is_file() and MARK in card_file.read_text(encoding="utf-8", errors="replace")):
        raise FileExistsError(f"{out} holds another {taken[0]}: choose a folder of its own, which will be made")
    directions = sliders(G) if directions is None else directions
    told = dict(FILES)
    made = {"faces.html": page(G, directions, title).encode(), "generator.safetensors": weights(G, directions, recipe)}
    made["samples.png"] = plotting.show_grid(sample(G, 32, 0), "32 faces of random codes.", 8, zoom=2).png()
    made["README.md"] = card(G, title, told, directions, recipe, numbers, data).encode()
    for name in FILES:
        checkpoints.write_whole(out / name, made[name])
    return told


def rights(data: str) -> str:
    """What `write` was told of the data -> the card's words on it."""
    if data == "drawn":
        return "Faces drawn by a program, `animegan_helpers.drawn`. No picture by anybody else was used."
    if data in download.SETS:
        return (
            f"[{data}]({download.SETS[data].page()}): a re-upload of faces that a program cropped from other people's"
            " pictures. The artists were not asked. Ask yourself before you pass this on or earn money with it."
        )
    return data or "**Not told.** Before you pass this on, write here whose pictures it learned from, and who agreed."


def card(G: Generator, title: str, files: dict, directions: dict, recipe=None, numbers=None, data: str = "") -> str:
    """What is known of a generator -> its model card, in Markdown. What is not known is said, not left out."""
    count, sizes = sum(p.numel() for p in G.parameters()), arguments(G)
    made, good = "The recipe was not kept.", "Not measured (`python -m animegan_helpers measure` does)."
    if recipe:
        rows = "".join(f"| {name} | {value} |\n" for name, value in asdict(recipe).items())
        made = f"The recipe, as page 09 explains it:\n\n| number | value |\n|---|---|\n{rows}"
    if numbers:
        floor = "By animegan_helpers' judge, not Inception; mean and spread of several samples of faces."
        floor += ' "(real)" is the same number for other real faces, the best there can be.'
        good = f"{floor}\n\n```\n{measure.table(numbers)}\n```"
    listed = "\n".join(f"- `{name}`: {text}" for name, text in files.items() if name != "README.md")
    return f"""---
pipeline_tag: unconditional-image-generation
tags: [gan, dcgan, anime]
---
{MARK}

# {title}

![32 generated faces in four rows](samples.png)

A DCGAN generator of {count:,} weights: a code of {sizes["z_dim"]} numbers, each from N(0, 1), becomes a face of
{sizes["size"]}x{sizes["size"]} pixels.

## Files

{listed}

In Python: `G, directions = animegan_helpers.latent.load("generator.safetensors")`, then
`animegan_helpers.training.sample(G, 64)`.

## Data and rights

{rights(data)}

A licence for the weights: not told. Choose one (`license:` in the head of this file) before you pass them on.

## How it was made

{made}

## How good it is

{good}

## Sliders and limits

{", ".join(directions)}. Far along them faces fall apart. It can paint only what is like the faces that it learned from.
"""
