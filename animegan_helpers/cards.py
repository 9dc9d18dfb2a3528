"""Facts about a generator become its model card and the card of a Space. Built on page 11."""

import json
from dataclasses import asdict, dataclass

from torch import Tensor

from . import metrics
from .generator import Generator
from .judge import resizing_note
from .pretrained import generator_arguments
from .recipes import Recipe
from .sources import PUBLIC_SETS

MARK = "<!-- written by animegan_helpers share"  # a card with it may be replaced
KEEP = ": delete this line to keep your changes; `share` then refuses to replace this folder -->"
CARD = """---
pipeline_tag: unconditional-image-generation
tags: [gan, dcgan, anime]
{license_line}---
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

License of the weights: {license}

## Training

{training}

## Evaluation

{evaluation}

## Sliders and limits

The sliders: {directions}.

Near their ends, faces can have faults, and other attributes change. The generator only knows faces
like those that it learned from.
"""
SPACE = """---
title: {title}
emoji: 🎨
colorFrom: pink
colorTo: blue
sdk: static
app_file: index.html
pinned: false
{license_line}---
{mark}

`index.html` generates anime faces in your browser, by a GAN with {weights:,} weights. Nothing is
loaded and nothing is sent. No artist drew these faces.

## Data and rights

{rights}

License of the weights: {license}
"""


@dataclass
class Facts:
    """What is known of a generator beside its weights; what is not known, its cards say."""

    recipe: Recipe | None = None
    images: int | None = None  # how many it was trained on
    numbers: dict[str, list] | None = None  # of `metrics.measure`
    data: str = ""  # "drawn", the name of a public set, or a sentence about the images
    license: str = ""  # of the weights, as Hugging Face writes it: "mit"
    steps: int | None = None  # how many the training took
    changed: str = ""  # a sentence on what was done to the weights after the training


def rights(data: str) -> str:
    """The `data` of `Facts` -> what a card says about the rights of others."""
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


def model_card(
    G: Generator, title: str, files: dict[str, str], directions: dict[str, Tensor], facts: Facts
) -> str:
    """A generator and what is known of it -> its model card in Markdown.

    It states what is not known, rather than leaving it out.
    """
    arguments = generator_arguments(G)
    others = {name: text for name, text in files.items() if name != "README.md"}
    return CARD.format(
        title=title,
        z_dim=arguments["z_dim"],
        size=arguments["size"],
        files="\n".join(f"- `{name}`: {text}" for name, text in others.items()),
        training=_training(facts),
        evaluation=_evaluation(facts.numbers, arguments["size"]),
        directions=", ".join(directions),
        **_in_both_cards(G, facts),
    )


def space_card(G: Generator, title: str, facts: Facts) -> str:
    """A generator and what is known of it -> the README.md of a static Space on Hugging Face.

    Its header is what huggingface.co/docs/hub/spaces-config-reference asks for.
    """
    return SPACE.format(title=json.dumps(title, ensure_ascii=False), **_in_both_cards(G, facts))


def _in_both_cards(G, facts) -> dict:
    license_line = ""
    text = "not chosen yet. Add one (`license:` at the top of this file) before you publish them."
    if facts.license:
        license_line = f"license: {facts.license}\n"
        text = facts.license.upper() + "."
    return {
        "mark": MARK + KEEP,
        "weights": sum(weight.numel() for weight in G.parameters()),
        "rights": rights(facts.data),
        "license": text,
        "license_line": license_line,
    }


def _training(facts) -> str:
    images = "The number of training images is not known."
    if facts.images is not None:
        images = f"It was trained on {facts.images:,} images."
    steps = "The number of training steps is not known."
    if facts.steps is not None:
        steps = f"The training took {facts.steps:,} steps."
    if facts.changed:
        steps += f" {facts.changed}"
    if facts.recipe is None:
        return f"{images} {steps} The recipe was not kept."
    lines = [f"{images} {steps} The recipe, as page 09 explains it:", ""]
    lines += ["| field | value |", "|---|---|"]
    for name, value in asdict(facts.recipe).items():
        if name not in ("steps", "epochs"):  # what was planned
            lines.append(f"| {name} | {value} |")
    return "\n".join(lines)


def _evaluation(numbers, size) -> str:
    if not numbers:
        return "Not measured (`python -m animegan_helpers measure` does it)."
    explanation = (
        "The features are those of animegan_helpers' judge, not of Inception. Each row is the mean"
        " and the standard deviation over several samples of faces. A row with (real) measures"
        " other real faces in the same way: what a perfect generator would reach. Lower is better,"
        " except for precision, recall and the color pairs."
    )
    note = resizing_note(size)
    if note:
        explanation += f" {note}"
    return f"{explanation}\n\n```\n{metrics.format_table(numbers)}\n```"
