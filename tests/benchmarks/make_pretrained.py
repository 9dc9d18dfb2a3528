"""Make the package's generator, its directions, tables, and card; the judge, if there is none.

python tests/benchmarks/make_pretrained.py -> animegan_helpers/pretrained/

It works in data/pretrained/. Interrupted, it goes on. The training is meant for a GPU; when it has
finished, its folder, data/pretrained/run, can be moved, and the rest be done on another machine. A
judge that is there stays: all published tables are measured with it.
"""

import copy
import json
import sys
from datetime import date
from pathlib import Path

import torch
from pretrained_card import effects_table, pretrained_card
from record import versions, without_build, write_json, write_png

from animegan_helpers import checkpoints, device, drawn, latent, metrics, plotting, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import Generator, sample
from animegan_helpers.images import to_pixels
from animegan_helpers.judge import (
    PRETRAINED,
    Judge,
    accuracy,
    extract_features,
    load_judge,
    save_judge,
    train_judge,
    true_labels,
)
from animegan_helpers.prepare import prepare
from animegan_helpers.pretrained import load_pretrained, to_safetensors
from animegan_helpers.recipes import Recipe
from animegan_helpers.runs import load_generator
from animegan_helpers.training import train
from animegan_helpers.widgets import Explorer

WORK = device.data_folder() / "pretrained"
RUN = WORK / "run"
FACTS = RUN / "facts.json"  # of its training, once it has finished
COUNT = 2000  # faces per number
SLIDERS_SEED = 3  # the face of page 00
FACTORS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)  # of the length of latent vectors


def labeled_faces(name: str, count: int, seed: int) -> tuple[Faces, torch.Tensor]:
    """-> a prepared set of synthetic faces, and its labels (N, 9)."""
    folder = WORK / name
    if not (folder / "labels.csv").exists():
        drawn.write(folder, count, seed)
    faces = prepare(folder, WORK / f"{name}_64")
    return faces, true_labels(faces, folder)


def judge_at(path: Path, count: int, seed: int) -> Judge:
    """-> the judge in the file; if there is none, it is trained on a separate set."""
    if not path.exists():
        faces, labels = labeled_faces(f"judged_{seed}", count, seed)
        save_judge(train_judge(faces, labels, seed=seed), path)
    return load_judge(path)


def train_generator(recipe: Recipe, faces: Faces) -> None:
    """Train in the folder `RUN` -> facts.json there.

    Exits if it was stopped before the recipe's last step.
    """
    resume = bool(checkpoints.saved(RUN))
    where = device.pick().device
    trainer = train(recipe, faces, RUN, device=where, resume=resume)
    if trainer.steps_done < recipe.steps:
        done = f"step {trainer.steps_done:,} of {recipe.steps:,}"
        sys.exit(f"stopped at {done}: the same command goes on")
    facts = {
        "faces": len(faces),
        "steps": trainer.steps_done,
        "minutes": round(trainer.seconds / 60),
        "machine": versions(where)["machine"],
        "torch": without_build(torch.__version__),
        "date": str(date.today()),
    }
    write_json(facts, FACTS)


def fid_by_factor(G: Generator, faces: Faces, judge: Judge) -> dict[float, float]:
    """-> the FID of faces whose latent vectors were multiplied by each of `FACTORS`."""
    real = extract_features(judge, faces[:COUNT])
    distances = {}
    for factor in FACTORS:
        fake = to_pixels(sample(lengthened(G, factor), COUNT, 0, "factor"))
        distances[factor] = metrics.fid(real, extract_features(judge, fake))
    return distances


def lengthened(G: Generator, factor: float) -> Generator:
    """-> a generator that makes of z what `G` makes of factor * z.

    Its first layer's weight is multiplied. The batch norm behind it, in eval mode, stays as it is.
    """
    G = copy.deepcopy(G)
    with torch.no_grad():
        G.net[0].weight *= factor
    return G


def save_generator(G: Generator, directions: dict[str, torch.Tensor], recipe: Recipe) -> None:
    """A generator and its directions -> generator.safetensors, in half precision."""
    half = {name: direction.half() for name, direction in directions.items()}
    content = to_safetensors(copy.deepcopy(G).half(), half, recipe)
    checkpoints.atomic_write(PRETRAINED / "generator.safetensors", content)


def draw_sliders() -> None:
    """-> recorded/sliders.png: each slider, on one face."""
    sliders = Explorer(*load_pretrained(), seed=SLIDERS_SEED).figure()
    write_png(sliders.image, plotting.RECORDED / "sliders.png")


def main() -> None:
    recipe = recipes.get("pretrained")
    training_faces, _ = labeled_faces("trained", 32_768, 1)
    if not FACTS.exists():
        train_generator(recipe, training_faces)

    test_faces, test_labels = labeled_faces("test", COUNT, 4)
    PRETRAINED.mkdir(exist_ok=True)
    first = judge_at(PRETRAINED / "judge.pt", 4096, 2)
    second = judge_at(WORK / "second_judge.pt", 4096, 3)

    G_trained = load_generator(RUN)
    distances = fid_by_factor(G_trained, training_faces, first)
    G = lengthened(G_trained, min(distances, key=distances.get))
    save_generator(G, latent.attribute_directions(G, first), recipe)
    G, directions = load_pretrained()  # measured as it is published: in half precision
    tables = {
        "accuracy": accuracy(first, test_faces, test_labels),
        "second judge's accuracy": accuracy(second, test_faces, test_labels),
        "effects": latent.effects(G, second, directions),
        "FID by factor": distances,
        "training images": len(training_faces),
        "measures": metrics.measure(G, training_faces, first, test_faces),
        "second judge's measures": metrics.measure(G, training_faces, second),
        "measures as trained": metrics.measure(G_trained, training_faces, first),
        "second judge's measures as trained": metrics.measure(G_trained, training_faces, second),
    }
    write_json(tables, PRETRAINED / "tables.json")
    card = pretrained_card(tables, json.loads(FACTS.read_text(encoding="utf-8")))
    (PRETRAINED / "README.md").write_text(card, encoding="utf-8")
    write_png(plotting.grid(sample(G, 32, 0), 8), PRETRAINED / "faces.png")
    draw_sliders()
    print(metrics.format_table(tables["measures"]))
    print(effects_table(tables["effects"]))


if __name__ == "__main__":
    main()
