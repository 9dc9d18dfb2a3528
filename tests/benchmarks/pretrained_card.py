"""Measured tables and the facts of a training become the card of the pretrained generator."""

from animegan_helpers import metrics, recipes
from animegan_helpers.latent import SCALES
from animegan_helpers.pretrained import load_pretrained


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A head, and rows with a cell for each column -> a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, *rows]]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


def effects_table(effects: dict) -> str:
    """Effects of directions -> a table: how often each is correct, how far it moves each scale."""
    rows = []
    for name, effect in effects.items():
        cells = [name, f"{effect['correct']:.1%}"]
        for scale in SCALES:
            move = f"{effect['moves'][scale]:+.1f}"
            cells.append(f"**{move}**" if scale == name else move)
        rows.append(cells)
    return markdown_table(["direction", "correct", *SCALES], rows)


def accuracy_table(tables: dict) -> str:
    """The accuracy of both judges -> a table, one row for each."""
    first = tables["accuracy"]
    second = tables["second judge's accuracy"]
    rows = [
        ["the package's judge", *(f"{value:.1%}" for value in first.values())],
        ["the second judge", *(f"{value:.1%}" for value in second.values())],
    ]
    return markdown_table(["judge", *first], rows)


def pretrained_card(tables: dict, facts: dict) -> str:
    """The tables and the facts of the training -> pretrained/README.md."""
    return card_of_training(tables, facts) + card_of_results(tables)


def card_of_training(tables: dict, facts: dict) -> str:
    """How the generator was made -> the first half of its card."""
    G, directions = load_pretrained()
    recipe = recipes.get("pretrained")
    weights = sum(parameter.numel() for parameter in G.parameters())
    distances = {float(factor): distance for factor, distance in tables["FID by factor"].items()}
    factor = min(distances, key=distances.get)
    return f"""# The pretrained generator and its judge

![32 faces of the pretrained generator](faces.png)

**What it is.** `generator.safetensors` holds a DCGAN generator and {len(directions)} directions in
its latent space that have a meaning. The generator has {weights:,} weights in half precision (width
{recipe.width}, latent vectors of {recipe.z_dim} components). It generates synthetic anime faces of
{recipe.size}x{recipe.size} pixels. `judge.pt` holds a small network that predicts nine attributes
of such a face. All published tables are measured with it. Load both with
`pretrained.load_pretrained()` and `judge.load_judge()`.

**How it was made.** `python tests/benchmarks/make_pretrained.py`: {facts["faces"]:,} synthetic
faces, drawn by this project's own code (`drawn`, seed 1); recipe `{recipe.name}`;
{facts["steps"]:,} steps of {recipe.batch} faces in {facts["minutes"]} minutes on {facts["machine"]}
(torch {facts["torch"]}, {facts["date"]}). Each judge learned from 4,096 other synthetic faces
(seeds 2 and 3).

**Longer latent vectors.** After the training, the weight of the first layer was multiplied by
{factor}. This has the same effect as multiplying each latent vector by {factor}, the opposite of
truncation. It makes what the generator generated too rarely, such as accessories, more frequent.
The factor is the one with the lowest FID against training faces, by the package's judge (2,000
faces, one sample): {", ".join(f"{value:.2f} with {name}" for name, value in distances.items())}.

**Data and rights.** No image by anybody else was used. The license is MIT, like that of the
project.
"""


def card_of_results(tables: dict) -> str:
    """The tables -> the second half of the card: what was measured."""
    return f"""
**How good it is.** Each row is the mean over three samples of 2,000 faces, and its standard
deviation. FID, KID, precision and recall use the features of the package's judge, the color pairs
and the total variation distance its predictions, sliced Wasserstein the pixels. Rows with "(real)"
give the same number for other synthetic faces: for a distance, the floor. Lower is better, except
for precision, recall and the color pairs, of which 80 are possible. Copies are counted in small
images, against 2,000 faces that the generator never saw; 1 % is chance.

```
{metrics.format_table(tables["measures"])}
```

**What the directions do.** 200 latent vectors were moved from -4 to +4 along each direction. A
*second* judge, which had no part in finding the directions, scored the faces. *Correct* is the
share of latent vectors whose scale increased. The other numbers are the mean change of each scale,
in its standard deviations over random latent vectors. The scales don't show everything: blue and
green hair count alike, and hair styles don't count.

{effects_table(tables["effects"])}

**The accuracy of the judges** on 2,000 faces that neither of them saw:

{accuracy_table(tables)}

**Limits.** The generator knows one style, one pose and 64x64 pixels. It has never seen a photo or a
painting. Far along a direction, faces fall apart. The low end of *mouth closed to open* is mostly a
small round mouth, not a closed one. The judge is reliable for colors and lengths, and less so for
mouths, accessories and the shape of eyes.
"""
