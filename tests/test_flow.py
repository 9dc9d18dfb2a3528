"""Flow matching: its loss and Euler steps against known answers, page 13's code, and the record."""

import ast
import json
import math
from pathlib import Path

import pytest
import torch
from pages import PAGES, page_id

from animegan_helpers import plotting
from animegan_helpers.rng import rng

ROOT = Path(__file__).parent.parent
SHARED = ("time_features", "Block", "UNet", "flow_loss", "sample_times", "euler")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The benchmarks can be imported as modules."""
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")


def noise(*shape):
    return torch.randn(*shape, generator=rng(0, "noise"))


# ---- the loss and the steps ----


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_euler_steps_are_exact_along_straight_lines(steps):
    from flow_network import euler

    start = noise(4, 3, 8, 8)
    image = torch.rand(4, 3, 8, 8)
    constant = euler(lambda x, t: image - start, start, steps)
    assert torch.allclose(constant, image, atol=1e-5)
    to_the_image = euler(lambda x, t: (image - x) / (1 - t), start, steps)
    assert torch.allclose(to_the_image, image, atol=1e-5)


def test_euler_steps_of_a_linear_velocity_grow_as_the_formula_says():
    from flow_network import euler

    start = noise(2, 3, 4, 4).double()
    for steps in (1, 3, 10):
        end = euler(lambda x, t: 0.5 * x, start, steps)
        assert torch.allclose(end, start * (1 + 0.5 / steps) ** steps)
    many = euler(lambda x, t: 0.5 * x, start, 1000)
    assert torch.allclose(many, start * math.exp(0.5), rtol=1e-3)


def test_each_euler_step_is_told_its_time():
    from flow_network import euler

    times = []

    def velocity(x, t):
        times.append(t.flatten().tolist())
        return x

    euler(velocity, noise(2, 3, 4, 4), 4)
    assert times == [[0.0, 0.0], [0.25, 0.25], [0.5, 0.5], [0.75, 0.75]]


def test_the_loss_is_zero_for_the_true_velocity_and_known_for_none():
    from flow_network import flow_loss

    image = torch.rand(5, 3, 8, 8, generator=rng(0, "image"))
    start = noise(5, 3, 8, 8)
    t = torch.linspace(0, 0.9, 5).view(5, 1, 1, 1)
    assert flow_loss(lambda x, t: (image - x) / (1 - t), image, start, t) < 1e-9
    expected = (image - start).square().mean()
    assert flow_loss(lambda x, t: torch.zeros_like(x), image, start, t) == pytest.approx(expected)


@pytest.mark.slow
def test_the_network_learns_one_image_by_heart():
    from flow import Flow, FlowTrainer

    trainer = FlowTrainer(Flow(width=8, warmup=5, ema=0.9))
    image = torch.full((4, 64, 64, 3), 200, dtype=torch.uint8)
    losses = [trainer.step(image).item() for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]


# ---- the network ----


def test_the_network_gives_a_velocity_for_each_image_and_depends_on_its_time():
    from flow_network import UNet

    net = UNet(width=8)
    x = noise(2, 3, 64, 64)
    early, late = torch.zeros(2, 1, 1, 1), torch.full((2, 1, 1, 1), 0.9)
    assert net(x, early).shape == x.shape
    assert not torch.allclose(net(x, early), net(x, late), atol=1e-4)
    mixed = net(x, torch.cat([early[:1], late[:1]]))
    assert torch.allclose(mixed[0], net(x, early)[0], atol=1e-5)
    assert torch.allclose(mixed[1], net(x, late)[1], atol=1e-5)


def test_faces_and_steps_depend_on_the_seed_alone():
    from flow import Flow, FlowTrainer, flow_faces

    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    trainers = [FlowTrainer(Flow(width=8), seed) for seed in (1, 1, 2)]
    losses = []
    for trainer in trainers:
        torch.rand(3)  # torch's own generator has no part in it
        losses.append([trainer.step(pixels).item() for _ in range(2)])
    assert losses[0] == losses[1] != losses[2]
    faces = [flow_faces(trainers[0].ema, 2, 2, key) for key in (0, 0, 1)]
    assert torch.equal(faces[0], faces[1]) and not torch.equal(faces[0], faces[2])
    assert faces[0].abs().max() <= 1


def test_a_loss_that_is_not_finite_is_named_with_its_step():
    from flow import Losses

    losses = Losses()
    losses.append(torch.tensor(1.0))
    losses.fetch()
    losses.append(torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="step 2"):
        losses.fetch()


# ---- page 13 ----


def definitions(source):
    """Python code -> its functions and classes by name, without docstrings and annotations."""
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.arg):
                part.annotation = None
            if isinstance(part, ast.FunctionDef):
                part.returns = None
            if isinstance(part, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(part):
                part.body = part.body[1:]
        found[node.name] = ast.dump(node)
    return found


def test_page_13_builds_the_network_that_the_benchmark_trains():
    (path,) = [path for path in PAGES if page_id(path) == "13"]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    on_the_page = {}
    for source in code:
        on_the_page |= definitions(source)
    file = ROOT / "tests/benchmarks/flow_network.py"
    of_the_benchmark = definitions(file.read_text(encoding="utf-8"))
    assert set(of_the_benchmark) == set(SHARED)
    for name in SHARED:
        assert on_the_page[name] == of_the_benchmark[name], name


# ---- the race and its record ----


def test_each_budget_has_a_recipe_and_marks_on_the_way():
    from flow import jobs_of

    jobs = jobs_of([600, 60], seeds=2)
    assert jobs[:3] == [
        ("flow", 0, [60, 600]),
        ("default", 0, [60]),
        ("wide", 0, [60, 240, 600]),
    ]
    assert [job[1] for job in jobs] == [0, 0, 0, 1, 1, 1]
    shared = jobs_of([60, 240], seeds=1)  # one recipe for both: one run
    assert shared == [("flow", 0, [60, 240]), ("default", 0, [60, 240])]
    long = jobs_of([60, 600], seeds=2, is_long=True)
    assert long[:2] == [("flow", 0, [2400, 7200]), ("long", 0, [60, 240, 600, 2400, 7200])]
    assert long[2:] == jobs_of([60, 600], seeds=2)


def test_a_long_run_has_a_folder_of_its_own(tmp_path):
    from flow import LONGEST, folder_of

    folders = {folder_of(tmp_path, "flow", seed, mark) for seed in (0, 1) for mark in (60, LONGEST)}
    assert len(folders) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flow", "default"])
def test_a_longer_budget_goes_on_from_a_shorter_one(name, tmp_path, monkeypatch):
    import flow

    monkeypatch.setattr(flow, "SWEEP", ())
    threads = torch.get_num_threads()
    first = flow.run(name, 1, [1], 80, str(tmp_path))
    saved = torch.load(tmp_path / name / "1" / flow.STATE)
    longer = flow.run(name, 1, [1, 2], 80, str(tmp_path))
    torch.set_num_threads(threads)
    assert longer["rows"][0] == first["rows"][0] and first["job"]["marks"] == [1]
    assert longer["job"]["marks"] == [1, 2] and longer["rows"][1]["mark"] == 2
    assert longer["rows"][1]["step"] > saved["trainer"]["steps_done"] == first["rows"][0]["step"]


def test_a_run_that_was_stopped_before_its_first_mark_goes_on(tmp_path, monkeypatch):
    import flow

    states = []

    def stop(side, result, faces, folder):
        states.append((folder / flow.STATE).exists())
        (folder / flow.STATE).write_bytes(b"state")
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "measure", stop)
    monkeypatch.setattr(flow, "training_memory", len)  # any function that a new process finds
    for seconds in (60, 60, 120):
        with pytest.raises(KeyboardInterrupt):
            flow.run("flow", 1, [seconds], 80, str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        flow.run("flow", 1, [60], 81, str(tmp_path))
    assert states == [False, True, True, False], "another job begins anew"


def test_a_run_is_not_measured_at_a_mark_that_it_has_passed(tmp_path):
    from types import SimpleNamespace

    from flow import SAVE_EVERY, measure

    side = SimpleNamespace(timed=SimpleNamespace(cpu_seconds=61 + SAVE_EVERY))
    with pytest.raises(ValueError, match="was not measured at 60: delete it"):
        measure(side, {"job": {"marks": [60]}, "rows": []}, None, tmp_path)


def test_a_run_that_goes_on_ends_like_one_without_a_stop(tmp_path):
    from flow import Flow, TimedFlow

    images = torch.randint(0, 256, (10, 64, 64, 3), dtype=torch.uint8)
    flow = Flow(width=8, batch=4)
    whole, cut = TimedFlow(flow, 0, images), TimedFlow(flow, 0, images)
    for timed, steps in ((whole, 5), (cut, 3)):
        for _ in range(steps):
            timed.trainer.step(next(timed.loader))
    cut.cpu_seconds = 7.0
    cut.save(tmp_path / "state.pt")
    resumed = TimedFlow(flow, 0, images)
    resumed.load(tmp_path / "state.pt", images)
    assert resumed.cpu_seconds == 7.0
    for _ in range(2):
        resumed.trainer.step(next(resumed.loader))
    for name in ("net", "ema"):
        of_whole = getattr(whole.trainer, name).state_dict()
        of_resumed = getattr(resumed.trainer, name).state_dict()
        assert all(torch.equal(of_whole[key], of_resumed[key]) for key in of_whole)


NUMBERS = {"FID", "KID x 1000", "precision", "recall", "seconds per image"}


def assert_is_a_run(result):
    """A result of `run` has a row for each mark, with all numbers in their ranges."""
    job = result["job"]
    assert {"weights", "training MB", "machine", "torch", "date"} <= result.keys()
    assert sorted({row["mark"] for row in result["rows"]}) == job["marks"]
    for row in result["rows"]:
        assert NUMBERS <= row.keys()
        assert 0 <= row["precision"] <= 1 and 0 <= row["recall"] <= 1
        assert row["mark"] <= row["CPU seconds"] < row["mark"] + 20 and row["step"] >= 1
        assert row["seconds per image"] > 0


@pytest.mark.parametrize(
    "marks_of_seeds, words",
    [([[60]], "one seed"), ([[60], [60]], "2 seeds"), ([[60, 90], [60]], "2 seeds, but 1 at 90 s")],
)
def test_the_caption_says_how_many_seeds_each_budget_has(marks_of_seeds, words):
    from flow_figures import seeds_in_words

    runs = []
    for marks in marks_of_seeds:
        rows = [{"mark": mark, "Euler steps": 10, "FID": 1.0} for mark in marks]
        runs.append({"job": {"name": "flow"}, "rows": rows})
    assert seeds_in_words(runs, marks_of_seeds[0]) == words


def test_the_figure_of_faces_compares_numbers_of_euler_steps_at_the_longest_budget_alone():
    from flow_figures import shown_sides

    both = [(mark, steps) for mark in (60, 90) for steps in (10, 1, 50)]
    flow = [{"mark": mark, "Euler steps": steps, "FID": 1.0} for mark, steps in both]
    gan = [{"mark": mark, "Euler steps": 1, "FID": 1.0} for mark in (60, 90)]
    runs = [
        {"job": {"name": "flow", "marks": [60, 90]}, "rows": flow},
        {"job": {"name": "default", "marks": [60, 90]}, "rows": gan},
    ]
    at_60 = [(60, "default", 1), (60, "flow", 10)]
    at_90 = [(90, "default", 1), (90, "flow", 1), (90, "flow", 10), (90, "flow", 50)]
    assert shown_sides(runs, [60, 90]) == at_60 + at_90


@pytest.mark.slow
def test_a_small_race_is_measured_resumed_and_published(tmp_path, monkeypatch):
    import flow
    from flow_figures import publish, sentences

    monkeypatch.setattr(flow, "EULER_STEPS", 10)
    monkeypatch.setattr(flow, "SWEEP", (1, 2))
    threads = torch.get_num_threads()
    jobs = [("flow", 0, [1, 2]), ("default", 0, [1, 2])]
    runs = [flow.run(*job, 80, str(tmp_path / "runs")) for job in jobs]
    for result in runs:
        assert_is_a_run(result)
    assert [row["Euler steps"] for row in runs[0]["rows"]] == [10, 10, 1, 2]
    assert [row["Euler steps"] for row in runs[1]["rows"]] == [1, 1]
    monkeypatch.setattr(flow, "measure", None)  # nothing trains now
    again = [flow.run(*job, 80, str(tmp_path / "runs")) for job in jobs]
    assert again == json.loads(json.dumps(runs))
    torch.set_num_threads(threads)

    publish(runs, [1, 2], ["one trial"], tmp_path / "runs", tmp_path / "out")
    record = json.loads((tmp_path / "out/flow.json").read_text(encoding="utf-8"))
    assert sentences(runs, [1, 2]) in record["alt"]
    assert record["budgets"] == [1, 2] and record["faces"] == 80 and "one seed" in record["caption"]
    assert record["recipes"] == {"1": "default", "2": "default"}
    assert record["tried"] == ["one trial"]
    for name in ("flow", "flow_grids"):
        assert (tmp_path / f"out/{name}.png").stat().st_size > 5000
    grids = json.loads((tmp_path / "out/flow_grids.json").read_text(encoding="utf-8"))
    assert grids["alt"] and grids["caption"]


def test_the_record_has_the_settings_of_today_and_its_table():
    from dataclasses import asdict

    from flow import LONGEST, Flow
    from flow_figures import gan_of, measured, sentences

    record = json.loads((plotting.RECORDED / "flow.json").read_text(encoding="utf-8"))
    runs = record["runs"]
    for result in runs:
        assert_is_a_run(result)
        if result["job"]["name"] == "flow":
            assert result["job"]["settings"] == json.loads(json.dumps(asdict(Flow())))
    assert sentences(runs, record["budgets"]) in record["alt"]
    for budget in record["budgets"]:
        sides = [result["job"] for result in runs if budget in result["job"]["marks"]]
        seeds = {job["seed"] for job in sides if job["name"] == "flow"}
        assert len(seeds) == (1 if budget == LONGEST else 3)
        assert len(measured(runs, gan_of(runs, budget), budget)) == len(seeds)
        assert len(measured(runs, "flow", budget, steps=10)) == len(seeds)
