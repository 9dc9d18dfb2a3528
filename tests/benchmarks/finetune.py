"""Does a finished run gain from a higher penalty? It is trained further with three settings.

python tests/benchmarks/finetune.py RUN DATA [--steps 900] [--rate 5e-4] [--threads 2]
[--bfloat16] [--settings "the recipe's penalty" ...] [--name finetune]
-> recorded/finetune.json, finetune_faces.png and .json

Each setting starts from the networks of RUN, a folder, and uses its images, DATA. The
learning rates are constant and fall to zero in the second half. The settings differ only in D's
penalty: that of the recipe; R1 with a higher weight; R1 and R2. R2 is the penalty of R1 at fake
images (variants.py). The faces are those of the last setting. An interrupted training is resumed.
"""

import argparse
import json
from pathlib import Path

import torch
from gallery import compared_count, compared_sets, distances
from record import caption_of, versions, write_json, write_png
from tqdm import tqdm
from variants import step_with_r2

from animegan_helpers import checkpoints, device, plotting, runs
from animegan_helpers.dataset import Faces, batches
from animegan_helpers.generator import sample
from animegan_helpers.prepare import load_faces
from animegan_helpers.recipes import Recipe
from animegan_helpers.speed import PLAIN, Speed
from animegan_helpers.trainer import Trainer, train_step

WEIGHT = 16.0
SAVED_EVERY = 300  # steps
SETTINGS = {  # name: weight of the penalty (None: the recipe's), step
    "the recipe's penalty": (None, train_step),
    "R1 of weight 16": (WEIGHT, train_step),
    "R1 and R2 of weight 16": (WEIGHT, step_with_r2),
}


def rate_at(step: int, steps: int, rate: float) -> float:
    """-> the learning rate of a step: `rate`, and falling to zero in the second half."""
    return rate * min(1.0, 2 * (1 - step / steps))


def trainer_of(recipe: Recipe, setting: str, run: Path, rate: float, speed: Speed) -> Trainer:
    """-> a trainer that starts from the networks of a run. `rate`: of both networks."""
    weight, step = SETTINGS[setting]
    recipe = recipe.changed(r1=weight, lr_g=rate, lr_d=rate, lr_decay_start=0)
    trainer = Trainer(recipe, speed=speed, train_step=step)
    runs.start_from(trainer, run)
    return trainer


def train_further(trainer: Trainer, faces: Faces, steps: int, file: Path) -> None:
    """Train up to a step. Checkpoints are written to `file`; if it exists, it is resumed."""
    if file.exists():
        trainer.load_state(checkpoints.load(file))
    start = trainer.steps_done
    loader = iter(batches(faces, trainer.recipe.batch, trainer.seed, start))
    for step in tqdm(range(start, steps), initial=start, total=steps, desc=file.stem):
        if step % SAVED_EVERY == 0:
            checkpoints.save(trainer.state(), file)
        for optimizer in (trainer.opt_g, trainer.opt_d):
            optimizer.param_groups[0]["lr"] = rate_at(step, steps, trainer.recipe.lr_g)
        trainer.step(next(loader))
    checkpoints.save(trainer.state(), file)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--name", default="finetune")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    speed = Speed(torch.bfloat16) if args.bfloat16 else PLAIN
    faces = load_faces(args.data)
    recipe = runs.read_recipe(args.run)
    begun = checkpoints.newest(args.run)
    G = runs.load_generator(args.run)
    real, sets = compared_sets(G, faces)
    measures = {"other real faces": distances(real, sets["other real faces"])}
    measures["before"] = distances(real, sets["this run"])
    for setting in args.settings:
        trainer = trainer_of(recipe, setting, args.run, args.rate, speed)
        source = f"{args.run.name}_{begun['steps_done']}_{Path(args.data).stem}_{len(faces)}"
        what = f"{list(SETTINGS).index(setting)}_of_{args.steps}_at_{args.rate}"
        file = f"{source}_{what}{'_bfloat16' if args.bfloat16 else ''}.pt"
        train_further(trainer, faces, args.steps, device.data_folder() / "finetune" / file)
        G = trainer.ema_generator()
        measures[setting] = distances(real, sample(G, compared_count(faces), 0))
    what = f"The recipe {recipe.name} on {len(faces):,} images"
    caption = caption_of(begun, what)
    caption += f" Then {args.steps:,} steps at a learning rate of {args.rate:g} with {setting}."
    path = plotting.RECORDED / f"{args.name}_faces.png"
    write_png(plotting.grid(sample(G, 64, 1), 8), path)
    alt = f"64 faces, eight by eight. {caption}"
    write_json({"caption": caption, "alt": alt}, path.with_suffix(".json"))
    results = {"caption": caption, "faces": compared_count(faces), "steps": args.steps}
    results |= {"rate": args.rate, "bfloat16": args.bfloat16}
    results |= {"measures": measures} | versions("cpu")
    write_json(results, plotting.RECORDED / f"{args.name}.json")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
