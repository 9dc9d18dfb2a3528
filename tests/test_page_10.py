"""Page 10: its compiled step and its CUDA graph are compared with the plain step.

They need a GPU. Here stand-ins take its place: a compiler's backend that only traces, and a tape for a CUDA graph.
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

from animegan_helpers import fast, preprocess, recipes, training

PAGE = Path(__file__).parent.parent / "notebooks" / "10_make_it_fast.ipynb"
CELLS = ("import functools", "class Compiled:", "class Graphed:", "def graphed_step(")
SMALL = {"width": 4, "z_dim": 8, "batch": 4, "size": 16}
WITH_R1 = recipes.get("default", **SMALL, r1_every=3, lr_fall=0)
WITHOUT_R1 = recipes.get("bce", **SMALL)
STEPS = 14
WARM_UP = 3


def cell(text):
    """-> the source of the page's only code cell that holds the text."""
    notebook = json.loads(PAGE.read_text(encoding="utf-8"))
    sources = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    (source,) = (source for source in sources if text in source)
    return source


@pytest.fixture
def page():
    """-> what the page's cells define, by name."""
    names = {}
    for text in CELLS:
        exec(compile(cell(text), PAGE.name, "exec"), names)
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
            again = operation(*args, **kwargs)
            for old, new in zip(tensors(output), tensors(again)):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    """A CUDA stream that only writes into a log for whom it waits."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def cuda(monkeypatch):
    """torch.cuda's graphs and streams on a CPU. -> `graphs`, those that were made, and `log`, what streams did."""
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


# ---- what both are compared by ----


def played(game, faces, steps=STEPS):
    """-> the history of a game's next steps, and all its weights and Adam states afterwards."""
    batches = iter(preprocess.batches(faces, game.recipe.batch, seed=3))
    history = [game.play(next(batches)) for _ in range(steps)]
    parts = [part.state_dict() for part in (game.G, game.D, game.averaged) if part]
    adams = [opt.state_dict()["state"] for opt in (game.opt_g, game.opt_d)]
    return history, [tensor.clone() for tensor in tensors(parts, adams)]


def assert_same(one, other):
    assert one[0] == other[0]
    assert len(one[1]) == len(other[1])
    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1]))


@pytest.fixture(params=[WITH_R1, WITHOUT_R1], ids=["with R1", "without R1"])
def recipe(request):
    return request.param


# ---- the CUDA graph ----


def test_a_graphed_step_is_the_plain_step_bit_for_bit(page, recipe, faces, cuda):
    plain = training.Game(recipe, seed=3)
    game = training.Game(recipe, seed=3, train_step=page.graphed_step(training.train_step))
    page.use_capturable_adams(game)
    assert_same(played(game, faces), played(plain, faces))
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
    class Dead:
        pass

    collector = []
    dead = Dead()
    dead.itself = dead
    alive = weakref.ref(dead)

    def step(x):
        collector.append((gc.isenabled(), alive() is None))
        return [x * 1]

    graphed = page.Graphed(step)
    gc.collect()
    for _ in range(WARM_UP):
        graphed(torch.ones(1))
    del dead
    graphed(torch.ones(1))
    assert collector[-1] == (False, True)
    assert all(enabled for enabled, _ in collector[:-1])
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


def test_a_graph_refuses_a_learning_rate_that_falls(page):
    with pytest.raises(AssertionError, match="constant"):
        page.use_capturable_adams(training.Game(WITH_R1.changed(lr_fall=500)))


def test_adams_keep_their_step_counts_on_the_device(page):
    game = training.Game(WITHOUT_R1)
    page.use_capturable_adams(game)
    for opt, net in ((game.opt_g, game.G), (game.opt_d, game.D)):
        (group,) = opt.param_groups
        assert group["capturable"] and group["fused"]
        assert all(a is b for a, b in zip(group["params"], net.parameters()))


# ---- torch.compile ----


def test_a_compiled_step_is_the_plain_step_bit_for_bit(page, recipe, faces, traced):
    plain = training.Game(recipe, seed=3)
    game = training.Game(recipe, seed=3, train_step=page.compiled_step)
    assert_same(played(game, faces), played(plain, faces))
    assert traced


def test_both_networks_are_compiled_and_only_once(page, faces, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net: compiled.append(net) or net)
    game = training.Game(WITH_R1, seed=3, train_step=page.compiled_step)
    played(game, faces, steps=3)
    assert compiled == game.fast_nets


def test_r1_asks_the_plain_network_in_float32(page, monkeypatch):
    compiled = []
    dtypes = []
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    net.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))

    def stand_in(function):
        def call(x):
            compiled.append(x)
            return function(x)

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    D = page.Compiled(fast.Fast(net, fast.Speed(torch.bfloat16)))
    real = torch.randn(2, 3, 2, 2)
    D(real)
    assert len(compiled) == 1
    training.r1_penalty(D, real).backward()
    assert len(compiled) == 1
    assert dtypes == [torch.bfloat16, torch.float32]


# ---- the ladder ----


@pytest.mark.parametrize(
    "dtype, triton, rungs",
    [
        (torch.bfloat16, True, ["float32", "half precision", "compiled", "CUDA graph"]),
        (torch.bfloat16, False, ["float32", "half precision", "CUDA graph"]),
        (torch.float16, True, ["float32", "half precision", "compiled"]),
    ],
    ids=["all", "no Triton", "no bfloat16"],
)
def test_a_gpu_climbs_the_rungs_it_can(dtype, triton, rungs, page, faces, cuda, traced, monkeypatch, capsys):
    new_game = training.Game
    monkeypatch.setattr(training, "Game", lambda recipe, device, **how: new_game(recipe, **how))
    monkeypatch.setattr(fast, "best", lambda device: fast.Speed(dtype, fetch=50))
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: triton or None)
    gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    page.names |= {"machine": gpu, "width": 4, "batch": 4}
    exec(cell("ladder = {"), page.names)
    ladder = page.names["ladder"]
    assert list(ladder) == rungs
    assert capsys.readouterr().out.count("not run") == 4 - len(rungs)
    batch = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    for game in ladder.values():
        for _ in range(WARM_UP + 2):
            game.advance(batch)
    assert sum(graph.replays for graph in cuda.graphs) == (2 if "CUDA graph" in rungs else 0)
