"""The scripts that make recorded/ run at a small size, and what they count is right."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import cuda, zeros

from animegan_helpers import checkpoints, plotting, recipe_json, recipes
from animegan_helpers.training import train

SCRIPTS = Path(__file__).parent / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The benchmarks can be imported as modules."""
    monkeypatch.syspath_prepend(SCRIPTS)


def file_times(folder):
    """-> the time of the last change of each file in a folder."""
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def run_small(script, home, *more):
    """A script runs small in a folder of its own -> what it printed; recorded/ does not change."""
    before = file_times(plotting.RECORDED)
    command = [sys.executable, SCRIPTS / script, "--small", "--out", home / "out", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, cwd=home, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    assert file_times(plotting.RECORDED) == before
    return process.stdout


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """-> the results of run.py, what it printed, and the folder of its files."""
    home = tmp_path_factory.mktemp("benchmark")
    printed = run_small("run.py", home)
    return read_json(home / "out/benchmark.json"), printed, home / "out"


def test_the_benchmark_compares_both_loops(benchmark):
    results, _, _ = benchmark
    (row,) = results["steps"]
    expected = row["rounds"]["ours"][0] / row["rounds"]["plain"][0]
    assert row["ratio"] == pytest.approx(expected, rel=0.1)
    for name in ("plain", "ours"):
        share = row["images/s"][name] * row["GFLOP per image"] / results["GFLOP/s"]
        assert row["share of the limit"][name] == pytest.approx(share, rel=0.1)


def test_the_benchmark_measures_all_that_a_learner_waits_for(benchmark):
    results, _, _ = benchmark
    assert list(results["loaders"]) == [
        "ImageFolder, 0 workers",
        "ImageFolder, 2 workers",
        "lazy, 0 workers",
        "lazy, 2 workers",
        "prepared",
    ]
    assert set(results["drawing"]) == {"one core", "all cores"}
    assert len(results["ladder"]) >= 3
    rates = [*results["loaders"].values(), *results["drawing"].values()]
    rates += [rung["images/s"] for rung in results["ladder"]]
    assert all(rate > 0 for rate in rates)
    prepared = results["preparing"]
    assert prepared["images"] == prepared["unique"] == 150, "no two of the replicas are equal"
    assert prepared["seconds"] > 0
    assert results["sliders"]["95th percentile ms"] >= results["sliders"]["median ms"] > 0


def test_the_benchmark_names_machine_and_date_and_prints_a_table(benchmark):
    results, printed, out = benchmark
    for name in ("machine", "torch", "python", "date"):
        assert results[name]
        assert str(results[name]).split("+")[0] in results["caption"]
    assert "mean nothing" in results["caption"], "a short setting says so"
    assert results["alt"]
    assert (out / "benchmark.png").stat().st_size > 5000
    (row,) = results["steps"]
    assert printed.count("|---") >= 8
    assert f"| {row['width']}, {row['batch']} |" in printed


def test_the_busy_machine_is_measured_for_every_setting_and_load(home):
    printed = run_small("busy.py", home)
    record = read_json(home / "out/busy.json")
    assert {"machine", "torch", "date"} <= record.keys()
    assert record["steps per second"].keys() <= record_named("busy")["steps per second"].keys()
    for loads in record["steps per second"].values():
        assert list(loads) == ["quiet", "one busy process", "two trainings"]
        assert all(rate > 0 for rates in loads.values() for rate in rates)
    assert "| GOMP_SPINCOUNT=1000 |" in printed


def record_named(name):
    return read_json(plotting.RECORDED / f"{name}.json")


def test_the_operations_of_a_step_are_counted_correctly():
    from loops import flops

    small = recipes.get("scores", width=1, z_dim=2, size=16)
    # By hand, with kernels of 4x4. G: 2 -> 4x4x2, doubled twice, to 3 colors. D: halved twice,
    # then one number.
    g = [1 * 2 * 2 * 16, 16 * 2 * 1 * 16, 64 * 1 * 3 * 16]
    d = [64 * 3 * 1 * 16, 16 * 1 * 2 * 16, 1 * 2 * 1 * 16]
    assert flops(small) == 2 * (sum(3 * n for n in g) - g[0] + sum(8 * n for n in d) - 2 * d[0])
    assert flops(recipes.get("scores")) / 1e9 == pytest.approx(2.28, abs=0.005)


def test_the_plain_loop_trains_the_same_networks_as_ours():
    from loops import OurLoop, PlainLoop

    recipe = recipes.get("scores", width=2, batch=4)
    plain = PlainLoop(recipe, "cpu")
    ours = OurLoop(recipe, "cpu").trainer
    for name in ("G", "D"):
        plain_shapes = [weight.shape for weight in getattr(plain, name).parameters()]
        our_shapes = [weight.shape for weight in getattr(ours, name).parameters()]
        assert plain_shapes == our_shapes


def test_a_step_of_the_plain_loop_changes_both_networks():
    from loops import PlainLoop

    plain = PlainLoop(recipes.get("scores", width=2, batch=4), "cpu")
    weights = [*plain.G.parameters(), *plain.D.parameters()]
    before = [weight.clone() for weight in weights]
    loss_d, loss_g, score_real, score_fake = plain.step(zeros(4, 3, 64, 64))
    assert loss_d > 0
    assert loss_g > 0
    assert 0 < score_real < 1
    assert 0 < score_fake < 1
    changed = sum(not old.equal(new) for old, new in zip(before, weights))
    assert changed > len(weights) / 2


# ---- on a GPU ----


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    """gpu.py, small -> its results, what it printed, and the folder of its files."""
    home = tmp_path_factory.mktemp("gpu")
    printed = run_small("gpu.py", home, "--minutes", "30")  # so timeouts are long, too
    return read_json(home / "out/gpu.json"), printed, home / "out"


def test_the_gpu_script_does_every_part_on_a_cpu_too(on_gpu):
    import gpu

    results, printed, _ = on_gpu
    parts = results["parts"]
    assert parts.keys() == gpu.PARTS.keys() == gpu.TIMEOUTS.keys()
    for (name, part), line in zip(parts.items(), printed.splitlines()):
        assert not {"error", "timeout"} & part.keys(), part
        assert line.startswith(name)
        assert line.endswith("skipped" if name in ("graph", "real") else "done")
    assert parts["graph"]["skipped"] == "CUDA graphs need an NVIDIA GPU"
    assert parts["real"]["skipped"] == "--data names no real faces"
    assert results["small"] is True
    assert {"machine", "processor", "torch", "python", "date"} <= results.keys()
    assert results["prepared"]["synthetic"]["images"] == 140


def test_the_gpu_script_compares_precisions_and_resumes_runs(on_gpu):
    parts = on_gpu[0]["parts"]
    checks = parts["precision"]["self-checks"]
    assert list(checks)[::3] == ["default-gpu, bfloat16", "300-epochs, float16"]
    assert all(check["cosine_d"] > 0.9 and not check["problem"] for check in checks.values())
    assert parts["precision"]["float32, GPU and CPU"]["loss_gap"] == 0, "both are the CPU"
    in_shell = parts["resume"]["from the shell"]
    assert in_shell["exit codes"] == [0, 0]
    assert 16 <= in_shell["steps"][0] < in_shell["steps"][1] == 80
    assert in_shell["history is complete"] is True
    assert [row["steps"] for row in parts["resume"]["moved"]] == [3, 6, 9]
    for recipe in ("default-gpu", "300-epochs"):
        expected = {"steps": 4, "finite": True, "largest difference of a weight": 0}
        assert parts["processes"][recipe] == expected


def test_the_gpu_script_measures_rates_and_the_cost_of_saving(on_gpu):
    parts = on_gpu[0]["parts"]
    rates = parts["rates"]
    assert len(rates["rounds"]) == 4
    for name, rounds in rates["rounds"].items():
        assert len(rounds) == 3
        assert rates["steps/s"][name] == sorted(rounds)[1] > 0
    assert len(rates["a save"]["seconds"]) == 3
    assert rates["a save"]["MB"] > 0.1
    assert parts["long"]["minutes of all 149,100 steps, extrapolated"] > 0
    assert parts["profile"]["operations of a step"] > 100
    assert len(parts["profile"]["most expensive"]) == 10


def assert_shows_faces(part, kind, out):
    """A part of three small steps of the default has left its images."""
    assert (part["recipe"]["name"], part["steps"]) == ("default-gpu", 3)
    assert part["images/s"] == pytest.approx(3 * 8 / part["seconds"])
    assert [save["step"] for save in part["saves"]] == [0, 3]
    assert part["share of the time that saving took"] == 0, "it saved before and after"
    names = [f"gpu_{kind}_{name}" for name in ("1", "2", "film")]
    assert sorted(path.stem for path in out.glob("*.png")) == names


def test_the_gpu_script_shows_and_measures_synthetic_faces(on_gpu):
    results, _, out = on_gpu
    part = results["parts"]["synthetic"]
    assert_shows_faces(part, "synthetic", out)
    assert {"FID", "KID x 1000", "FID (real)"} <= part["measured"].keys()


def test_the_gpu_script_takes_a_zip_of_real_faces(home, drawn_folder):
    import gpu

    zipped = shutil.make_archive(home / "real", "zip", drawn_folder)
    args = SimpleNamespace(data=zipped, small=True, search=None)
    folders, facts = gpu.prepared(args, home)
    assert facts["real"]["images"] == 12
    job = gpu.Job(str(home), str(home), **folders, small=True, minutes=10, part="real")
    assert_shows_faces(gpu.train_on_real(job), "real", home)


def test_a_run_is_shown_at_marks_and_at_its_end():
    import gpu

    marks = gpu.MarksCallback([5, 15, 30])
    trainer = SimpleNamespace(fixed_faces=lambda: zeros(64, 3, 16, 16))
    for step, seconds in enumerate([1, 6, 7, 29, 31, 32], start=1):
        trainer.steps_done = step
        trainer.seconds = seconds
        marks(trainer, SimpleNamespace(finished=False))
    for _ in range(2):
        marks(trainer, SimpleNamespace(finished=True))
    assert marks.labels == ["6 s,\nstep 2", "29 s,\nstep 4", "31 s,\nstep 5", "32 s,\nstep 6"]
    assert len(marks.grids) == 4


PROCESSES = {  # what takes the place of four parts
    "device": "raise ValueError('the GPU is on fire')",
    "precision": """
import subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "result.json").write_text('{"measured": 1}')
beat = "import time\\nwhile True: print('.', end='', flush=True); time.sleep(0.05)"
subprocess.Popen([sys.executable, "-c", beat], stdout=open(folder / "beats", "w"))
time.sleep(600)
""",
    "resume": "import os; os.abort()",
    "rates": """
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
parts = json.loads((folder.parent / "gpu.json").read_text())["parts"]
(folder / "result.json").write_text(json.dumps({"written before": list(parts)}))
print("UserWarning: hot", file=sys.stderr)
""",
}


def test_a_gpu_part_that_fails_or_is_too_slow_is_recorded_and_the_next_one_runs(
    home, monkeypatch, capsys
):
    import gpu

    def command_of(job):
        return [sys.executable, "-c", PROCESSES[job.part], str(job.folder)]

    monkeypatch.setattr(gpu, "command_of", command_of)
    job = gpu.Job(str(home), str(home), "none", None, small=False, minutes=10)
    timeouts = {"device": 60, "precision": 5, "resume": 60, "rates": 60}
    gpu.run_all(job, timeouts, {}, home / "gpu.json")
    parts = read_json(home / "gpu.json")["parts"]
    assert parts["device"]["error"].endswith("ValueError: the GPU is on fire\nexit code 1")
    assert (parts["precision"]["timeout"], parts["precision"]["measured"]) == (5, 1)
    assert 5 <= parts["precision"]["seconds in all"] < 15
    assert "exit code " in parts["resume"]["error"]
    assert parts["rates"]["written before"] == ["device", "precision", "resume"]
    assert parts["rates"]["warnings"] == ["UserWarning: hot"]
    endings = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert endings == ["error", "timeout", "error", "done"]
    beats = home / "precision/beats"
    size = beats.stat().st_size
    time.sleep(0.5)
    assert beats.stat().st_size == size > 0, "what a part has started ends with it"


def test_the_gpu_script_takes_ten_minutes_and_needs_a_gpu(home):
    import gpu

    assert sum(gpu.TIMEOUTS.values()) <= 600
    job = gpu.Job(str(home), str(home), "none", None, small=False, minutes=10, part="long")
    if not cuda.is_available():
        gpu.run_part(job)
        assert "no NVIDIA GPU" in read_json(job.folder / "result.json")["skipped"]
    assert gpu.reason_to_skip(replace(job, part="real")) == "--data names no real faces"
    assert job.scaled(90) == 90
    assert replace(job, minutes=5).scaled(90) == 45


def test_the_gpu_script_finds_the_cells_of_page_10():
    import gpu

    assert {"compiled_step", "graphed_step", "use_capturable_adams"} <= gpu.page_10().keys()


def test_the_gpu_script_searches_a_default_at_equal_seconds(home):
    run_small("gpu.py", home, "--search", "0.5")
    tries = read_json(home / "out/gpu_search.json")["parts"]
    assert len(tries) == 3
    assert tries["as it is"]["recipe"]["name"] == "default-gpu"
    for row in tries.values():
        assert row["steps"] >= 1
        assert row["seconds"] < 5
        assert row["KID x 1000"] > 0
        assert "color pairs" in row
    recipes_tried = {json.dumps(row["recipe"]) for row in tries.values()}
    assert len(recipes_tried) == 3, "each try has another recipe"


# ---- races ----


MARKS = [
    {"step": 1, "FID": 10.0, "KID x 1000": 100.0, "color pairs": 1},
    {"step": 2, "FID": 20.0, "KID x 1000": 200.0, "color pairs": 2},
]


def test_a_races_table_puts_each_number_under_its_mark():
    from race_figures import table

    runs = [{"name": "one", "seed": 0, "marks": MARKS}]
    assert table(runs, (60, 120)).splitlines()[-1] == "| one | 1, 10.0, 100, 1 | 2, 20.0, 200, 2 |"
    head, _, row = table(runs, (60, 120), 1).splitlines()
    assert head.startswith("| | 120 s:")
    assert row == "| one | 2, 20.0, 200, 2 |"


def test_a_races_table_has_means_over_the_seeds_and_names_what_did_not_finish():
    from race_figures import table

    second = [row | {"KID x 1000": row["KID x 1000"] + 20} for row in MARKS]
    runs = [
        {"name": "one", "seed": 0, "marks": MARKS},
        {"name": "one", "seed": 1, "marks": second},
        {"name": "two", "seed": 0, "marks": [{"step": 3, "ended": "loss_d is nan"}]},
    ]
    lines = table(runs, (60, 120)).splitlines()
    assert lines[2] == "| one | 1, 10.0, 110 ± 14, 1 | 2, 20.0, 210 ± 14, 2 |"
    assert lines[3] == "| two | ended, or not run | ended, or not run |"


@pytest.mark.parametrize("group, line", [("fair", "a line"), ("ladder", "a black bar")])
def test_the_caption_of_a_race_speaks_of_a_mean_only_if_there_are_several_seeds(group, line):
    from race_figures import caption_of

    machine = {"machine": "a core", "torch": "2.6.0+cpu", "date": "2026-01-01", "marks": MARKS}
    one = [{"name": name, "seed": 0, **machine} for name in ("one", "two")]
    two = [*one, {"name": "one", "seed": 1, **machine}]
    assert "one seed, a" in caption_of(group, one, (60, 120))
    assert "mean" not in caption_of(group, one, (60, 120))
    assert f"a dot for each seed (2), {line} for the mean" in caption_of(group, two, (60, 120))


def as_json(recipe):
    """A recipe -> what is read from its JSON: lists instead of tuples."""
    return json.loads(json.dumps(recipe_json.to_json(recipe)))


def test_a_race_measures_each_mark_and_is_not_run_again(home, monkeypatch):
    import race

    from animegan_helpers import drawn
    from animegan_helpers.prepare import prepare

    faces = prepare(drawn.write(home / "drawn", 80), home / "faces")
    monkeypatch.setattr(race, "load_faces", lambda source: faces)
    monkeypatch.setattr(race, "COUNT", 70)
    monkeypatch.setattr(race.metrics, "kid", lambda *arguments, **options: (0.1, 0.0))
    monkeypatch.setattr(race.torch, "set_num_threads", lambda count: None)  # of this process, too
    monkeypatch.setattr(race.torch, "set_flush_denormal", lambda flush: None)
    recipe = as_json(recipes.get("default", width=4, batch=8))
    marks = [0.01, 0.02, 0.03, 0.04]
    result = race.run("small", recipe, 0, marks, home / "race")
    assert len(result["marks"]) == 3
    assert all(row["step"] > 0 for row in result["marks"])
    assert result["marks"][-1]["ended"] == "no better in two marks"
    assert result["marks"][0].keys() >= {"CPU seconds", "seconds", "FID", "color pairs"}
    assert (home / "race/small/0/00.01.png").exists()
    monkeypatch.setattr(race, "TimedRun", None)  # nothing trains now
    assert race.run("small", recipe, 0, marks, home / "race") == result


@pytest.mark.parametrize(
    "marks, seconds, ended, is_same",
    [
        ([60, 240], [60.2, 241], False, True),
        ([30, 60], [60.2, 241], False, False),
        ([60, 240, 600], [60.2, 241], False, False),
        ([60], [60.2, 241], False, False),
        ([60, 240, 600], [60.2, 241], True, True),
        ([60, 240, 600], [60.2, 100], True, True),  # a loss was not finite
    ],
)
def test_a_race_of_other_marks_is_run_again(marks, seconds, ended, is_same):
    from race import was_measured_at

    rows = [{"CPU seconds": value} for value in seconds]
    if ended:
        rows[-1]["ended"] = "no better in two marks"
    assert was_measured_at(marks, rows) is is_same


@pytest.mark.parametrize(
    "words",
    [
        ["busy.py", "--small"],
        ["run.py", "--small"],
        ["gpu.py", "--small"],
        ["gpu.py", "--only", "rates"],
        ["flow.py", "--faces", "100"],
    ],
)
def test_a_trial_does_not_replace_a_record(words):
    command = [sys.executable, SCRIPTS / words[0], *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--out" in done.stderr


def test_the_runs_of_two_sets_are_not_taken_for_those_of_others(tmp_path):
    from second_set import check_settings

    settings = {"first": "a", "second": "b", "recipe": recipe_json.to_json(recipes.get("default"))}
    check_settings(settings, tmp_path)
    check_settings(settings, tmp_path)
    with pytest.raises(ValueError, match="holds runs of .*'second': 'b'"):
        check_settings(settings | {"second": "c"}, tmp_path)
    with pytest.raises(ValueError, match="holds runs of"):
        check_settings(settings | {"recipe": recipe_json.to_json(recipes.get("wide"))}, tmp_path)


def test_a_first_training_that_was_stopped_is_resumed_and_only_then_used(
    faces, tmp_path, monkeypatch
):
    import second_set

    small = recipes.get("default", width=4, z_dim=8, batch=4, size=16)
    monkeypatch.setattr(second_set, "RECIPE", small)
    monkeypatch.setattr(second_set, "load_faces", lambda source: faces)

    def stopped_train(*arguments, **options):
        def stop(trainer, log):
            if trainer.steps_done == 3 and not log.finished:
                signal.raise_signal(signal.SIGINT)

        return train(*arguments, **options, callback=stop)

    with monkeypatch.context() as patch:
        patch.setattr(second_set, "train", stopped_train)
        with pytest.raises(SystemExit, match="stopped after 3 steps"):
            second_set.train_first("drawn", 6, tmp_path / "first")
    for _ in range(2):  # the second time there is nothing to do
        second_set.train_first("drawn", 6, tmp_path / "first")
        assert checkpoints.newest(tmp_path / "first")["steps_done"] == 6


def test_a_race_of_an_older_version_is_run_again(tmp_path):
    from race import finished_result

    recipe = as_json(recipes.get("default"))
    old = dict(recipe)
    old["lr_fall"] = old.pop("lr_decay_start")
    (tmp_path / "race.json").write_text(json.dumps({"recipe": old}))
    assert finished_result(tmp_path, recipe) is None
    (tmp_path / "race.json").write_text(json.dumps({"recipe": recipe}))
    assert finished_result(tmp_path, recipe) == {"recipe": recipe}
    assert finished_result(tmp_path, recipe | {"width": 8}) is None


# ---- what is recorded ----


def numbers(data):
    """A record -> all its numbers."""
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, list):
        return [number for part in data for number in numbers(part)]
    is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
    return [data] if is_number else []


def recipes_in(data):
    """A record -> all recipes in it."""
    if isinstance(data, list):
        return [recipe for part in data for recipe in recipes_in(part)]
    if not isinstance(data, dict):
        return []
    if "about" in data:
        return [data]
    return recipes_in(list(data.values()))


def test_every_recorded_recipe_can_be_read():
    for path in plotting.RECORDED.glob("*.json"):
        for recipe in recipes_in(read_json(path)):
            recipe_json.from_json(recipe)


def test_recorded_races_have_the_recipes_of_today():
    from race import training_settings
    from race_groups import GROUPS

    for group, (entries, marks) in GROUPS.items():
        record = read_json(plotting.RECORDED / f"{group}.json")
        assert tuple(record["marks"]) == marks
        assert {run["name"] for run in record["runs"]} == set(entries)
        for run in record["runs"]:
            today = recipe_json.to_json(entries[run["name"]])
            assert training_settings(run["recipe"]) == training_settings(today), run["name"]


def test_the_alt_text_of_a_recorded_race_has_its_numbers():
    from race_figures import OVER_TIME, sentences
    from race_groups import GROUPS

    for group in GROUPS:
        record = read_json(plotting.RECORDED / f"{group}.json")
        first = 0 if group in OVER_TIME else len(record["marks"]) - 1
        assert sentences(record["runs"], record["marks"], first) in record["alt"]


def test_the_recorded_recipes_train_as_when_they_were_recorded():
    """The records belong to today's code (training_numbers.py says what to do if not)."""
    from training_numbers import numbers_of, recorded_recipes

    recorded = read_json(plotting.RECORDED / "training_numbers.json")
    recorded = recorded["loss_d, loss_g, mean absolute pixel"]
    entries = recorded_recipes()
    assert set(recorded) == set(entries)
    for name, entry in entries.items():
        assert numbers_of(*entry) == pytest.approx(recorded[name], rel=5e-3, abs=5e-4), name


def test_the_training_numbers_notice_a_change_of_the_trainer(monkeypatch):
    from training_numbers import numbers_of, recorded_recipes

    from animegan_helpers import trainer

    recorded = read_json(plotting.RECORDED / "training_numbers.json")
    recorded = recorded["loss_d, loss_g, mean absolute pixel"]
    penalty = trainer.r1_penalty
    monkeypatch.setattr(trainer, "r1_penalty", lambda D, real: 1.1 * penalty(D, real))
    name = "search: start"
    changed = numbers_of(*recorded_recipes()[name])
    assert changed != pytest.approx(recorded[name], rel=5e-3, abs=5e-4)


def test_the_training_numbers_notice_that_the_learning_rates_no_longer_decay(monkeypatch):
    from training_numbers import numbers_of, recorded_recipes

    from animegan_helpers.trainer import Trainer

    recorded = read_json(plotting.RECORDED / "training_numbers.json")
    recorded = recorded["loss_d, loss_g, mean absolute pixel"]
    monkeypatch.setattr(Trainer, "_set_learning_rates", lambda trainer: None)
    name = "recipe: default with DiffAugment"
    changed = numbers_of(*recorded_recipes()[name])
    assert changed != pytest.approx(recorded[name], rel=5e-3, abs=5e-4)


@pytest.mark.parametrize(
    "group, name, seed, last",
    [
        ("sources", "3 (paper)", 0, 2400),
        ("sources", "3 (paper)", 1, 600),
        ("sources", "ours (default)", 0, 600),
        ("fair", "3 (paper)", 2, 60),
        ("ladder", "R1", 2, 240),
    ],
)
def test_a_run_is_measured_up_to_the_last_mark_of_its_seed(group, name, seed, last):
    from race_groups import GROUPS, marks_of

    marks = marks_of(group, name, seed)
    assert marks[-1] == last
    assert marks == [mark for mark in GROUPS[group][1] if mark <= last]


def test_the_curve_of_a_source_goes_on_thinly_where_one_seed_is_left():
    from race_figures import over_time

    last = {"CPU seconds": 240, "FID": 5.0, "KID x 1000": 50.0}
    rows = [row | {"CPU seconds": mark} for row, mark in zip(MARKS, (60, 120))]
    second = [row | {"KID x 1000": row["KID x 1000"] + 20} for row in rows]
    runs = [
        {"name": "one", "seed": 0, "marks": [*rows, last]},
        {"name": "one", "seed": 1, "marks": second},
    ]
    axes = over_time(runs, (60, 120, 240)).axes[0]
    *_, mean, alone = axes.get_lines()
    assert mean.get_xydata().tolist() == [[60, 110], [120, 210]]
    assert alone.get_xydata().tolist() == [[120, 200], [240, 50]]
    assert alone.get_linewidth() < mean.get_linewidth()
