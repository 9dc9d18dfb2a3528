"""Training loops become images per second: two of them in turn, speed-ups one by one, compiled."""

import statistics
import time
from collections.abc import Callable, Iterable

import torch
from loops import OurLoop, PlainLoop, endless, flops, steps_per_second, wait_for_gpu
from memory import peak_memory

from animegan_helpers.dataset import Faces, batches
from animegan_helpers.recipes import Recipe
from animegan_helpers.speed import Speed, best_speed, to_device
from animegan_helpers.trainer import train_step

LAST_RUNG = "losses fetched every 50 steps, the set on the GPU"


def compare_loops(
    recipe: Recipe,
    loaders: tuple[Iterable, Iterable],
    device: torch.device,
    seconds: float,
    rounds: int,
    rate: float,
) -> dict:
    """Both loops, a round each in turn -> the medians of their images per second.

    `loaders` are for the plain loop and for ours; `rate` is the limit in GFLOP/s.
    """
    plain = PlainLoop(recipe, device)
    ours = OurLoop(recipe, device)
    rates = {"plain": [], "ours": []}
    peaks = {}
    for _ in range(rounds):
        with peak_memory(peaks, "plain"):  # the loader's workers end with the round
            speed = steps_per_second(plain.step, endless(loaders[0]), seconds)
            rates["plain"].append(recipe.batch * speed)
        with peak_memory(peaks, "ours"):
            speed = steps_per_second(ours.step, iter(loaders[1]), seconds)
            rates["ours"].append(recipe.batch * speed)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    needed = flops(recipe) / 1e9
    ratios = [our_rate / plain_rate for our_rate, plain_rate in zip(rates["ours"], rates["plain"])]
    return {
        "width": recipe.width,
        "batch": recipe.batch,
        "GFLOP per image": needed,
        "rounds": {name: [round(v, 1) for v in values] for name, values in rates.items()},
        "images/s": {name: round(value, 1) for name, value in medians.items()},
        "ratio": statistics.median(ratios),
        "share of the limit": {name: value * needed / rate for name, value in medians.items()},
        "MB": peaks,
    }


def ladder(recipe: Recipe, faces: Faces, device: torch.device | str, seconds: float) -> list[dict]:
    """The speed-ups one by one, each on top of those before -> images per second.

    On a CPU the last rung, which needs a GPU, is left out.
    """
    device = torch.device(device)
    half = best_speed(device).dtype or torch.bfloat16
    rungs = {
        "float32, the example's step": None,
        "channels-last, fused Adam, fakes generated once, D frozen in G's turn": Speed(),
        str(half).removeprefix("torch."): Speed(half),
    }
    if device.type == "cuda":
        rungs[LAST_RUNG] = best_speed(device)
    warm_up = 24 if device.type == "cuda" else 1
    rows = []
    for name, speed in rungs.items():
        if speed is None:
            step = PlainLoop(recipe, device).step_on_pixels
        else:
            step = OurLoop(recipe, device, speed).step
        dataset = to_device(faces, device) if name == LAST_RUNG else faces
        loader = iter(batches(dataset, recipe.batch))
        rate = recipe.batch * steps_per_second(step, loader, seconds, warm_up)
        rows.append({"rung": name, "images/s": round(rate, 1)})
    return rows


def make_compiled_step() -> Callable:
    """-> `trainer.train_step` with both networks called through `torch.compile`; without R1."""
    compiled = {}

    def step(G, D, *rest, **options):
        if not compiled:
            compiled["G"] = torch.compile(G)
            compiled["D"] = torch.compile(D)
        return train_step(compiled["G"], compiled["D"], *rest, **options)

    return step


def compile_speed(recipe: Recipe, faces: Faces, device: torch.device, seconds: float) -> dict:
    """-> seconds until the first step is done; steps per second without and with compiling."""
    row = {"width": recipe.width, "batch": recipe.batch}
    for name, step in (("plain", train_step), ("compiled", make_compiled_step())):
        loop = OurLoop(recipe, device, Speed())
        loop.trainer.train_step = step
        loader = iter(batches(faces, recipe.batch))
        start = time.perf_counter()
        loop.step(next(loader))
        wait_for_gpu()
        row["seconds to compile"] = time.perf_counter() - start  # the second one compiles
        row[name] = round(steps_per_second(loop.step, loader, seconds), 2)
    return row
