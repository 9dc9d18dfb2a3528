"""What a GPU does, on a pretended one: see pretended_gpu.py. Each test is a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

IS_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)  # 2.14 can pretend one
needs_python_backend = pytest.mark.skipif(
    IS_OLD and not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this version of torch can't pretend a GPU",
)
pytestmark = needs_python_backend

START = """
import sys
import pretended_gpu
pretended_gpu.install(capability={capability})
import torch
from animegan_helpers import checkpoints, device, recipes, speed
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import sample
from animegan_helpers.training import train
from animegan_helpers.trainer import Trainer

machine = device.pick()
faces = Faces(sys.argv[1])
run = sys.argv[2]
recipe = recipes.get("default", gpu=True, width=4, z_dim=8, batch=4, size=16)
"""
P100 = (6, 0)
T4 = (7, 5)
H100 = (9, 0)


def on_gpu(code, faces, run, capability=T4):
    """Run code, a function's body or text, beside a pretended GPU -> what it printed."""
    text = START.format(capability=capability) + textwrap.dedent(code)
    folders = [str(Path(__file__).parent), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-W", "ignore::UserWarning", "-c", text, str(faces.folder), str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "capability, dtype, has_scaler",
    [(P100, None, False), (T4, torch.float16, True), (H100, torch.bfloat16, False)],
    ids=["P100", "T4", "H100"],
)
def test_a_run_trains_on_the_gpu_in_the_precision_that_suits_it(
    capability, dtype, has_scaler, faces, tmp_path
):
    code = """
    trainer = train(recipe, faces, run, steps=2, device=machine.device)
    print("dtype", trainer.speed.dtype, "scaler", trainer.scaler is not None)
    print("fetch", trainer.speed.fetch_every, "benchmark", torch.backends.cudnn.benchmark)
    moments = [value for state in trainer.opt_g.state.values() for value in state.values()]
    parts = [*trainer.G.parameters(), *trainer.D.parameters(), *trainer.G_ema.parameters()]
    print({part.device.type for part in [*parts, *moments]}, trainer.opt_g.param_groups[0]["fused"])
    print("faces", sample(trainer.ema_generator(), 2).device)
    """
    printed = on_gpu(code, faces, tmp_path / "run", capability)
    assert f"dtype {dtype} scaler {has_scaler}\n" in printed
    assert "fetch 50 benchmark True\n" in printed
    assert "{'gpu'} True\nfaces cpu\n" in printed
    assert printed.count("self-check, 10 steps") == (dtype is not None)


def test_a_right_answer_on_the_gpu_is_right(faces, tmp_path):
    code = """
    from animegan_helpers import checks
    for answer in (torch.tensor([1.0, 2.0]), torch.tensor([1, 2])):
        checks.exercise(answer.to(machine.device), answer, "think again")
        checks.exercise(answer.to(machine.device), answer.to(machine.device), "think again")
    """
    assert on_gpu(code, faces, tmp_path / "run") == "Right.\n" * 4


def test_half_precision_that_is_slower_is_used_only_if_it_was_chosen(faces, tmp_path):
    code = """
    from animegan_helpers import training
    training.LEAST_SPEEDUP = float("inf")
    for choice in (None, speed.best_speed(machine.device)):
        folder = f"{run}/{choice}"
        trainer = train(recipe, faces, folder, steps=2, device=machine.device, speed=choice)
        print("dtype", trainer.speed.dtype, "scaler", trainer.scaler is not None)
    """
    printed = on_gpu(code, faces, tmp_path)
    verdict = "training in float32: half precision is slower here"
    assert printed.count(verdict) == 1
    assert printed.index(verdict) < printed.index("dtype None scaler False\n")
    assert "dtype torch.float16 scaler True\n" in printed


@pytest.mark.parametrize("capability", [T4, H100], ids=["T4", "H100"])
def test_a_run_moves_between_devices_and_precisions(capability, faces, tmp_path):
    code = """
    for devices in (["gpu", "cpu", "gpu"], ["cpu", "gpu", "cpu"]):
        for steps, where in enumerate(devices, 2):
            folder = f"{run}/{devices[0]}"
            trainer = train(recipe, faces, folder, steps=steps, device=where, resume=steps > 2)
            steps_of_adam = {state["step"].device.type for state in trainer.opt_d.state.values()}
            is_half = trainer.speed.dtype is not None
            assert trainer.steps_done == steps and steps_of_adam == {where}
            print("in half precision:", is_half == (where == "gpu"))
    """
    printed = on_gpu(code, faces, tmp_path, capability)
    assert printed.count("in half precision: True") == 6


def test_a_fault_of_half_precision_is_found_and_the_run_goes_on_in_float32(faces, tmp_path):
    code = """
    import warnings
    right = speed.HalfPrecision.__call__
    speed.HalfPrecision.__call__ = lambda self, x: -right(self, x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = train(recipe, faces, run, steps=2, device=machine.device)
    print("dtype", trainer.speed.dtype, "fetch", trainer.speed.fetch_every)
    print([str(warning.message) for warning in caught if "float32" in str(warning.message)])
    """
    printed = on_gpu(code, faces, tmp_path / "run")
    assert "self-check, 10 steps" in printed and "dtype None fetch 50" in printed
    assert "training in float32: the weights change in another direction" in printed


def test_a_set_on_the_gpu_is_not_read_by_workers(faces, tmp_path):
    code = """
    from animegan_helpers.dataset import batches
    on_gpu = speed.to_device(faces, machine.device)
    assert isinstance(on_gpu, speed.DeviceFaces) and on_gpu[[1, 2]].device.type == "gpu"
    try:
        next(iter(batches(on_gpu, 4, workers=1)))
    except RuntimeError as error:
        print("refused:", "use workers=0" in str(error))
    trainer = train(recipe, faces, run, steps=2, device=machine.device, workers=1)
    print("trained", trainer.steps_done)
    """
    printed = on_gpu(code, faces, tmp_path / "run")
    assert "refused: True" in printed and "trained 2" in printed


MISTAKES = """
torch.ones(2, 3, device=gpu) + torch.ones(2, 3)
torch.nn.Linear(3, 2)(torch.ones(1, 3, device=gpu))
torch.nn.Linear(3, 2).to(gpu)(torch.ones(1, 3))
torch.ones(2, device=gpu).numpy()
torch.randn(2, device=gpu, generator=torch.Generator())
torch.ones(2)[torch.ones(2, device=gpu) > 0]
"""


def test_the_pretended_gpu_refuses_what_a_real_one_refuses(faces, tmp_path):
    code = f"""
    gpu = machine.device
    for mistake in {MISTAKES.strip().splitlines()}:
        try:
            eval(mistake)
        except (RuntimeError, TypeError):
            print("refused")
        else:
            print("computed:", mistake)
    """
    assert on_gpu(code, faces, tmp_path).splitlines() == ["refused"] * 6


def test_the_pretended_gpu_computes_what_the_cpu_computes(faces, tmp_path):
    code = """
    images = faces[:4]
    trainers = [Trainer(recipe, 3, where, speed=speed.PLAIN) for where in ("cpu", machine.device)]
    for trainer in trainers:
        print([f"{number:.5f}" for _ in range(3) for number in trainer.step(images).tolist()])
    """
    on_cpu, on_gpu_too = on_gpu(code, faces, tmp_path).splitlines()
    assert on_cpu == on_gpu_too
