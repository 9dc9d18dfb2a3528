"""Runs of conditional.py become a table, a figure, a caption and alt text in recorded/."""

import statistics
from typing import Any

from matplotlib.figure import Figure
from race_figures import each_value
from record import write_json, write_png

from animegan_helpers import plotting

COLORS = {
    "projection": plotting.BLUE,
    "concatenation": plotting.ORANGE,
    "unconditional": "#009E73",
}
MARKERS = {"projection": "o", "concatenation": "s", "unconditional": "x"}
SHARES = {
    "hair_color": "hair color",
    "eye_color": "eye color",
    "eyes": "eyes",
    "accessory": "accessory",
    "all four": "all four",
    "other pairs": "hair and eye color: other pairs",
    "rare pair": "hair and eye color: rare pair",
    "held-out pair": "hair and eye color: held-out pair",
}
OTHERS = {
    "FID": ("FID", ".1f"),
    "KID x 1000": ("KID x 1000", ".0f"),
    "variety": ("variety within a condition", ".3f"),
    "total variation distance": ("total variation distance within a condition", ".2f"),
}


def values(runs: list[dict], kind: str, mark: int, key: str) -> list[float]:
    """-> a number of one kind at one mark, for each seed that was measured there."""
    rows = [row for run in runs if run["kind"] == kind for row in run["marks"]]
    return [row[key] for row in rows if row["mark"] == mark]


def marks_of(runs: list[dict]) -> list[int]:
    """-> all marks in CPU seconds."""
    return sorted({row["mark"] for run in runs for row in run["marks"]})


def table(runs: list[dict]) -> str:
    """The runs -> Markdown: a row per number, a column per kind and mark, means over the seeds."""
    columns = [(kind, mark) for mark in marks_of(runs) for kind in COLORS]
    columns = [(kind, mark) for kind, mark in columns if values(runs, kind, mark, "step")]
    lines = ["| | " + " | ".join(f"{kind}, {mark} s" for kind, mark in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    formats = {key: (f"{label}, % met", ".0f") for key, label in SHARES.items()} | OTHERS
    for key, (label, form) in ({"step": ("steps", ",.0f")} | formats).items():
        cells = []
        for kind, mark in columns:
            numbers = values(runs, kind, mark, key)
            factor = 100 if key in SHARES else 1
            cell = format(factor * statistics.mean(numbers), form)
            if len(numbers) > 1:
                cell += f" ± {format(factor * statistics.stdev(numbers), form)}"
            cells.append(cell)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sentences(runs: list[dict]) -> str:
    """The runs -> the mean shares of the figure in words, for an alt text."""
    parts = []
    for mark in marks_of(runs):
        for key, label in SHARES.items():
            means = []
            for kind in COLORS:
                mean = statistics.mean(values(runs, kind, mark, key))
                means.append(f"{kind} {100 * mean:.0f}")
            parts.append(f"{label}, {mark} s: {', '.join(means)}")
    return "; ".join(parts) + "."


def figure(record: dict) -> Any:
    """The record -> a matplotlib figure: a panel per mark, a dot per kind and seed."""
    runs = record["runs"]
    marks = marks_of(runs)
    canvas = Figure(figsize=(9, 4.2), layout="constrained")
    panels = canvas.subplots(1, len(marks), sharey=True, squeeze=False)[0]
    for axes, mark in zip(panels, marks):
        for y, key in enumerate(SHARES):
            if key in record["real"]:
                share = 100 * record["real"][key]
                axes.plot([share, share], [y - 0.35, y + 0.35], color="black", linewidth=1.5)
            for kind, color in COLORS.items():
                shares = [100 * share for share in values(runs, kind, mark, key)]
                style = {"color": color, "markersize": 7, "linestyle": "none"}
                axes.plot(shares, [y] * len(shares), MARKERS[kind], alpha=0.8, **style)
        axes.set(title=f"{mark} CPU seconds", xlabel="conditions met, %", xlim=(-2, 102))
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(SHARES)), SHARES.values())
    panels[0].invert_yaxis()
    for kind, color in COLORS.items():
        panels[0].plot([], [], MARKERS[kind], color=color, label=kind)
    panels[0].plot([], [], "|", color="black", markersize=12, label="real faces")
    canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return canvas


def publish(record: dict) -> None:
    """Write recorded/conditional.json and .png."""
    runs = record["runs"]
    marks = marks_of(runs)
    counts = [len(values(runs, "projection", mark, "step")) for mark in marks]
    seeds = " and ".join(f"{count} at {mark} s" for count, mark in zip(counts, marks))
    pairs = [" hair and ".join(record[name].values()) for name in ("held out", "rare")]
    caption = (
        "Share of faces that meet their condition, read by a second judge. One mark per seed"
        f" ({seeds}). Held out: {pairs[0]} eyes. Rare: {pairs[1]} eyes,"
        f" {record['training faces']['rare']} training faces. Black lines: real faces, where"
        f" measured. ({each_value(runs, 'machine')}, torch {each_value(runs, 'torch')},"
        f" {each_value(runs, 'date')}.)"
    )
    alt = "Dots on eight lines, one line for each attribute or pair of colors, in a panel for each"
    alt = f"{alt} mark of training time. {caption} Means, in %: {sentences(runs)}"
    write_json(record | {"caption": caption, "alt": alt}, plotting.RECORDED / "conditional.json")
    image = plotting.from_matplotlib(figure(record), "").image
    write_png(image, plotting.RECORDED / "conditional.png", colors=64)
