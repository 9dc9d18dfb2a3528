"""How many images do I need? The default recipe on the first 100 to 4,000 synthetic faces.

python tests/benchmarks/how_many_images.py [--seconds 240] [--seeds 1] [--out FOLDER]
-> how_many_images.json and .png in recorded/ or FOLDER, and a table in Markdown

Each number of images is trained with and without DiffAugment, for equal CPU seconds of one thread.
All runs are measured against the same faces, which none of them was trained on. The runs are in
data/how_many_images/, and go one after another in this process: 8 for each seed. Interrupted, the
same command goes on: what is finished is not done again.
"""

import argparse
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from race import COUNT, TimedRun, finished_result, measured_at
from race_figures import KID_LABEL, column, each_value
from record import processor, write_json, write_png
from torch.utils.data import Subset

from animegan_helpers import device, drawn, plotting, recipe_json, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import sample
from animegan_helpers.judge import Judge, extract_features, load_judge
from animegan_helpers.prepare import load_faces, prepare
from animegan_helpers.trainer import Trainer

COUNTS = (100, 300, 1000, 4000)  # images to train on
MARKS = (60, 120, 240)  # CPU seconds; also the end of the runs
HELD_OUT_SEED = 5  # of the faces to measure on; the judge and all trainings have other seeds
DEFAULT = recipes.get("default")
LOOKS = {  # augment? -> label, color, line and marker
    False: ("without DiffAugment", plotting.BLUE, "-", "o"),
    True: ("with DiffAugment", plotting.ORANGE, "--", "s"),
}
FORMS = {"step": ",.0f", "FID": ".1f", "KID x 1000": ",.0f", "color pairs": ".0f", "D's gap": ".2f"}


# ---- one run ----


def held_out_faces(work: Path, count: int = COUNT) -> Faces:
    """-> `count` synthetic faces that no run is trained on; drawn at the first call."""
    folder = work / "held_out"
    if not (folder / "labels.csv").exists():
        drawn.write(folder, count, seed=HELD_OUT_SEED)
    return prepare(folder, work / "held_out_64")


def mean_logits(trainer: Trainer, training: Subset, held_out: Faces) -> dict[str, float]:
    """-> D's mean logits of up to `COUNT` faces each, and the gap that shows D's overfitting.

    The gap is that of training faces minus held-out faces: 0 if D knows none of them. Compare it
    with the difference between training faces and generated ones. No image is augmented.
    """
    few = Subset(training, range(min(len(training), COUNT)))
    generated = sample(trainer.ema_generator(), len(held_out), trainer.seed, "measured")
    sets = {"training": few, "held-out": held_out, "generated": generated}
    logits = {}
    for name, faces in sets.items():
        logits[f"D's logit, {name}"] = extract_features(trainer.D, faces).mean().item()
    return logits | {"D's gap": logits["D's logit, training"] - logits["D's logit, held-out"]}


def label(count: int, augment: bool) -> str:
    """-> the name of a run, such as "100 images, with DiffAugment"."""
    return f"{count:,} images, {LOOKS[augment][0]}"


def folder_of(work: Path, count: int, augment: bool, seed: int) -> Path:
    """-> the folder of a run's result and sample grids."""
    return work / f"{count}_{LOOKS[augment][0].replace(' ', '_')}" / str(seed)


def run(
    training: Subset,
    held_out: Faces,
    judge: Judge,
    augment: bool,
    seed: int,
    marks: list,
    work: Path,
) -> dict:
    """Train on a set for `marks[-1]` CPU seconds -> the numbers at each mark.

    A run whose loss is not finite ends early; its last row then has the reason, "ended".
    """
    count = len(training)
    recipe = DEFAULT.changed(augment=augment)
    folder = folder_of(work, count, augment, seed)
    result = finished_result(folder, recipe_json.to_json(recipe))
    if result is not None and result["CPU seconds"] == marks:
        return result
    timed = TimedRun(recipe, seed, training)
    rows = []
    for mark in marks:
        rows += measured_at([mark], timed, held_out, judge, folder)
        if "ended" in rows[-1]:
            break
        rows[-1] |= mean_logits(timed.trainer, training, held_out)
    result = {"name": label(count, augment), "images": count, "augment": augment, "seed": seed}
    result |= {"recipe": recipe_json.to_json(recipe), "CPU seconds": marks, "marks": rows}
    result |= {"machine": processor(), "torch": torch.__version__, "date": str(date.today())}
    write_json(result, folder / "race.json")
    return result


def run_all(faces: Faces, held_out: Faces, seeds: int, marks: list, work: Path) -> list[dict]:
    """-> the results of all runs, seed after seed."""
    judge = load_judge()
    runs = []
    for seed in range(seeds):
        for count in COUNTS:
            training = Subset(faces, range(count))
            for augment in LOOKS:
                runs.append(run(training, held_out, judge, augment, seed, marks, work))
    return runs


# ---- what is published ----


def rows_at_end(runs: list[dict], count: int, augment: bool) -> list[dict]:
    """-> the last row of each run of this kind that did not end early."""
    rows = []
    for result in runs:
        if (result["images"], result["augment"]) == (count, augment):
            rows.append(result["marks"][-1])
    return [row for row in rows if "ended" not in row]


def table(runs: list[dict]) -> str:
    """The runs -> Markdown: a row for each kind of run, with means over the seeds at the end."""
    lines = [
        "| trained on | steps | FID | KID x 1000 | color pairs | D's gap, logits |",
        "|---|---|---|---|---|---|",
    ]
    for count in COUNTS:
        for augment in LOOKS:
            rows = rows_at_end(runs, count, augment)
            if not rows:
                lines.append(f"| {label(count, augment)} | ended, or not run | | | | |")
                continue
            cells = [format(statistics.mean(column(rows, key)), FORMS[key]) for key in FORMS]
            lines.append(f"| {label(count, augment)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sentences(runs: list[dict]) -> str:
    """The runs -> the means of the figure in words, for an alt text."""
    parts = []
    for count in COUNTS:
        for augment in LOOKS:
            kids = column(rows_at_end(runs, count, augment), "KID x 1000")
            kid = f"{statistics.mean(kids):,.0f}" if kids else "ended, or not run"
            parts.append(f"{label(count, augment)}: {kid}")
    return "; ".join(parts) + "."


def curves(runs: list[dict]) -> Any:
    """The runs -> a matplotlib figure: KID over the number of images, a dot for each run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    canvas = Figure(figsize=(7.4, 4), layout="constrained")
    axes = canvas.subplots()
    for augment, (name, color, style, marker) in LOOKS.items():
        counts = []
        means = []
        for count in COUNTS:
            kids = column(rows_at_end(runs, count, augment), "KID x 1000")
            if kids:
                axes.plot([count] * len(kids), kids, marker, color=color)
                counts.append(count)
                means.append(statistics.mean(kids))
        axes.plot(counts, means, style, color=color, linewidth=2)
        axes.plot([], [], style, marker=marker, color=color, label=name)  # for the legend
    axes.set(xscale="log", yscale="log", xlabel="number of images to train on", ylabel=KID_LABEL)
    axes.set_xticks(COUNTS, [f"{count:,}" for count in COUNTS])
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter(LogFormatter())  # 200, not 2 x 10 to the power of 2
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.grid(color="#dddddd", which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return canvas


def example_faces(mark: int, work: Path) -> Image.Image:
    """-> a labeled row of eight faces of seed 0 for the fewest and the most images, at a mark."""
    grids = []
    labels = []
    for count in (COUNTS[0], COUNTS[-1]):
        for augment in LOOKS:
            path = folder_of(work, count, augment, 0) / f"{mark:05}.png"
            if path.exists():  # unless its run ended early
                grids.append(Image.open(path))
                labels.append(label(count, augment).replace(", ", ",\n"))
    return plotting.strip(grids, labels)


def caption_of(runs: list[dict]) -> str:
    """The runs -> the caption of their figure."""
    seeds = len({result["seed"] for result in runs})
    seconds = runs[0]["CPU seconds"][-1]
    if seeds > 1:
        dots = f"a dot for each of {seeds} seeds, a line for the mean"
    else:
        dots = "a dot for each run, one seed"
    machines = each_value(runs, "machine")
    versions = each_value(runs, "torch")
    dates = each_value(runs, "date")
    return (
        f"The default recipe on {COUNTS[0]} to {COUNTS[-1]:,} synthetic faces, with and without"
        f" DiffAugment, after {seconds} CPU seconds each. Top: the same eight latent vectors."
        f" Bottom, both axes logarithmic: KID between generated faces and {COUNT:,} faces that no"
        f" run was trained on; {dots} ({machines}, one thread per run, torch {versions}, {dates})."
    )


def publish(runs: list[dict], work: Path, out: Path) -> None:
    """The runs -> how_many_images.json and .png in the folder `out`."""
    caption = caption_of(runs)
    faces = example_faces(runs[0]["CPU seconds"][-1], work)
    curve = plotting.from_matplotlib(curves(runs), "").image
    out.mkdir(parents=True, exist_ok=True)
    write_png(plotting.stack(faces, curve), out / "how_many_images.png")
    record = {"runs": runs, "marks": runs[0]["CPU seconds"], "faces": COUNT}
    record |= {"python": platform.python_version(), "caption": caption}
    means = ", means over the seeds" if len({run["seed"] for run in runs}) > 1 else ""
    record["alt"] = f"{caption} KID x 1000{means}: {sentences(runs)}"
    write_json(record, out / "how_many_images.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=MARKS[-1], help="CPU seconds of each run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    work = device.data_folder() / "how_many_images"
    marks = [mark for mark in MARKS if mark < args.seconds] + [args.seconds]
    runs = run_all(load_faces("drawn"), held_out_faces(work), args.seeds, marks, work)
    publish(runs, work, args.out)
    print(f"{caption_of(runs)}\n\n{table(runs)}")


if __name__ == "__main__":
    main()
