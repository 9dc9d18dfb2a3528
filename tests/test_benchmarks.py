"""The scripts that make recorded/ run from end to end at a small size, and what they count is right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animegan_helpers import plotting, recipes

SCRIPTS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def run(monkeypatch):
    """The benchmark, as a module."""
    monkeypatch.syspath_prepend(SCRIPTS)
    import run

    return run


def started(script, home, *more):
    """A script run small in a folder of its own -> what it printed; recorded/ must be as it was."""
    before = {path: path.stat().st_mtime_ns for path in plotting.RECORDED.iterdir()}
    command = [sys.executable, SCRIPTS / script, "--small", "--out", home / "out", *more]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in plotting.RECORDED.iterdir()} == before
    return done.stdout


def test_the_benchmark_measures_both_loops_and_all_that_feeds_them(home):
    printed = started("run.py", home)
    told = json.loads((home / "out/benchmark.json").read_text(encoding="utf-8"))
    (row,) = told["steps"]
    assert row["ratio"] == pytest.approx(row["rounds"]["ours"][0] / row["rounds"]["plain"][0], rel=0.1)
    for name in ("plain", "ours"):
        expected = row["pictures/s"][name] * row["GFLOP a picture"] / told["GFLOP/s"]
        assert row["share of the limit"][name] == pytest.approx(expected, rel=0.1)
    assert list(told["loaders"]) == [
        "ImageFolder, 0 workers", "ImageFolder, 2 workers", "lazy, 0 workers", "lazy, 2 workers", "prepared",
    ]  # fmt: skip
    assert set(told["drawing"]) == {"one core", "all cores"}
    rates = [*told["loaders"].values(), *told["drawing"].values(), *(rung["pictures/s"] for rung in told["ladder"])]
    assert len(told["ladder"]) >= 3 and all(rate > 0 for rate in rates)
    made = told["preparing"]
    assert made["pictures"] == made["unique"] == 150 and made["seconds"] > 0  # no two of the replicas are alike
    assert told["sliders"]["95 of 100 under ms"] >= told["sliders"]["median ms"] > 0
    for name in ("machine", "torch", "python", "date"):
        assert told[name] and str(told[name]).split("+")[0] in told["caption"]
    assert "mean nothing" in told["caption"], "a short setting says so"
    assert told["alt"] and (home / "out/benchmark.png").stat().st_size > 5000
    assert printed.count("|---") >= 8 and f"| {row['width']}, {row['batch']} |" in printed


def test_the_work_of_a_step_is_counted_right(run):
    small = recipes.get("scores", width=1, z_dim=2, size=16)
    # G: 2 -> 4x4x2, doubled twice to 3 colours. D: halved twice, then one number. Kernels of 4x4, by hand:
    g = [1 * 2 * 2 * 16, 16 * 2 * 1 * 16, 64 * 1 * 3 * 16]
    d = [64 * 3 * 1 * 16, 16 * 1 * 2 * 16, 1 * 2 * 1 * 16]
    assert run.flops(small) == 2 * (sum(3 * n for n in g) - g[0] + sum(8 * n for n in d) - 2 * d[0])
    assert run.flops(recipes.get("scores")) / 1e9 == pytest.approx(2.28, abs=0.005)


def test_the_plain_loop_plays_the_same_game_as_ours(run):
    from torch import zeros

    one = recipes.get("scores", width=2, batch=4)
    plain, ours = run.Plain(one, "cpu"), run.Ours(one, "cpu").game
    for name in ("G", "D"):
        shapes = [[p.shape for p in getattr(loop, name).parameters()] for loop in (plain, ours)]
        assert shapes[0] == shapes[1]
    before = [p.clone() for net in (plain.G, plain.D) for p in net.parameters()]
    loss_d, loss_g, score_real, score_fake = plain.play(zeros(4, 3, 64, 64))
    assert loss_d > 0 < loss_g and 0 < score_real < 1 > score_fake > 0
    after = [p for net in (plain.G, plain.D) for p in net.parameters()]
    assert sum(not a.equal(b) for a, b in zip(before, after)) > len(before) / 2


def test_the_gpu_script_does_all_it_promises_on_a_cpu_too(home):
    started("gpu.py", home)
    told = json.loads((home / "out/gpu.json").read_text(encoding="utf-8"))
    assert set(told["GFLOP/s"]) == {"float32", "half precision"} and min(told["GFLOP/s"].values()) > 0
    for rung in told["ladder"]:
        assert rung["pictures/s"] > 0 < rung["share of the half-precision limit"]
    run, ours = told["source run"], told["ours"]
    assert (run["recipe"]["name"], run["steps"], run["whole"]) == ("300-epochs", 3, False)
    assert (ours["recipe"]["name"], ours["steps"]) == ("default-gpu", 3)
    assert run["pictures/s"] == pytest.approx(3 * 8 / run["seconds"], rel=0.05)
    assert {"FID", "KID x 1000", "FID (real)"} <= set(told["measured"])
    pictures = {"gpu_source_1", "gpu_source_2", "gpu_faces_1", "gpu_faces_2", "gpu_after_minutes"}
    assert {path.stem for path in (home / "out").glob("*.png")} == pictures


def test_the_gpu_script_searches_a_default_at_equal_seconds(home):
    started("gpu.py", home, "--search", "0.5")
    tries = json.loads((home / "out/gpu_search.json").read_text(encoding="utf-8"))["tries"]
    assert len(tries) == 3 and tries["as it is"]["recipe"]["name"] == "default-gpu"
    for row in tries.values():
        assert row["steps"] >= 1 and row["seconds"] < 5 and row["KID x 1000"] > 0 and "colours" in row
    assert len({json.dumps(row["recipe"]) for row in tries.values()}) == 3, "each is a try of its own"


def test_a_races_table_puts_each_number_under_its_mark(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import race

    marks = [
        {"step": 1, "FID": 10.0, "KID x 1000": 100.0, "colours": 1},
        {"step": 2, "FID": 20.0, "KID x 1000": 200.0, "colours": 2},
    ]
    runs = [{"name": "one", "seed": 0, "marks": marks}]
    assert race.table(runs, (60, 120)).splitlines()[-1] == "| one | 1, 10.0, 100, 1 | 2, 20.0, 200, 2 |"
    head, _, row = race.table(runs, (60, 120), 1).splitlines()
    assert head.startswith("| | 120 s:") and row == "| one | 2, 20.0, 200, 2 |"
