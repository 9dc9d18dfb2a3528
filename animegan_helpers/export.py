"""A generator becomes files for others: weights, a model card, a web page. Built on page 11."""

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from . import checkpoints, latent, metrics, plotting, recipes
from .generator import Generator, sample
from .judge import PRETRAINED, extract_features, load_judge, resizing_note
from .pretrained import generator_arguments, load_pretrained, to_safetensors
from .recipes import Recipe
from .runs import load_generator, read_recipe
from .sources import PUBLIC_SETS
from .web_page import TITLE, page

MARK = "<!-- written by animegan_helpers share -->"  # a folder with it in README.md may be replaced
FILES = {  # in the order in which they are written: the card with its mark first
    "README.md": "the model card: what this is, which images it learned from, how good it is",
    "samples.png": "32 faces",
    "faces.html": "the generator with sliders: open it in a browser, no server or network needed",
    "generator.safetensors": "all weights, and the sliders' directions; reading it runs no code",
}
CARD = """---
pipeline_tag: unconditional-image-generation
tags: [gan, dcgan, anime]
---
{mark}

# {title}

![32 generated faces in four rows](samples.png)

A DCGAN generator with {weights:,} weights. From a latent vector of {z_dim} numbers, each drawn from
N(0, 1), it generates an anime face of {size}x{size} pixels.

## Files

{files}

In Python:

```python
from animegan_helpers.generator import sample
from animegan_helpers.pretrained import load_safetensors

G, directions = load_safetensors("generator.safetensors")
faces = sample(G, 64)  # (64, 3, {size}, {size}) in [-1, 1]
```

## Data and rights

{rights}

License of the weights: not chosen yet. Add one (`license:` at the top of this file) before you
publish them.

## Training

{training}

## Evaluation

{evaluation}

## Sliders and limits

The sliders: {directions}.

At their ends, faces fall apart. The generator only knows faces like those that it learned from.
"""


def sliders(G: Generator) -> dict[str, Tensor]:
    """A generator -> unit directions (z_dim,) for its sliders, by name.

    They are attribute directions if the package's judge knows faces like G's, or else those of
    `latent.sefa`, which have numbers instead of names. The judge sees faces of any size at 64x64.
    """
    judge = load_judge()
    means = extract_features(judge, sample(G, 256, 0)).mean(0)
    # The mean square is 0 for synthetic faces, about 0.1 soon after training has begun, and 0.5 for
    # other anime faces. Resizing adds to it: 0.15 at 32 pixels, and more than 0.3 at 16, where the
    # judge reads hair and skin only.
    if means.square().mean() < 0.25:
        return latent.attribute_directions(G, judge)
    directions = {}
    for i, direction in enumerate(latent.sefa(G, min(8, G.z_dim))):
        directions[f"direction {i + 1}"] = direction
    return directions


def describe(run: str | Path | None = None) -> dict:
    """A run's folder, or None for the pretrained generator -> the arguments of `write`.

    Raises CheckpointError if it is not the folder of a run that was saved.
    """
    if run is None:
        G, directions = load_pretrained()
        return {
            "G": G,
            "directions": directions,
            "recipe": recipes.get("pretrained"),
            "numbers": _read_json(PRETRAINED / "tables.json")["measures"],
            "data": "drawn",
        }
    G = load_generator(run)
    measures = Path(run) / "measures.json"
    return {
        "G": G,
        "directions": sliders(G),
        "recipe": read_recipe(run),
        "numbers": _read_json(measures) if measures.exists() else None,
    }


def _read_json(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write(
    out: str | Path,
    G: Generator,
    *,
    directions: dict[str, Tensor] | None = None,
    recipe: Recipe | None = None,
    numbers: dict[str, list] | None = None,
    data: str = "",
    title: str = TITLE,
) -> dict[str, str]:
    """A generator -> all of `FILES` in the folder `out`; -> what each of them is, by name.

    `directions` are unit vectors (z_dim,) by name (default: `sliders`), `numbers` are those of
    `metrics.measure`, and `data` is "drawn", the name of a public set, or a sentence about the
    images that G learned from. Files that this function wrote before are replaced.
    Raises FileExistsError if a file of another origin has one of the names.
    """
    out = Path(out)
    _refuse_foreign_files(out)
    if directions is None:
        directions = sliders(G)
    faces = sample(G, 32, 0)
    zoom = plotting.zoom_for(faces, pixels=128)
    samples = plotting.show_grid(faces, "32 random faces.", columns=8, zoom=zoom)
    contents = {
        "README.md": card(G, title, FILES, directions, recipe, numbers, data).encode(),
        "samples.png": samples.png(),
        "faces.html": page(G, directions, title).encode(),
        "generator.safetensors": to_safetensors(G, directions, recipe),
    }
    for name in FILES:
        checkpoints.atomic_write(out / name, contents[name])
    return dict(FILES)


def _refuse_foreign_files(out) -> None:
    taken = [name for name in FILES if (out / name).exists()]
    readme = out / "README.md"
    if readme.is_file() and MARK in readme.read_text(encoding="utf-8", errors="replace"):
        return
    if taken:
        raise FileExistsError(
            f"{out} has a {taken[0]} of another origin: choose a new folder, which will be created"
        )


def rights(data: str) -> str:
    """The `data` of `write` -> what the card says about the rights of others."""
    if data == "drawn":
        return (
            "It learned from synthetic faces, drawn by `animegan_helpers.drawn`. No image made by"
            " anybody else was used."
        )
    if data in PUBLIC_SETS:
        return (
            f"It learned from [{data}]({PUBLIC_SETS[data].page()}): a re-upload of faces that a"
            " program cropped from other people's images. The artists were not asked. Consider"
            " this before you publish the weights or earn money with them."
        )
    if data:
        return data
    return (
        "**Unknown.** Before you publish this, write here which images it learned from, and"
        " whether their authors agreed."
    )


def card(
    G: Generator,
    title: str,
    files: dict[str, str],
    directions: dict[str, Tensor],
    recipe: Recipe | None = None,
    numbers: dict[str, list] | None = None,
    data: str = "",
) -> str:
    """A generator and what is known of it -> its model card in Markdown.

    It states what is not known, rather than leaving it out.
    """
    arguments = generator_arguments(G)
    others = {name: text for name, text in files.items() if name != "README.md"}
    return CARD.format(
        mark=MARK,
        title=title,
        weights=sum(weight.numel() for weight in G.parameters()),
        z_dim=arguments["z_dim"],
        size=arguments["size"],
        files="\n".join(f"- `{name}`: {text}" for name, text in others.items()),
        rights=rights(data),
        training=_training(recipe),
        evaluation=_evaluation(numbers, arguments["size"]),
        directions=", ".join(directions),
    )


def _training(recipe) -> str:
    if recipe is None:
        return "The recipe was not kept."
    lines = ["The recipe, as page 09 explains it:", "", "| field | value |", "|---|---|"]
    for name, value in asdict(recipe).items():
        lines.append(f"| {name} | {value} |")
    return "\n".join(lines)


def _evaluation(numbers, size) -> str:
    if not numbers:
        return "Not measured (`python -m animegan_helpers measure` does it)."
    explanation = (
        "The features are those of animegan_helpers' judge, not of Inception. Each row is the mean"
        " and the standard deviation over several samples of faces. A row with (real) measures"
        " other real faces in the same way: what a perfect generator would reach."
    )
    note = resizing_note(size)
    if note:
        explanation += f" {note}"
    return f"{explanation}\n\n```\n{metrics.format_table(numbers)}\n```"
