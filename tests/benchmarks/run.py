"""The plain loop against ours, in one process, round after round; and whatever else a learner waits for.

python tests/benchmarks/run.py [--small] [--out FOLDER] -> benchmark.json and benchmark.png there (recorded/, if not
said), a table in Markdown. Let nothing else run. Real pictures are prepared if ANIMEGAN_REAL_FACES names the folder of
animefacedataset.zip. `--small` does all of it in seconds, to see that it works: its numbers mean nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from itertools import chain, repeat
from pathlib import Path

import torch
import torchvision
from PIL import Image
from record import processor
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from animegan_helpers import (
    checkpoints,
    device,
    download,
    drawn,
    fast,
    latent,
    plotting,
    preprocess,
    recipes,
    training,
    widgets,
)
from animegan_helpers.discriminator import Discriminator

WHOLE, TARGET = 63_632, 30  # pictures of the source's set; seconds in which they are to be prepared


# ---- the limit ----


def macs(net, x) -> list[int]:
    """A network and a batch of one -> the multiplications of each of its convolutions, forward, in order."""
    counts, hooks = [], []

    def count(layer, inputs, answer):
        positions = (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else answer)[0, 0].numel()
        counts.append(positions * layer.weight.numel())

    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            hooks.append(layer.register_forward_hook(count))
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return counts


def flops(recipe) -> int:
    """A recipe -> the floating-point operations that one step can't do without, for each picture, R1 not counted.

    A multiplication and its addition are 2. Back through a layer costs two products, one for its weights' gradient, one
    for its input's: G 3 in all; D 3 for real, 3 for fake, and 2 in G's turn, which needs no gradient of its weights.
    Nobody asks for the gradient of G's codes, nor in D's turn for that of the pictures.
    """
    G, D = networks(recipe)
    g, d = macs(G, torch.zeros(2, recipe.z_dim)), macs(D, torch.zeros(2, 3, recipe.size, recipe.size))
    return 2 * (3 * sum(g) - g[0] + 8 * sum(d) - 2 * d[0])


def limit(where, dtype=torch.float32, sizes=(1024, 2048, 4096)) -> float:
    """-> GFLOP/s of this machine's matrix products: the best size."""
    return max(device.matrix_rate(where, dtype, size) for size in sizes)


# ---- the two loops ----


def networks(recipe):
    """A recipe -> its two networks."""
    D = Discriminator(recipe.width, recipe.size, recipe.d_norm, recipe.d_norm_first, recipe.d_start)
    return training.make_generator(recipe), D


class Plain:
    """The loop as PyTorch's DCGAN example has it: nothing is wrong with it, and nothing is done about its speed."""

    def __init__(self, recipe, where):
        self.recipe, self.device = recipe, torch.device(where)
        self.G, self.D = (net.to(self.device) for net in networks(recipe))
        rates = (self.G, recipe.lr_g), (self.D, recipe.lr_d)
        self.opt_g, self.opt_d = (torch.optim.Adam(net.parameters(), lr, recipe.betas) for net, lr in rates)

    def play(self, real) -> tuple:
        """One step on (N, 3, H, W) pictures in [-1, 1] -> its numbers."""
        G, D, bce = self.G, self.D, nn.BCEWithLogitsLoss()
        real = real.to(self.device)
        ones, zeros = torch.ones(len(real), device=self.device), torch.zeros(len(real), device=self.device)
        D.zero_grad()
        told = D(real)
        loss_real = bce(told, ones)
        loss_real.backward()
        score_real = told.sigmoid().mean().item()
        fake = G(torch.randn(len(real), self.recipe.z_dim, device=self.device))
        told = D(fake.detach())
        loss_fake = bce(told, zeros)
        loss_fake.backward()
        score_fake = told.sigmoid().mean().item()
        self.opt_d.step()
        G.zero_grad()
        loss_g = bce(D(fake), ones)  # its way back fills D's gradients, too, which nobody uses
        loss_g.backward()
        self.opt_g.step()
        return (loss_real + loss_fake).item(), loss_g.item(), score_real, score_fake


class Ours:
    """The package's game, its numbers fetched as `training.train` does it."""

    def __init__(self, recipe, where, speed=None):
        self.game, self.waiting = training.Game(recipe, device=where, speed=speed), []

    def play(self, pixels) -> None:
        """One step on (N, H, W, 3) uint8 faces."""
        self.waiting.append(self.game.advance(pixels))
        if len(self.waiting) >= self.game.speed.fetch:
            list(self.game.told(self.waiting))
            self.waiting.clear()


def image_folder(folder, size: int) -> ImageFolder:
    """A folder of folders of pictures -> the example's dataset: each picture decoded each time it is asked for."""
    half = (0.5, 0.5, 0.5)
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    return ImageFolder(folder, transforms.Compose([*steps, transforms.Normalize(half, half)]))


def endless(loader):
    """A loader of (pictures, classes) -> pictures, epoch after epoch."""
    return (pictures for pictures, _ in chain.from_iterable(repeat(loader)))


def wait() -> None:
    """Until the GPU has done what it was told: before that, a clock shows how fast one can tell it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def pace(play, batches, seconds: float, warm_up: int = 2) -> float:
    """-> steps a second: what was warmed up is not counted, and at least two steps are."""
    for _ in range(warm_up):
        play(next(batches))
    wait()
    start, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - start < seconds:
        play(next(batches))
        steps += 1
    wait()
    return steps / (time.perf_counter() - start)


def duel(recipe, folder, faces, where, seconds: float, rounds: int, rate: float) -> dict:
    """The plain loop and ours, one round each in turn -> what the medians of the rounds say."""
    plain, ours = Plain(recipe, where), Ours(recipe, where)
    loader = DataLoader(image_folder(folder, recipe.size), recipe.batch, shuffle=True, drop_last=True, num_workers=2)
    batches, seen, used = preprocess.batches(fast.resident(faces, where), recipe.batch), {"plain": [], "ours": []}, {}
    for _ in range(rounds):
        with memory(used, "plain"):
            seen["plain"].append(recipe.batch * pace(plain.play, endless(loader), seconds))  # its workers end with it
        with memory(used, "ours"):
            seen["ours"].append(recipe.batch * pace(ours.play, iter(batches), seconds))
    medians, needed = {name: statistics.median(values) for name, values in seen.items()}, flops(recipe) / 1e9
    return {
        "width": recipe.width, "batch": recipe.batch, "GFLOP a picture": needed,
        "rounds": {name: [round(value, 1) for value in values] for name, values in seen.items()},
        "pictures/s": {name: round(value, 1) for name, value in medians.items()},
        "ratio": statistics.median(o / p for o, p in zip(seen["ours"], seen["plain"])),
        "share of the limit": {name: value * needed / rate for name, value in medians.items()},
        "MB": used,
    }  # fmt: skip


def ladder(recipe, faces, where, seconds: float) -> list[dict]:
    """The speed-ups one by one, each on top of those before -> pictures a second. A CPU ends where a GPU is needed."""
    where = torch.device(where)
    half = fast.best(where).dtype or torch.bfloat16
    rungs = {
        "float32, the example's step": None,
        "channels-last, fused Adam, one set of fakes, D frozen": fast.Speed(),
        str(half).removeprefix("torch."): fast.Speed(half),
    }
    if where.type == "cuda":
        rungs["numbers fetched every 50 steps, the set on the GPU"] = fast.best(where)
    done = []
    for name, speed in rungs.items():
        loop = Ours(recipe, where, speed) if speed else Plain(recipe, where)
        play = loop.play if speed else lambda pixels, step=loop.play: step(preprocess.to_tensor(pixels))
        some = fast.resident(faces, where) if name.endswith("the set on the GPU") else faces
        warm_up = 24 if where.type == "cuda" else 1
        rate = recipe.batch * pace(play, iter(preprocess.batches(some, recipe.batch)), seconds, warm_up)
        done.append({"rung": name, "pictures/s": round(rate, 1)})
    return done


def compiled_step():
    """-> `training.train_step` with both networks called through `torch.compile`, for recipes without R1."""
    nets = {}

    def step(G, D, *rest, **options):
        if not nets:
            nets.update(G=torch.compile(G), D=torch.compile(D))
        return training.train_step(nets["G"], nets["D"], *rest, **options)

    return step


def compiling(recipe, faces, where, seconds: float) -> dict:
    """-> seconds until the first step is done, and steps a second: as it is, and with `torch.compile`."""
    told = {"width": recipe.width, "batch": recipe.batch}
    for name, train_step in (("plain", training.train_step), ("compiled", compiled_step())):
        loop, batches = Ours(recipe, where, fast.Speed()), iter(preprocess.batches(faces, recipe.batch))
        loop.game.train_step = train_step
        start = time.perf_counter()
        loop.play(next(batches))
        wait()
        told["seconds to compile"] = time.perf_counter() - start  # of the last one, which compiles
        told[name] = round(pace(loop.play, batches, seconds), 2)
    return told


# ---- memory ----


def resident_memory() -> dict:
    """-> MB of this process in memory: its own (RssAnon) and pages of mapped files (RssFile). Empty but on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    kinds = ("RssAnon", "RssFile")
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(kinds)}


@contextmanager
def memory(used: dict, name: str):
    """Within it the process is watched; afterwards `used[name]` holds the most MB it had, of each kind."""
    most, over = used.setdefault(name, {}), threading.Event()

    def watch():
        while True:
            for key, value in resident_memory().items():
                most[key] = max(most.get(key, 0), round(value))
            if over.wait(0.02):
                return

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if torch.cuda.is_available():
            most["GPU"] = max(most.get("GPU", 0), round(torch.cuda.max_memory_allocated() / 2**20))


# ---- pictures ----


def loaders(folder, faces, batch: int, seconds: float) -> dict[str, float]:
    """-> pictures a second that come out of each loader, with nothing else to do."""
    example = image_folder(folder, faces.report.size)
    kinds = {
        f"ImageFolder, {workers} workers": lambda w=workers: endless(DataLoader(example, batch, True, num_workers=w))
        for workers in (0, 2)
    }
    lazy = preprocess.PictureFolder(folder, faces.report.size)
    kinds |= {f"lazy, {workers} workers": lambda w=workers: iter(preprocess.batches(lazy, batch, workers=w))
              for workers in (0, 2)}  # fmt: skip
    kinds["prepared"] = lambda: iter(preprocess.batches(faces, batch))
    to_float = {True: preprocess.to_tensor, False: lambda pictures: pictures}  # all end as floats in [-1, 1]
    return {name: round(batch * pace(to_float[not name.startswith("ImageFolder")], make(), seconds), 1)
            for name, make in kinds.items()}  # fmt: skip


def drawing(place: Path, count: int) -> dict[str, float]:
    """-> faces drawn and written a second, by one process and by all."""
    speeds = {}
    for name, workers in (("one core", 1), ("all cores", None)):
        start = time.perf_counter()
        drawn.write(place / name, count, workers=workers)
        speeds[name] = round(count / (time.perf_counter() - start), 1)
    return speeds


def replicated(folder, place: Path, count: int) -> Path:
    """A folder of pictures -> `count` files made from them in turn, all different in their last bytes: no copies."""
    place.mkdir()
    paths = preprocess.find_pictures(folder)
    for i in range(count):
        path = paths[i % len(paths)]
        (place / f"{i:06}{path.suffix}").write_bytes(path.read_bytes() + (b"" if i < len(paths) else b"%d" % i))
    return place


def _decode(paths) -> int:
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
    return len(paths)


def preparing(source, place: Path, count: int, size: int) -> dict:
    """`count` pictures -> seconds to prepare them, memory, and what decoding them with Pillow alone would take."""
    folder, used = replicated(source, place / "pictures", count), {}
    paths = preprocess.find_pictures(folder)
    parts = [paths[i : i + 250] for i in range(0, min(count, 8000), 250)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_decode, parts[: os.cpu_count()]))  # the processes are there, and the disk is warm
        start = time.perf_counter()
        alone = sum(pool.map(_decode, parts)) / (time.perf_counter() - start)
    start, cpu = time.perf_counter(), time.process_time()
    with memory(used, "MB"):
        report = preprocess.prepare(folder, place / "prepared", size).report
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "pictures": count, "unique": report.unique, "seconds": round(seconds, 2), "CPU seconds": round(cpu, 2),
        "target": TARGET, "pictures/s": round(count / seconds, 1), "decoding alone, pictures/s": round(alone, 1),
        "decoding alone, seconds": round(count / alone, 2), **used,
    }  # fmt: skip


def sliders(moves: int) -> dict:
    """-> milliseconds from a slider's new value to the PNG of the new face, in the kernel; the browser not counted."""
    explorer = widgets.Explorer(*latent.ready())
    slider, seen = next(iter(explorer.moves.values())), []
    for i in range(moves + 3):
        start = time.perf_counter()
        slider.value = 0.1 * (1 + i % 20)
        seen.append(1000 * (time.perf_counter() - start))
    ordered = sorted(seen[3:])
    return {"moves": moves, "median ms": statistics.median(ordered), "95 of 100 under ms": ordered[int(0.95 * moves)]}


# ---- what is told ----


def versions(where) -> dict:
    """-> machine, versions and date, as they are written beside the numbers."""
    where = torch.device(where)
    machine = torch.cuda.get_device_name(where) if where.type == "cuda" else processor()
    told = {"machine": machine, "torch": torch.__version__, "torchvision": torchvision.__version__}
    return told | {"python": platform.python_version(), "date": str(date.today())}


def table(told: dict) -> str:
    """What was measured -> Markdown."""
    heads = "width, batch", "plain loop, pictures/s", "ours", "ratio", "ours, of the limit", "whole process, MB"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in told["steps"]:
        speed, share = row["pictures/s"], row["share of the limit"]
        own = row["MB"]["ours"].get("RssAnon", "?")
        lines.append(
            f"| {row['width']}, {row['batch']} | {speed['plain']:,.1f} (of the limit {share['plain']:.0%}) |"
            f" {speed['ours']:,.1f} | {row['ratio']:.2f} | {share['ours']:.0%} | {own} |"
        )
    made, latency = told["preparing"], told["sliders"]
    lines += ["", "| | |", "|---|---|", f"| matrix products | {told['GFLOP/s']:,.0f} GFLOP/s |"]
    lines += [f"| {name} | {rate:,.0f} pictures/s |" for name, rate in told["loaders"].items()]
    lines += [f"| drawing, {name} | {rate:,.0f} faces/s |" for name, rate in told["drawing"].items()]
    lines += [
        f"| preparing {made['pictures']:,} {told['prepared pictures']} | {made['seconds']:.1f} s (to reach:"
        f" {made['target']} s for {WHOLE:,}); {made['MB'].get('RssAnon', '?')} MB, mapped files not counted |",
        f"| decoding them with Pillow alone, all cores | {made['decoding alone, seconds']:.1f} s |",
        f"| slider to PNG, in the kernel | {latency['median ms']:.0f} ms (95 of 100 under"
        f" {latency['95 of 100 under ms']:.0f} ms) |",
    ]
    if compiled := told["compiled"]:
        lines.append(
            f"| compiled, width {compiled['width']} | {compiled['compiled']:.1f} steps/s, without"
            f" {compiled['plain']:.1f}; {compiled['seconds to compile']:.0f} s to compile |"
        )
    lines += [f"| {rung['rung']} | {rung['pictures/s']:,.0f} pictures/s |" for rung in told["ladder"]]
    return "\n".join(lines)


def figure(told: dict):
    """What was measured -> a matplotlib figure: both loops as shares of the limit; where pictures come from."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for offset, name, colour in ((-0.2, "plain", plotting.ORANGE), (0.2, "ours", plotting.BLUE)):
        shares = [100 * row["share of the limit"][name] for row in told["steps"]]
        bars = left.bar([x + offset for x in range(len(shares))], shares, 0.38, color=colour, label=name)
        left.bar_label(bars, [f"{row['pictures/s'][name]:,.0f}/s" for row in told["steps"]], fontsize=9)
    left.axhline(100, color="black", linewidth=1, linestyle="--")
    sizes = [f"width {row['width']},\nbatch {row['batch']}" for row in told["steps"]]
    left.set_xticks(range(len(sizes)), sizes)
    left.set(title="a training step (labels: pictures/s)", ylabel="% of the matrix-product rate", ylim=(0, 125))
    left.legend(frameon=False, loc="upper left", ncols=2)
    rates = told["loaders"] | {f"drawing, {name}": rate for name, rate in told["drawing"].items()}
    rates |= {"preparing": told["preparing"]["pictures/s"]}
    rates |= {"Pillow alone, decoding": told["preparing"]["decoding alone, pictures/s"]}
    bars = right.barh(list(rates), list(rates.values()), color=plotting.BLUE)
    right.bar_label(bars, [f" {rate:,.0f}" for rate in rates.values()], fontsize=9)
    right.set(xscale="log", title="pictures a second, nothing else to do", xlim=(20, 20 * max(rates.values())))
    right.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return canvas


def keep(told: dict, out: Path) -> None:
    """-> benchmark.json and benchmark.png in the folder `out`, with caption and alt text."""
    where = f"{told['machine']}, torch {told['torch'].split('+')[0]}, Python {told['python']}, {told['date']}"
    short = "A short setting, to see that it works; the numbers mean nothing. " if told["small"] else ""
    told["caption"] = (
        f"{short}Left: the loop of PyTorch's DCGAN example and ours, same networks, in turn, as a share of what matrix"
        f" products reach here ({told['GFLOP/s']:,.0f} GFLOP/s). Right: where pictures come from ({where})."
    )
    told["alt"] = f"Two bar charts. {told['caption']} In numbers: {table(told)}"
    out.mkdir(parents=True, exist_ok=True)
    plotting.from_matplotlib(figure(told), "").image.quantize(64).save(out / "benchmark.png", optimize=True)
    checkpoints.write_whole(out / "benchmark.json", (json.dumps(told, indent=1) + "\n").encode())


def measured(small: bool, place: Path) -> dict:
    """Everything, in one process -> its numbers. `place` is an empty folder for what is made on the way."""
    where, seconds, rounds = device.pick().device, 0.05 if small else 6, 1 if small else 3
    real = os.environ.get("ANIMEGAN_REAL_FACES") if not small else None
    folder = drawn.write(place / "drawn", 64) if small else download.get("drawn")
    faces = preprocess.prepare(folder, place / "faces") if small else preprocess.ready("drawn")
    pairs = ((4, 8),) if small else ((16, 32), (32, 64), (64, 128))
    sizes = [recipes.get("scores", width=width, batch=batch) for width, batch in pairs]
    told = versions(where) | {"small": small, "GFLOP/s": limit(where, sizes=(256,) if small else (1024, 2048, 4096))}
    source = download.unpack(Path(real) / "animefacedataset.zip", place / "real") if real else folder
    told["steps"] = [duel(one, folder, faces, where, seconds, rounds, told["GFLOP/s"]) for one in sizes]
    told["loaders"] = loaders(folder, faces, sizes[-1].batch, seconds / 2)
    told["drawing"] = drawing(place / "speed", 60 if small else 1000)
    told["prepared pictures"] = "real pictures, replicated" if real else "drawn pictures, replicated"
    told["preparing"] = preparing(source, place, 150 if small else WHOLE, 64)
    told["sliders"] = sliders(5 if small else 100)
    told["compiled"] = {} if small else compiling(sizes[0], faces, where, seconds)  # half a minute: not in small
    told["ladder"] = ladder(sizes[-1], faces, where, seconds) if small or where.type == "cuda" else []
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=plotting.RECORDED)
    args = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        told = measured(args.small, Path(place))
    told["seconds"] = round(time.perf_counter() - start)
    keep(told, args.out)
    print(f"{told['machine']}, torch {told['torch']}, {told['date']}, {told['seconds']} s:\n\n{table(told)}")


if __name__ == "__main__":
    main()
