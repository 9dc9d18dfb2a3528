"""Make the package's generator, its directions, tables, and card; the judge, if there is none.

python tests/benchmarks/make_pretrained.py [STEPS] -> animegan_helpers/pretrained/

It works in data/pretrained/. Interrupted, it goes on. A judge that is there stays: all published
tables are measured with it.
"""

import copy
import sys
from datetime import date
from pathlib import Path

import torch
from pretrained_card import effects_table, pretrained_card
from record import processor, without_build, write_json, write_png

from animegan_helpers import checkpoints, device, drawn, latent, metrics, plotting, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import Generator, sample
from animegan_helpers.judge import (
    PRETRAINED,
    Judge,
    accuracy,
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
    """Train in the folder `RUN`. Exits if it was stopped before the recipe's last step."""
    resume = bool(checkpoints.saved(RUN))
    trainer = train(recipe, faces, RUN, device=device.pick().device, resume=resume)
    if trainer.steps_done < recipe.steps:
        done = f"step {trainer.steps_done:,} of {recipe.steps:,}"
        sys.exit(f"stopped at {done}: the same command goes on")


def save_generator(G: Generator, directions: dict[str, torch.Tensor], recipe: Recipe) -> None:
    """A generator and its directions -> generator.safetensors, in half precision."""
    half = {name: direction.half() for name, direction in directions.items()}
    content = to_safetensors(copy.deepcopy(G).half(), half, recipe)
    checkpoints.atomic_write(PRETRAINED / "generator.safetensors", content)


def training_facts(count: int) -> dict:
    """The number of training faces -> what the card says about the training."""
    state = checkpoints.newest(RUN)
    return {
        "faces": count,
        "steps": state["steps_done"],
        "hours": round(state["seconds"] / 3600, 1),
        "machine": processor(),
        "torch": without_build(torch.__version__),
        "date": str(date.today()),
    }


def draw_sliders() -> None:
    """-> recorded/sliders.png: each slider, on a face on which all eight are easy to see."""
    sliders = Explorer(*load_pretrained(), seed=24).figure()
    write_png(sliders.image, plotting.RECORDED / "sliders.png")


def main(steps: str = "") -> None:
    recipe = recipes.get("pretrained", steps=int(steps) if steps else None)
    training_faces, _ = labeled_faces("trained", 16_384, 1)
    train_generator(recipe, training_faces)

    test_faces, test_labels = labeled_faces("test", 2000, 4)
    PRETRAINED.mkdir(exist_ok=True)
    first = judge_at(PRETRAINED / "judge.pt", 4096, 2)
    second = judge_at(WORK / "second_judge.pt", 4096, 3)

    G = load_generator(RUN)
    save_generator(G, latent.attribute_directions(G, first), recipe)
    G, directions = load_pretrained()  # measured as it is published: in half precision
    tables = {
        "accuracy": accuracy(first, test_faces, test_labels),
        "second judge's accuracy": accuracy(second, test_faces, test_labels),
        "effects": latent.effects(G, second, directions),
        "training images": len(training_faces),
        "measures": metrics.measure(G, training_faces, first, test_faces),
    }
    write_json(tables, PRETRAINED / "tables.json")
    card = pretrained_card(tables, training_facts(len(training_faces)))
    (PRETRAINED / "README.md").write_text(card, encoding="utf-8")
    write_png(plotting.grid(sample(G, 32, 0), 8), PRETRAINED / "faces.png")
    draw_sliders()
    print(metrics.format_table(tables["measures"]))
    print(effects_table(tables["effects"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
