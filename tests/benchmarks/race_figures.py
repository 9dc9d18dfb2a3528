"""The results of a race become a table, a figure, a caption and alt text in recorded/."""

import statistics
import textwrap
from typing import Any

from race_groups import OTHER_SEEDS_LAST_MARK
from record import without_build, write_json, write_png

from animegan_helpers import plotting

OVER_TIME = ("fair", "sources", "layers_hour")  # groups shown as curves
COLORS = (plotting.BLUE, plotting.ORANGE, "#009E73", "#CC79A7", "black")  # for the color-blind
STYLES = ("-", "--", "-.", ":", "-")
KID_LABEL = "KID x 1000 (lower is better)"
PAIRS_LABEL = "hair and eye\ncolor pairs, of 80"
HEADS = "steps, FID, KID x 1000, color pairs"
LABEL_WIDTH = 36  # letters of a recipe's name in a line
Marks = tuple | list  # CPU seconds
Runs = list[list[dict]]  # of a recipe: for each run its rows, one for each mark


def by_recipe(runs: list[dict]) -> dict[str, Runs]:
    """-> for the name of each recipe the rows of its runs."""
    groups = {}
    for run in runs:
        groups.setdefault(run["name"], []).append(run["marks"])
    return groups


def measured_rows(recipe_runs: Runs, i: int) -> list[dict]:
    """The rows of a recipe's runs -> those of mark number `i`, of the runs measured there."""
    measured = []
    for rows in recipe_runs:
        if len(rows) > i and "FID" in rows[i]:
            measured.append(rows[i])
    return measured


# ---- the table ----


def summary(rows: list[dict]) -> str:
    """The rows of a recipe at one mark -> its means, and the standard deviation of KID."""
    if not rows:
        return "ended, or not run"
    kids = column(rows, "KID x 1000")
    kid = f"{statistics.mean(kids):,.0f}"
    if len(kids) > 1:
        kid += f" ± {statistics.stdev(kids):,.0f}"
    steps = statistics.mean(column(rows, "step"))
    fid = statistics.mean(column(rows, "FID"))
    pairs = statistics.mean(column(rows, "color pairs"))
    return f"{steps:,.0f}, {fid:.1f}, {kid}, {pairs:.0f}"


def column(rows: list[dict], key: str) -> list[float]:
    """-> the numbers of all rows under a key."""
    return [row[key] for row in rows]


def table(runs: list[dict], marks: Marks, first: int = 0) -> str:
    """The runs -> Markdown: a row per recipe, a column per mark, from mark number `first` on."""
    columns = range(first, len(marks))
    heads = [f"{marks[i]} s: {HEADS}" for i in columns]
    lines = [
        f"| | {' | '.join(heads)} |",
        "|---" + "|---" * len(heads) + "|",
    ]
    for name, recipe_runs in by_recipe(runs).items():
        cells = []
        for i in columns:
            rows = measured_rows(recipe_runs, i)
            cells.append(summary(rows))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sentences(runs: list[dict], marks: Marks, first: int = 0) -> str:
    """The runs -> the numbers of the table in words, for an alt text."""
    parts = []
    for name, recipe_runs in by_recipe(runs).items():
        for i in range(first, len(marks)):
            numbers = summary(measured_rows(recipe_runs, i))
            parts.append(f"{name}, {marks[i]:,} s: {numbers}")
    return f"{HEADS}. {'; '.join(parts)}."


# ---- figures ----


def at_last_mark(runs: list[dict], mark: int) -> Any:
    """The runs -> a matplotlib figure of KID and color pairs at mark number `mark`.

    Each recipe has a line, with a dot for each seed and a bar for the mean of several.
    """
    from matplotlib.figure import Figure

    recipes = by_recipe(runs)
    canvas = Figure(figsize=(9, 1.1 + 0.36 * len(recipes)), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    kids = []
    for y, recipe_runs in enumerate(recipes.values()):
        rows = measured_rows(recipe_runs, mark)
        recipe_kids = column(rows, "KID x 1000")
        draw_dots(left, recipe_kids, y, plotting.BLUE)
        draw_dots(right, column(rows, "color pairs"), y, plotting.ORANGE)
        kids += recipe_kids
    for axes in (left, right):
        axes.grid(axis="y", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if 0 < 10 * min(kids) < max(kids):
        left.set_xscale("log")
    else:
        left.set_xlim(left=min(0, *kids))
    labels = [textwrap.fill(name, LABEL_WIDTH) for name in recipes]
    left.set_yticks(range(len(labels)), labels)
    left.set_ylim(len(labels) - 0.5, -0.5)  # the first recipe on top
    left.set_xlabel(KID_LABEL)
    right.set_xlabel(PAIRS_LABEL)
    right.set_xlim(-3, 83)
    right.set_xticks(range(0, 81, 20))
    return canvas


def draw_dots(axes: Any, values: list[float], y: int, color: str) -> None:
    """A dot for each value, a bar for the mean of several."""
    heights = [y] * len(values)
    axes.plot(values, heights, "o", color=color, alpha=0.6, markeredgewidth=0)
    if len(values) > 1:
        mean = statistics.mean(values)
        axes.plot(mean, y, "|", color="black", markersize=14, markeredgewidth=2)


def over_time(runs: list[dict], marks: Marks) -> Any:
    """The runs -> a matplotlib figure of KID over the CPU seconds.

    Each recipe has a line for the mean of its seeds, and a dot for each run and mark.
    """
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9, 4.2), layout="constrained")
    axes = canvas.subplots()
    for (name, recipe_runs), color, style in zip(by_recipe(runs).items(), COLORS, STYLES):
        draw_curve(axes, recipe_runs, marks, color, style, name)
    axes.set(xscale="log", xlabel="CPU seconds", ylabel=KID_LABEL)
    lowest, highest = axes.dataLim.intervaly
    if highest > 10 * lowest:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * highest)
    axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
    axes.minorticks_off()
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def draw_curve(
    axes: Any,
    recipe_runs: Runs,
    marks: Marks,
    color: str,
    style: str,
    label: str,
) -> None:
    """A dot for each run and mark, a line through the means of the marks that all runs reached.

    A thin line goes on through the marks that only the longest run reached.
    """
    reached = []
    means = []
    for i, mark in enumerate(marks):
        rows = measured_rows(recipe_runs, i)
        kids = column(rows, "KID x 1000")
        axes.plot(column(rows, "CPU seconds"), kids, "o", color=color)
        if len(rows) == len(recipe_runs):
            reached.append(mark)
            means.append(statistics.mean(kids))
    axes.plot(reached, means, style, color=color, label=label, linewidth=2)
    longest = max(recipe_runs, key=len)[max(len(reached) - 1, 0) :]
    alone = [row for row in longest if "FID" in row]
    kids = column(alone, "KID x 1000")
    axes.plot(column(alone, "CPU seconds"), kids, style, color=color, linewidth=1)


# ---- what is published ----


def each_value(runs: list[dict], key: str) -> str:
    """-> all values of a key, each once: runs that were not done again have earlier dates."""
    values = {without_build(run[key]) for run in runs}
    return ", ".join(sorted(values))


def what_is_shown(group: str, seeds: int) -> str:
    """A group and the number of its seeds -> what its dots and lines are, in words."""
    if seeds > 1:
        line = "a line" if group in OVER_TIME else "a black bar"
        shown = f"a dot for each seed ({seeds}), {line} for the mean"
        if group in OTHER_SEEDS_LAST_MARK:
            shown += f"; after {OTHER_SEEDS_LAST_MARK[group]} CPU seconds one seed, a thin line"
        return shown
    if group in OVER_TIME:
        return "one seed, a line through the dots of each recipe"
    return "one seed, a dot for each recipe"


def caption_of(group: str, runs: list[dict], marks: Marks) -> str:
    """The runs of a group -> the caption of its figure."""
    count = len(by_recipe(runs))
    seeds = len({run["seed"] for run in runs})
    machines = each_value(runs, "machine")
    versions = each_value(runs, "torch")
    dates = each_value(runs, "date")
    if group in OVER_TIME:
        measured = f"KID of {count} recipes within {marks[-1]:,}"
    else:
        measured = f"KID and number of color pairs of {count} recipes after {marks[-1]:,}"
    return (
        f"{measured} CPU seconds each on the synthetic faces: {what_is_shown(group, seeds)}"
        f" ({machines}, one thread per run, torch {versions}, {dates})."
    )


def publish(group: str, record: dict) -> None:
    """The runs of a group and their marks -> recorded/GROUP.json and .png."""
    runs = record["runs"]
    marks = record["marks"]
    if group in OVER_TIME:
        canvas = over_time(runs, marks)
        first = 0
    else:
        complete = [run for run in runs if len(run["marks"]) == len(marks)]
        canvas = at_last_mark(complete, len(marks) - 1)
        first = len(marks) - 1
    caption = caption_of(group, runs, marks)
    record["caption"] = caption
    record["alt"] = f"{caption} In numbers: {sentences(runs, marks, first)}"
    image = plotting.from_matplotlib(canvas, "").image
    write_png(image, plotting.RECORDED / f"{group}.png", colors=64)
    write_json(record, plotting.RECORDED / f"{group}.json")
