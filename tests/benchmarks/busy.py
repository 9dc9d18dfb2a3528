"""Steps per second of a training on a quiet machine, beside a busy process, and beside another one.

python tests/benchmarks/busy.py [--small] [--out FOLDER]
-> busy.json in FOLDER (default: recorded/), and a table in Markdown

Each setting of the OpenMP library is an environment variable, so each training is a new process.
Let nothing else run. `--small` does all of it in seconds, to see that it works: its numbers mean
nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

SETTINGS = {  # as the environment of a training; "" is an environment without a setting
    "": {},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "GOMP_SPINCOUNT=30000": {"GOMP_SPINCOUNT": "30000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
SMALL = "GOMP_SPINCOUNT=1000"
LOADS = ("quiet", "one busy process", "two trainings")
THREADING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def worker(seconds: float, width: int, batch: int) -> None:
    """Train; print "ready" when warm, wait for a line, then print the steps per second."""
    import torch

    from animegan_helpers import recipes
    from animegan_helpers.trainer import Trainer

    trainer = Trainer(recipes.get("default", width=width, batch=batch))
    images = torch.zeros(batch, 64, 64, 3, dtype=torch.uint8)
    for _ in range(9):  # one step with R1 among them
        trainer.step(images)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    first_step = trainer.steps_done
    while time.perf_counter() - start < seconds:
        trainer.step(images).sum().item()
    print((trainer.steps_done - first_step) / (time.perf_counter() - start), flush=True)


def measure(setting: dict, load: str, arguments: list[str]) -> float:
    """A setting and a load -> the steps per second of one training (the mean of two)."""
    environment = {name: text for name, text in os.environ.items() if name not in THREADING}
    command = [sys.executable, __file__, "--worker", *arguments]
    count = 2 if load == "two trainings" else 1
    trainings = [
        subprocess.Popen(
            command,
            env=environment | setting,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for training in trainings:
        assert training.stdout.readline() == "ready\n"
    busy = None
    if load == "one busy process":
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for training in trainings:
            training.stdin.write("go\n")
            training.stdin.flush()
        rates = [float(training.communicate()[0]) for training in trainings]
    finally:
        if busy:
            busy.kill()
            busy.wait()
    return statistics.mean(rates)


def measure_all(settings: dict, rounds: int, arguments: list[str]) -> dict:
    """-> for each setting and load the steps per second of each round, measured in turn."""
    rates = {setting: defaultdict(list) for setting in settings}
    for _ in range(rounds):
        for load in LOADS:
            for setting, environment in settings.items():
                rate = measure(environment, load, arguments)
                rates[setting][load].append(round(rate, 3))
                print(f"{setting or 'no setting':26}{load:18}{rate:8.2f} steps/s", flush=True)
    return {setting: dict(loads) for setting, loads in rates.items()}


def table(rates: dict) -> str:
    """The rates of `measure_all` -> a table in Markdown: the median of each cell."""
    lines = [f"| setting | {' | '.join(LOADS)} |", "|---|" + "---|" * len(LOADS)]
    for setting, loads in rates.items():
        medians = [f"{statistics.median(loads[load]):.1f}" for load in LOADS]
        lines.append(f"| {setting or 'none'} | {' | '.join(medians)} |")
    return "\n".join(lines)


def main(small: bool, out: Path | None) -> dict:
    from record import versions, write_json

    from animegan_helpers import plotting

    seconds, width, batch = (0.2, 4, 4) if small else (8.0, 16, 32)
    arguments = [f"--seconds={seconds}", f"--width={width}", f"--batch={batch}"]
    record = versions("cpu") | {"width": width, "batch": batch, "seconds": seconds}
    settings = {"": {}, SMALL: SETTINGS[SMALL]} if small else SETTINGS
    record["steps per second"] = measure_all(settings, 1 if small else 3, arguments)
    write_json(record, (out or plotting.RECORDED) / "busy.json")
    print(table(record["steps per second"]))
    return record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.seconds, args.width, args.batch)
    elif args.small and not args.out:
        parser.error("the numbers of --small mean nothing: name a folder with --out")
    else:
        main(args.small, args.out)
