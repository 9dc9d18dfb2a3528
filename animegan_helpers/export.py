"""A generator becomes files for others: weights, a model card, a web page. Built on page 11.

The explorer alone, one HTML file: `web_page.write`.
"""

import json
from pathlib import Path

import numpy as np
from torch import Tensor

from . import checkpoints, latent, plotting, recipes
from .cards import MARK, Facts, model_card, space_card
from .files import expand
from .generator import Generator, sample
from .judge import PRETRAINED, extract_features, load_judge
from .pretrained import load_pretrained, to_safetensors
from .runs import MEASURES, load_generator, read_data, read_recipe
from .web_page import TITLE, page

FILES = {  # in the order in which they are written: the card with its mark first
    "README.md": "the model card: what this is, which images it learned from, how good it is",
    "samples.png": "32 faces",
    "faces.html": "the generator with sliders: open it in a browser, no server or network needed",
    "generator.safetensors": "all weights, and the sliders' directions; reading it runs no code",
    "space/README.md": "the settings of a static Space on Hugging Face",
    "space/index.html": "the same page as faces.html, under the name that a site opens first",
}


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
        tables = _read_json(PRETRAINED / "tables.json")
        facts = Facts(
            recipe=recipes.get("pretrained"),
            images=tables["training images"],
            steps=recipes.get("pretrained").steps,
            numbers=tables["measures"],
            data="drawn",
            license="mit",
            changed=_lengthened(tables),
        )
        return {"G": G, "directions": directions, "facts": facts}
    G = load_generator(run)
    facts = Facts(
        recipe=read_recipe(run),
        images=read_data(run).get("images"),
        steps=_steps(expand(run)),
        numbers=_read_measures(expand(run) / MEASURES),
    )
    return {"G": G, "directions": sliders(G), "facts": facts}


def _lengthened(tables) -> str:
    """-> what was done to the pretrained generator's weights, as `make_pretrained.py` chose it."""
    distances = tables["FID by factor"]
    factor = min(distances, key=distances.get)
    trained = np.mean(tables["measures as trained"]["FID"])
    return (
        f"After it, the weights of the first layer were multiplied by {factor}, the factor with the"
        f" lowest FID of {len(distances)}. As trained, the FID was {trained:.2f}."
    )


def _steps(run) -> int | None:
    """-> the steps that made a run's generator, or None if its checkpoints were deleted."""
    if not (run / "G.pth").exists():
        return checkpoints.newest(run)["steps_done"]
    return max(map(checkpoints.step_of, checkpoints.saved(run)), default=None)


def _read_json(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_measures(path) -> dict | None:
    """-> the numbers that `measure` wrote, or None. Raises ValueError if the file is damaged."""
    if not path.exists():
        return None
    try:
        return _read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): measure the run again, or delete the file"
        ) from None


def write(
    out: str | Path,
    G: Generator,
    facts: Facts | None = None,
    directions: dict[str, Tensor] | None = None,
    title: str = TITLE,
) -> dict[str, str]:
    """A generator -> all of `FILES` in the folder `out`; -> what each of them is, by name.

    The folder is a model for Hugging Face, and its folder `space` a static Space. `facts` is what
    the cards say. `directions` are unit vectors (z_dim,) by name (default: `sliders`). Files that
    this function wrote before are replaced.
    Raises FileExistsError if a file of another origin, or a card without its mark, has one of the
    names.
    """
    out = expand(out)
    _refuse_foreign_files(out)
    if facts is None:
        facts = Facts()
    if directions is None:
        directions = sliders(G)
    faces = sample(G, 32, 0)
    zoom = plotting.zoom_for(faces, pixels=128)
    samples = plotting.show_grid(faces, "32 random faces.", columns=8, zoom=zoom)
    html = page(G, directions, title).encode()
    of_model = {name: text for name, text in FILES.items() if not name.startswith("space/")}
    contents = {
        "README.md": model_card(G, title, of_model, directions, facts).encode(),
        "samples.png": samples.png(),
        "faces.html": html,
        "generator.safetensors": to_safetensors(G, directions, facts.recipe),
        "space/README.md": space_card(G, title, facts).encode(),
        "space/index.html": html,
    }
    for name in FILES:
        checkpoints.atomic_write(out / name, contents[name])
    return dict(FILES)


def _refuse_foreign_files(out) -> None:
    """Raises FileExistsError if a card has no mark, or if there are files without a card."""
    taken = [name for name in FILES if (out / name).exists()]
    kept = [name for name in taken if name.endswith("README.md") and not _has_mark(out / name)]
    if taken and (kept or "README.md" not in taken):
        raise FileExistsError(
            f"{out} has a {[*kept, *taken][0]} of another origin, or one that you chose to keep:"
            " choose a new folder, which will be created"
        )


def _has_mark(card) -> bool:
    return card.is_file() and MARK in card.read_text(encoding="utf-8", errors="replace")
