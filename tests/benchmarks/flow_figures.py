"""The runs of flow.py become a table, a figure of FID over CPU seconds, and a figure of faces."""

import statistics
from pathlib import Path
from typing import Any

from PIL import Image
from race_figures import each_value
from record import write_json, write_png

from animegan_helpers import figures, plotting

LOOKS = {  # side -> label, color, line and marker
    "flow": ("flow matching", plotting.BLUE, "-", "o"),
    "default": ("GAN, recipe default", plotting.ORANGE, "--", "s"),
    "wide": ("GAN, recipe wide", plotting.ORANGE, "-", "^"),
    "long": ("GAN, recipe long", plotting.ORANGE, ":", "D"),
}
COLUMNS = {  # head of a column -> key of a row, format
    "training steps": ("step", ",.0f"),
    "FID": ("FID", ".1f"),
    "KID x 1000": ("KID x 1000", ",.0f"),
    "precision": ("precision", ".2f"),
    "recall": ("recall", ".2f"),
    "CPU ms per image": ("seconds per image", ",.1f"),
}
FID_TICKS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 70, 100, 150)
HEADS = ["CPU seconds", "side", *COLUMNS, "million weights", "MB to train"]


# ---- which rows ----


def measured(runs: list[dict], name: str, mark: int, steps: int | None = None) -> list[dict]:
    """-> the rows of a side at a mark, one per seed; of the flow with so many Euler steps."""
    found = []
    for run in runs:
        if run["job"]["name"] != name:
            continue
        rows = [row for row in run["rows"] if row["mark"] == mark and "FID" in row]
        found += [row for row in rows if steps is None or row["Euler steps"] == steps]
    return found


def gan_of(runs: list[dict], budget: int) -> str:
    """-> the GAN's recipe that raced to this budget."""
    names = [run["job"]["name"] for run in runs if budget in run["job"]["marks"]]
    for name in LOOKS:
        if name != "flow" and name in names:
            return name
    raise ValueError(f"no GAN was measured at {budget} CPU seconds")


def sides_of(runs: list[dict], budgets: list) -> list[tuple[int, str, int]]:
    """-> (CPU seconds, side, Euler steps) of each row of the table."""
    sides = []
    for budget in budgets:
        sides.append((budget, gan_of(runs, budget), 1))
        all_steps = {row["Euler steps"] for row in measured(runs, "flow", budget)}
        sides += [(budget, "flow", steps) for steps in sorted(all_steps)]
    return sides


def shown_sides(runs: list[dict], budgets: list) -> list[tuple[int, str, int]]:
    """-> the sides of a figure: before the longest budget, the flow has 10 Euler steps."""
    sides = []
    for budget, name, steps in sides_of(runs, budgets):
        if name != "flow" or steps == 10 or budget == budgets[-1]:
            sides.append((budget, name, steps))
    return sides


def in_words(steps: int) -> str:
    """-> such as "10 Euler steps"."""
    return "1 Euler step" if steps == 1 else f"{steps} Euler steps"


# ---- the table ----


def cell(rows: list[dict], key: str, form: str) -> str:
    """-> the mean over the seeds and, of several, their standard deviation."""
    scale = 1000 if key == "seconds per image" else 1
    values = [scale * row[key] for row in rows]
    text = format(statistics.mean(values), form)
    if len(values) > 1 and key != "step":
        text += f" ± {format(statistics.stdev(values), form)}"
    return text


def table(runs: list[dict], budgets: list) -> str:
    """The runs -> Markdown: a row for the GAN and the flow at each budget, and for Euler steps."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for budget, name, steps in sides_of(runs, budgets):
        rows = measured(runs, name, budget, steps)
        if not rows:
            continue
        label = LOOKS[name][0]
        if name == "flow":
            label += f", {in_words(steps)}"
        run = next(run for run in runs if run["job"]["name"] == name)
        weights = " + ".join(f"{count / 1e6:.2f}" for count in run["weights"])
        cells = [cell(rows, key, form) for key, form in COLUMNS.values()]
        cells += [weights, str(run["training MB"] or "not measured")]
        lines.append(f"| {budget:,} | {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sentences(runs: list[dict], budgets: list) -> str:
    """The runs -> FID of each side of the figure in words, for an alt text."""
    parts = []
    for budget, name, steps in shown_sides(runs, budgets):
        rows = measured(runs, name, budget, steps)
        if rows:
            side = f"flow, {in_words(steps)}" if name == "flow" else f"GAN ({name})"
            parts.append(f"{budget:,} s, {side}: FID {cell(rows, *COLUMNS['FID'])}")
    return "; ".join(parts) + "."


# ---- figures ----


def over_time(runs: list[dict]) -> Any:
    """The runs -> a matplotlib figure of FID over CPU seconds: a thin line for each run."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(7.5, 4), layout="constrained")
    axes = canvas.subplots()
    marks = set()
    for name, (label, color, style, marker) in LOOKS.items():
        for run in runs:
            if run["job"]["name"] != name:
                continue
            rows = [row for row in run["rows"] if row.get("Euler steps") in (1, 10)]
            rows = [row for row in rows if name != "flow" or row["Euler steps"] == 10]
            x = [row["mark"] for row in rows]
            y = [row["FID"] for row in rows]
            line = style if len(x) > 1 else "none"
            axes.plot(x, y, linestyle=line, color=color, marker=marker, alpha=0.7, label=label)
            label = None  # one entry of the legend for all seeds
            marks |= set(x)
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds of training, one thread")
    axes.set(ylabel="FID (lower is better)")
    axes.set_xticks(sorted(marks), [f"{mark:,}" for mark in sorted(marks)])
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in FID_TICKS if bottom <= tick <= top]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return canvas


def face_rows(runs: list[dict], budgets: list, folder: Path) -> Image.Image:
    """-> faces of seed 0: a labeled row for each of `shown_sides`; twice as large."""
    rows = []
    labels = []
    for budget, name, steps in shown_sides(runs, budgets):
        (path, *_) = folder.glob(f"{name}/0*/{budget:05}_{steps:02}.png")
        image = Image.open(path).convert("RGB")
        rows.append(image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST))
        side = f"flow,\n{in_words(steps)}" if name == "flow" else f"GAN\n({name})"
        labels.append(f"{budget:,} s: {side}")
    return figures.label_rows(rows, labels)


# ---- what is published ----


def seeds_in_words(runs: list[dict], budgets: list) -> str:
    """-> such as "3 seeds", or "3 seeds, but 1 at 7,200 s" if a budget has fewer."""
    counts = {budget: len(measured(runs, "flow", budget, steps=10)) for budget in budgets}
    most = max(counts.values())
    words = "one seed" if most == 1 else f"{most} seeds"
    for budget, count in counts.items():
        if count < most:
            words += f", but {count} at {budget:,} s"
    return words


def conditions(runs: list[dict], budgets: list) -> str:
    """-> seeds, machine, date and version of the runs."""
    words = seeds_in_words(runs, budgets)
    return f"{words}, one thread per run, {facts(runs)}"


def facts(runs: list[dict]) -> str:
    """-> machine, date and version of the runs."""
    values = [each_value(runs, key) for key in ("machine", "date", "torch")]
    return "{}, {}, torch {}".format(*values)


def publish(runs: list[dict], budgets: list, tried: list[str], folder: Path, out: Path) -> None:
    """The runs and their faces in `folder` -> flow.json, flow.png, flow_grids.json and .png.

    `tried` says which trials led to the flow's settings.
    """
    faces = runs[0]["job"]["faces"]
    out.mkdir(parents=True, exist_ok=True)
    caption = (
        f"FID of {faces:,} faces after equal CPU seconds of training: a line for each run. The flow"
        f" takes 10 Euler steps per face, the GAN one pass ({conditions(runs, budgets)})."
    )
    record = {"runs": runs, "budgets": budgets, "faces": faces, "tried": tried}
    record["recipes"] = {budget: gan_of(runs, budget) for budget in budgets}
    record["caption"] = caption
    record["alt"] = f"{caption} In numbers: {sentences(runs, budgets)}"
    write_json(record, out / "flow.json")
    write_png(plotting.from_matplotlib(over_time(runs), "").image, out / "flow.png", colors=64)
    caption = (
        "Not chosen: the first eight faces of seed 0, by the GAN and by the flow, after equal CPU"
        f" seconds (one thread per run, {facts(runs)})."
    )
    alt = (
        "Rows of eight faces: for each budget a row of the GAN and one of the flow, and after the"
        f" longest budget one for each number of Euler steps. {caption}"
    )
    write_png(face_rows(runs, budgets, folder), out / "flow_grids.png")
    write_json({"caption": caption, "alt": alt}, out / "flow_grids.json")
