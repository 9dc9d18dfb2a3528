"""Page 10: its compiled step and its CUDA graph are compared with the plain step.

They need a GPU. Here stand-ins take its place: a compiler's backend that only traces, and a tape
that records and replays operations as a CUDA graph does.
"""

import functools
import gc
import json
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from animegan_helpers import recipes, speed
from animegan_helpers.dataset import batches
from animegan_helpers.losses import r1_penalty
from animegan_helpers.trainer import Trainer, train_step

PAGE = Path(__file__).parent.parent / "notebooks" / "10_make_it_fast.ipynb"
CELLS = ("import functools", "class Compiled:", "class Graphed:", "def graphed_step(")
SMALL = {"width": 4, "z_dim": 8, "batch": 4, "size": 16}
WITH_R1 = recipes.get("default", **SMALL, r1_every=3, lr_decay_start=0)
WITHOUT_R1 = recipes.get("bce", **SMALL)
STEPS = 14
WARM_UP = 3


def source_of_cell(text):
    """-> the source of the page's only code cell that holds the text."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (source,) = [source for source in sources if text in source]
    return source


@pytest.fixture
def page():
    """-> what the page's cells define, by name."""
    names = {}
    for text in CELLS:
        exec(compile(source_of_cell(text), PAGE.name, "exec"), names)
    return SimpleNamespace(**names, names=names)


# ---- stand-ins for a GPU's parts ----


def tensors(*trees):
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, torch.Tensor)]


class Tape(TorchDispatchMode):
    """Records operations, and runs them again on the same memory, as a CUDA graph does.

    A GPU doesn't run what it records. A CPU has to, so `undo` puts every tensor back as it was.
    """

    def __init__(self):
        super().__init__()
        self.operations = []
        self.before = {}
        self.replays = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in tensors(args, kwargs):
            self.before.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        output = operation(*args, **kwargs)
        if operation.namespace != "profiler":
            self.operations.append((operation, args, kwargs, output))
        return output

    @torch.no_grad()
    def undo(self):
        for tensor, value in self.before.values():
            tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for operation, args, kwargs, output in self.operations:
            new_output = operation(*args, **kwargs)
            for old, new in zip(tensors(output), tensors(new_output)):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    """A CUDA stream that only logs which stream it waits for."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def cuda(monkeypatch):
    """torch.cuda's graphs and streams on a CPU.

    -> `graphs`, those that were created, and `log`, what streams did.
    """
    graphs = []
    log = []
    streams = [Stream("main", log)]

    def new_graph():
        graphs.append(Tape())
        return graphs[-1]

    @contextmanager
    def recording(tape):
        with tape:
            yield
        tape.undo()

    @contextmanager
    def on(stream):
        streams.append(stream)
        log.append(f"on {stream.name}")
        yield
        streams.pop()
        log.append(f"on {streams[-1].name}")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: Stream("side", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[-1])
    return SimpleNamespace(graphs=graphs, log=log)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile with a backend that only traces. -> the graphs that it traced."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return graphs


@pytest.fixture
def compiled(monkeypatch):
    """torch.compile that changes nothing. -> the networks that it was called with."""
    networks = []

    def stand_in(network):
        networks.append(network)
        return network

    monkeypatch.setattr(torch, "compile", stand_in)
    return networks


# ---- what both are compared by ----


def train(trainer, faces, steps=STEPS):
    """-> the numbers of a trainer's next steps, and all its weights and Adam states after them."""
    loader = iter(batches(faces, trainer.recipe.batch, seed=3))
    numbers = [trainer.step(next(loader)).tolist() for _ in range(steps)]
    networks = [trainer.G, trainer.D, trainer.G_ema]
    weights = [network.state_dict() for network in networks if network is not None]
    adams = [optimizer.state_dict()["state"] for optimizer in (trainer.opt_g, trainer.opt_d)]
    return numbers, [tensor.clone() for tensor in tensors(weights, adams)]


def assert_equal_training(one, other):
    numbers, state = one
    other_numbers, other_state = other
    assert numbers == other_numbers
    assert len(state) == len(other_state)
    assert all(torch.equal(a, b) for a, b in zip(state, other_state))


@pytest.fixture(params=[WITH_R1, WITHOUT_R1], ids=["with R1", "without R1"])
def recipe(request):
    return request.param


# ---- the CUDA graph ----


def test_a_graphed_step_is_the_plain_step_bit_for_bit(page, recipe, faces, cuda):
    plain = Trainer(recipe, seed=3)
    graphed = Trainer(recipe, seed=3, train_step=page.graphed_step(train_step))
    page.use_capturable_adams(graphed)
    assert_equal_training(train(graphed, faces), train(plain, faces))
    kinds = 2 if recipe.r1 else 1
    assert len(cuda.graphs) == kinds
    assert sum(graph.replays for graph in cuda.graphs) == STEPS - WARM_UP * kinds


def test_outputs_are_not_overwritten_by_later_replays_nor_inputs_by_later_calls(page, cuda):
    total = torch.zeros(())

    def add(x):
        total.add_(x.sum())
        return [total * 1]

    graphed = page.Graphed(add)
    inputs = [torch.tensor([float(i)]) for i in range(7)]
    outputs = [graphed(x) for x in inputs]
    assert [output.item() for (output,) in outputs] == [0, 1, 3, 6, 10, 15, 21]
    assert [x.item() for x in inputs] == list(range(7))


def test_ordinary_calls_run_on_a_side_stream_and_each_stream_waits_for_the_other(page, cuda):
    def step(x):
        cuda.log.append("step")
        return [x * 1]

    graphed = page.Graphed(step)
    ordinary = ["side waits for main", "on side", "step", "on main", "main waits for side"]
    for _ in range(WARM_UP):
        cuda.log.clear()
        graphed(torch.ones(1))
        assert cuda.log == ordinary
    cuda.log.clear()
    graphed(torch.ones(1))
    graphed(torch.ones(1))
    assert cuda.log == ["step"], "recorded once, then replayed"


def test_garbage_is_collected_before_a_recording_and_not_during_it(page, cuda):
    class Garbage:
        pass

    states = []
    garbage = Garbage()
    garbage.itself = garbage
    reference = weakref.ref(garbage)

    def step(x):
        states.append((gc.isenabled(), reference() is None))
        return [x * 1]

    graphed = page.Graphed(step)
    gc.collect()
    for _ in range(WARM_UP):
        graphed(torch.ones(1))
    del garbage
    graphed(torch.ones(1))
    assert states[-1] == (False, True)
    assert all(enabled for enabled, _ in states[:-1])
    assert gc.isenabled()


def test_the_collector_comes_back_after_a_recording_that_fails(page, cuda):
    def step(x):
        if not gc.isenabled():
            raise RuntimeError("operation not permitted when stream is capturing")
        return [x * 1]

    graphed = page.Graphed(step)
    for _ in range(WARM_UP):
        graphed(torch.ones(1))
    with pytest.raises(RuntimeError, match="capturing"):
        graphed(torch.ones(1))
    assert gc.isenabled()


def test_a_graph_refuses_a_learning_rate_that_decays(page):
    with pytest.raises(AssertionError, match="without decay"):
        page.use_capturable_adams(Trainer(WITH_R1.changed(lr_decay_start=500)))


def test_adams_keep_their_step_counts_on_the_device(page):
    trainer = Trainer(WITHOUT_R1)
    page.use_capturable_adams(trainer)
    for optimizer, network in ((trainer.opt_g, trainer.G), (trainer.opt_d, trainer.D)):
        (group,) = optimizer.param_groups
        assert group["capturable"] and group["fused"]
        assert all(a is b for a, b in zip(group["params"], network.parameters()))


# ---- torch.compile ----


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_compiled_step_is_the_plain_step_bit_for_bit(page, recipe, dtype, faces, traced):
    options = {"seed": 3, "speed": speed.Speed(dtype)}
    plain = Trainer(recipe, **options)
    trainer = Trainer(recipe, **options, train_step=page.compiled_step(train_step))
    assert_equal_training(train(trainer, faces), train(plain, faces))
    assert traced


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_both_networks_are_compiled_and_only_once(page, dtype, faces, compiled):
    step = page.compiled_step(train_step)
    trainer = Trainer(WITH_R1, seed=3, speed=speed.Speed(dtype), train_step=step)
    train(trainer, faces, steps=3)
    if dtype is not None:
        compiled = [half_precision.network for half_precision in compiled]
    assert compiled == [trainer.G, trainer.D]


def test_r1_asks_the_plain_network_in_float32(page, monkeypatch):
    calls = []
    dtypes = []
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    network.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))

    def stand_in(function):
        def call(x):
            calls.append(x)
            return function(x)

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    D = page.Compiled(speed.HalfPrecision(network, torch.bfloat16))
    real = torch.randn(2, 3, 2, 2)
    D(real)
    assert len(calls) == 1
    r1_penalty(D, real).backward()
    assert len(calls) == 1
    assert dtypes == [torch.bfloat16, torch.float32]


def test_freezing_a_compiled_network_freezes_its_weights(page):
    network = torch.nn.Linear(2, 1)
    D = page.Compiled(speed.HalfPrecision(network, torch.bfloat16))
    for requires_grad in (False, True):
        D.requires_grad_(requires_grad)
        assert all(weight.requires_grad == requires_grad for weight in network.parameters())


# ---- the ladder ----


@pytest.mark.parametrize(
    "dtype, triton, rungs",
    [
        (torch.bfloat16, True, ["float32", "half precision", "CUDA graph", "compiled"]),
        (torch.bfloat16, False, ["float32", "half precision", "CUDA graph"]),
        (torch.float16, True, ["float32", "half precision", "compiled"]),
    ],
    ids=["all", "no Triton", "no bfloat16"],
)
def test_a_gpu_climbs_the_rungs_it_can(
    dtype, triton, rungs, page, cuda, traced, monkeypatch, capsys
):
    def trainer_on_cpu(recipe, device, **options):
        return Trainer(recipe, **options)

    gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    page.names |= {"machine": gpu, "width": 4, "batch": 4, "Trainer": trainer_on_cpu}
    best_speed = speed.Speed(dtype, fetch_every=50)
    monkeypatch.setattr(speed, "best_speed", lambda device: best_speed)
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: triton or None)
    exec(source_of_cell("ladder = {"), page.names)
    ladder = page.names["ladder"]
    assert list(ladder) == rungs
    assert capsys.readouterr().out.count("not run") == 4 - len(rungs)
    images = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    for rung, trainer in ladder.items():
        initial = trainer.G.net[0].weight.clone()
        for _ in range(WARM_UP + 2):
            trainer.step(images)
        assert not torch.equal(trainer.G.net[0].weight, initial), f"{rung} trains other networks"
    if "CUDA graph" in rungs:
        assert ladder["CUDA graph"].opt_d.param_groups[0]["capturable"]
        assert [graph.replays for graph in cuda.graphs] == [2]
    else:
        assert not cuda.graphs


class FailingTrainer:
    """Its steps fail, as a compiled one may."""

    def step(self, images):
        raise AssertionError("expected stride 1, not 64")


@pytest.mark.parametrize("name", ["compiled", "CUDA graph"])
def test_only_a_failing_compiler_does_not_stop_the_ladder(name, page, monkeypatch, capsys):
    cpu = SimpleNamespace(device=torch.device("cpu"))
    working = Trainer(WITHOUT_R1)
    page.names |= {
        "machine": cpu,
        "batch": 4,
        "faces": torch.zeros(4, 16, 16, 3, dtype=torch.uint8),
        "speed": SimpleNamespace(to_device=lambda faces, device: faces),
        "ladder": {name: FailingTrainer(), "float32": working},
        "stopwatch": lambda rounds, **functions: dict.fromkeys(functions, 1000.0),
        "step_flop": lambda width: 1,
        "width": 4,
        "rate": 4,
        "trainer_rate": 4,
    }
    cell = source_of_cell("for name, trainer in ladder.items()")
    if name == "compiled":
        exec(cell, page.names)
        printed = capsys.readouterr().out
        assert "compiled                failed here: AssertionError" in printed
        assert "float32" in printed and "100% of the limit" in printed
        assert working.steps_done == 5
    else:
        with pytest.raises(AssertionError, match="stride"):
            exec(cell, page.names)
