"""The results of run.py become a table, a figure, a caption and alt text."""

from pathlib import Path
from typing import Any

from inputs import WHOLE
from record import without_build, write_json, write_png

from animegan_helpers import plotting


def table(results: dict) -> str:
    """What was measured -> Markdown."""
    parts = [loops_table(results["steps"]), rates_table(results)]
    return "\n\n".join(parts)


def loops_table(rows: list[dict]) -> str:
    """Both loops at each size -> Markdown."""
    heads = (
        "width, batch",
        "plain loop, images/s",
        "ours",
        "ratio",
        "ours, share of the limit",
        "whole process, MB",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        rate = row["images/s"]
        share = row["share of the limit"]
        memory = row["MB"]["ours"].get("RssAnon", "?")
        lines.append(
            f"| {row['width']}, {row['batch']}"
            f" | {rate['plain']:,.1f} ({share['plain']:.0%} of the limit)"
            f" | {rate['ours']:,.1f} | {row['ratio']:.2f} | {share['ours']:.0%} | {memory} |"
        )
    return "\n".join(lines)


def rates_table(results: dict) -> str:
    """All but the loops -> Markdown."""
    prepared = results["preparing"]
    latency = results["sliders"]
    compiled = results["compiled"]
    rows = {"matrix products": f"{results['GFLOP/s']:,.0f} GFLOP/s"}
    for name, rate in results["loaders"].items():
        rows[name] = f"{rate:,.0f} images/s"
    for name, rate in results["drawing"].items():
        rows[f"drawing synthetic faces, {name}"] = f"{rate:,.0f} images/s"
    rows[f"preparing {prepared['images']:,} {results['prepared images']}"] = (
        f"{prepared['seconds']:.1f} s (target: {prepared['target']} s for {WHOLE:,});"
        f" {prepared['MB'].get('RssAnon', '?')} MB, mapped files not counted"
    )
    rows["decoding them with Pillow alone, all cores"] = (
        f"{prepared['decoding alone, seconds']:.1f} s"
    )
    rows["slider to PNG, in the kernel"] = (
        f"{latency['median ms']:.0f} ms (95th percentile: {latency['95th percentile ms']:.0f} ms)"
    )
    if compiled:
        rows[f"compiled, width {compiled['width']}"] = (
            f"{compiled['compiled']:.1f} steps/s, without compiling {compiled['plain']:.1f};"
            f" {compiled['seconds to compile']:.0f} s to compile"
        )
    for rung in results["ladder"]:
        rows[rung["rung"]] = f"{rung['images/s']:,.0f} images/s"
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def sentences(results: dict) -> str:
    """The numbers of the figure in words, for an alt text."""
    parts = []
    for row in results["steps"]:
        share = row["share of the limit"]
        parts.append(
            f"width {row['width']}, batch {row['batch']}: plain {share['plain']:.0%},"
            f" ours {share['ours']:.0%} of the limit"
        )
    rates = [f"{name} {rate:,.0f} images/s" for name, rate in image_rates(results).items()]
    return "; ".join(parts + rates) + "."


def image_rates(results: dict) -> dict[str, float]:
    """-> images per second of each way to get them."""
    prepared = results["preparing"]
    rates = dict(results["loaders"])
    for name, rate in results["drawing"].items():
        rates[f"drawing, {name}"] = rate
    rates["preparing"] = prepared["images/s"]
    rates["decoding with Pillow"] = prepared["decoding alone, images/s"]
    return rates


def figure(results: dict) -> Any:
    """What was measured -> a matplotlib figure: both loops, and where images come from."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = canvas.subplots(1, 2)
    draw_loops(left, results["steps"])
    draw_rates(right, results)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return canvas


def draw_loops(axes: Any, rows: list[dict]) -> None:
    """Both loops at each size: bars of their share of the limit, labeled with images/s."""
    sizes = range(len(rows))
    loops = (("plain", -0.2, plotting.ORANGE), ("ours", 0.2, plotting.BLUE))
    for name, offset, color in loops:
        shares = [100 * row["share of the limit"][name] for row in rows]
        bars = axes.bar([x + offset for x in sizes], shares, 0.38, color=color, label=name)
        axes.bar_label(bars, [f"{row['images/s'][name]:,.0f}/s" for row in rows], fontsize=9)
    axes.axhline(100, color="black", linewidth=1, linestyle="--", label="the limit")
    axes.set_xticks(sizes, [f"width {row['width']},\nbatch {row['batch']}" for row in rows])
    axes.set(
        title="a training step (labels: images/s)",
        ylabel="% of the matrix-product rate",
        ylim=(0, 125),
    )
    axes.legend(frameon=False, loc="upper left", ncols=3)


def draw_rates(axes: Any, results: dict) -> None:
    """Where images come from: dots of images/s, on a logarithmic axis."""
    rates = image_rates(results)
    axes.plot(list(rates.values()), list(rates), "o", color=plotting.BLUE)
    for name, rate in rates.items():
        place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{rate:,.0f}", (rate, name), fontsize=9, **place)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.set(
        xscale="log",
        xlabel="images per second, logarithmic",
        title="where images come from",
        xlim=(50, 10 * max(rates.values())),
    )
    axes.invert_yaxis()


def publish(results: dict, out: Path) -> None:
    """-> benchmark.json and benchmark.png in the folder `out`, with caption and alt text."""
    where = (
        f"{results['machine']}, torch {without_build(results['torch'])},"
        f" Python {results['python']}, {results['date']}"
    )
    caption = (
        "Left: the loop of PyTorch's DCGAN example and ours, same networks, in turn, as a share of"
        f" the rate of matrix products here ({results['GFLOP/s']:,.0f} GFLOP/s)."
        f" Right: where images come from ({where})."
    )
    if results["small"]:
        caption = f"A short setting, to see that it works; the numbers mean nothing. {caption}"
    alt = f"Left bars, right dots on a logarithmic axis. {caption} In numbers: {sentences(results)}"
    out.mkdir(parents=True, exist_ok=True)
    image = plotting.from_matplotlib(figure(results), "").image
    write_png(image, out / "benchmark.png", colors=64)
    write_json(results | {"caption": caption, "alt": alt}, out / "benchmark.json")
