"""Make what comes with the package: the generator, its directions, their tables, the card; the judge, if there is none.

python tests/benchmarks/make_ready.py [STEPS] -> animegan_helpers/ready/ (works in data/ready/; cut off, it goes on)
A judge that is there stays: all published tables are measured with it.
"""

import copy
import json
import sys
from datetime import date

import torch
from record import processor

from animegan_helpers import checkpoints, device, drawn, latent, measure, plotting, preprocess, recipes, share, training
from animegan_helpers.widgets import Explorer

WORK = device.data_folder() / "ready"


def faces(name: str, count: int, seed: int):
    """A set of drawn faces, prepared, and its labels."""
    folder = WORK / name
    if not (folder / "labels.csv").exists():
        drawn.write(folder, count, seed)
    prepared = preprocess.prepare(folder, WORK / f"{name}_64")
    return prepared, measure.labels(prepared, folder)


def judge(path, count: int, seed: int, test):
    """A judge that learned from faces of its own, and how often it is right on faces that it never saw."""
    if not path.exists():
        measure.save_judge(measure.train_judge(*faces(f"judged_{seed}", count, seed), seed=seed), path)
    learned = measure.load_judge(path)
    return learned, measure.accuracy(learned, *test)


def as_files(G, directions, recipe) -> None:
    """A generator and its directions -> `ready/generator.safetensors`, in half precision."""
    ways = {name: way.half() for name, way in directions.items()}
    file = share.weights(copy.deepcopy(G).half(), ways, recipe)
    checkpoints.write_whole(measure.READY / "generator.safetensors", file)


def effects_table(effects) -> str:
    """The effects -> lines of a table: on how many codes the wanted scale moves up, and how far each scale moves."""
    rows = ["| direction | right | " + " | ".join(latent.SCALES) + " |", "|---" * (2 + len(latent.SCALES)) + "|"]
    for name, told in effects.items():
        moves = [f"**{value:+.1f}**" if key == name else f"{value:+.1f}" for key, value in told["moves"].items()]
        rows.append(f"| {name} | {told['right']:.0%} | " + " | ".join(moves) + " |")
    return "\n".join(rows)


def main(steps: str = "") -> None:
    recipe = recipes.get("ready", steps=int(steps) if steps else None)
    trained_on, _ = faces("trained", 16_384, 1)
    run, machine = WORK / "run", device.pick()
    game = training.train(recipe, trained_on, run, device=machine.device, resume=bool(checkpoints.saved(run)))
    if game.step < recipe.steps:
        sys.exit(f"stopped at step {game.step:,} of {recipe.steps:,}: the same command goes on")
    state = checkpoints.newest(run)

    test = faces("test", 2000, 4)
    measure.READY.mkdir(exist_ok=True)
    first, accuracy = judge(measure.READY / "judge.pt", 4096, 2, test)
    second, other_accuracy = judge(WORK / "second_judge.pt", 4096, 3, test)

    G = training.load_generator(run)
    as_files(G, latent.attribute_directions(G, first), recipe)
    G, directions = latent.ready()  # as it is shipped: in half precision
    effects = latent.effects(G, second, directions)
    numbers = measure.measure(G, trained_on, first, test[0])
    tables = {"accuracy": accuracy, "second judge's accuracy": other_accuracy, "effects": effects, "measures": numbers}
    (measure.READY / "tables.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
    plotting.grid(training.sample(G, 32, 0), 8).quantize(256).save(measure.READY / "faces.png", optimize=True)
    sliders = Explorer(G, directions, seed=3).figure().image.quantize(256)
    sliders.save(plotting.RECORDED / "sliders.png", optimize=True)
    weights = sum(p.numel() for p in G.parameters())
    (measure.READY / "README.md").write_text(f"""# The ready generator and its judge

![32 faces of the ready generator](faces.png)

**What it is.** `generator.safetensors`: a DCGAN generator ({weights:,} weights in half precision, width {recipe.width},
codes of {recipe.z_dim} numbers) that paints drawn-style anime faces of 64x64 pixels, and {len(directions)} directions
in its codes that mean something. `judge.pt`: a small network that reads nine attributes off such a face; all published
tables are measured with it. Load them with `latent.ready()` and `measure.load_judge()`.

**How it was made.** `python tests/benchmarks/make_ready.py`: {len(trained_on):,} faces drawn by this project's own code
(`drawn`, seed 1), recipe `{recipe.name}`, {state["step"]:,} steps of {recipe.batch} faces in
{state["seconds"] / 3600:.1f} hours on {processor()}, torch {torch.__version__.split("+")[0]}, {date.today()}.
Each judge learned from 4,096 other drawn faces (seeds 2 and 3).

**Data and rights.** No picture by anybody else was used. MIT, like the project.

**How good it is** (three samples of 2,000 faces; features of the shipped judge; "(real)" is the floor, the same
number for other drawn faces; copies are counted against 2,000 faces it never saw, and 1 % is chance):

```
{measure.table(numbers)}
```

**What the directions do.** 200 codes, each moved from -4 to +4 along a direction; read by a *second* judge that had no
part in finding them. *Right*: the share of codes whose scale went up. The numbers: how far each scale moved, in its
standard deviations over random codes.

{effects_table(effects)}

**The judges' accuracy** on 2,000 faces that neither saw:

| judge | {" | ".join(accuracy)} |
{"|---" * (1 + len(accuracy))}|
| the shipped one | {" | ".join(f"{value:.1%}" for value in accuracy.values())} |
| the second | {" | ".join(f"{value:.1%}" for value in other_accuracy.values())} |

**Limits.** It knows one style, one pose and 64x64 pixels, and it has never seen a photograph or a painting. Far along a
direction faces fall apart. The judge is good at colours and lengths, less so at mouths.
""", encoding="utf-8")  # fmt: skip
    print(measure.table(numbers), effects_table(effects), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
