"""speed: half precision is compared with the plain step; images on the device are the same."""

import copy
import time

import pytest
import torch
from common import flat
from small_runs import DEFAULT, take_steps

from animegan_helpers import drawn, recipes
from animegan_helpers.dataset import LazyFaces, batches
from animegan_helpers.images import stack
from animegan_helpers.losses import r1_penalty
from animegan_helpers.speed import (
    PLAIN,
    DeviceFaces,
    HalfPrecision,
    Speed,
    best_speed,
    load_optimizer,
    memory_format,
    self_check,
    to_device,
)
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train

BFLOAT16 = torch.bfloat16
half_precision = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


# ---- half precision, compared with the plain step ----


@half_precision
def test_half_precision_stays_near_the_plain_step(dtype, faces):
    plain = Trainer(DEFAULT, seed=3, speed=PLAIN)
    half = Trainer(DEFAULT, seed=3, speed=Speed(dtype=dtype))
    (plain_numbers,) = take_steps(plain, faces, 1)
    (half_numbers,) = take_steps(half, faces, 1)
    for half_number, plain_number in zip(half_numbers, plain_numbers, strict=True):
        assert half_number == pytest.approx(plain_number, abs=0.02)
        assert half_number != plain_number
    same_sign = []
    for weight, plain_weight in zip(half.G.parameters(), plain.G.parameters(), strict=True):
        assert weight.dtype == torch.float32
        same_sign.append((weight.grad.sign() == plain_weight.grad.sign()).flatten())
    assert torch.cat(same_sign).double().mean() > 0.95


def test_float16_scales_the_loss_and_a_step_that_overflows_is_skipped(faces):
    trainer = Trainer(DEFAULT, seed=3, speed=Speed(dtype=torch.float16))
    take_steps(trainer, faces, 1)
    before = flat(copy.deepcopy(trainer.D.state_dict()))
    huge = 2.0**60
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": huge})
    take_steps(trainer, faces, 1)
    assert flat(trainer.D.state_dict()) == before
    assert trainer.scaler.get_scale() < huge


def test_the_scaler_is_part_of_a_runs_state(faces):
    speed = Speed(dtype=torch.float16)
    trainer = Trainer(DEFAULT, seed=3, speed=speed)
    take_steps(trainer, faces, 1)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 8.0})
    other = Trainer(DEFAULT, seed=3, speed=speed)
    other.load_state(trainer.state())
    assert other.scaler.get_scale() == 8.0


@pytest.mark.parametrize("dtypes", [(None, torch.float16), (torch.float16, None)])
def test_a_state_moves_between_trainers_with_and_without_a_scaler(dtypes, faces):
    first, second = (Trainer(DEFAULT, seed=3, speed=Speed(dtype)) for dtype in dtypes)
    take_steps(first, faces, 2)
    second.load_state(first.state())
    assert flat(second.opt_d.state_dict()["state"]) == flat(first.opt_d.state_dict()["state"])
    take_steps(second, faces, 1)
    assert second.steps_done == 3


def test_the_first_steps_of_a_new_scaler_are_not_skipped(faces):
    trainer = Trainer(DEFAULT, seed=3, speed=Speed(torch.float16))
    take_steps(trainer, faces, 2)
    assert trainer.scaler.get_scale() == 2**10
    assert {state["step"].item() for state in trainer.opt_d.state.values()} == {2}


def test_only_float16_needs_a_scaler():
    assert Trainer(DEFAULT, speed=PLAIN).scaler is None
    assert Trainer(DEFAULT, speed=Speed(dtype=torch.bfloat16)).scaler is None
    assert Trainer(DEFAULT, speed=Speed(dtype=torch.float16)).scaler is not None


def test_r1_calls_the_network_itself_in_float32():
    dtypes = []
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    network.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    half = HalfPrecision(network, torch.bfloat16)
    images = torch.randn(2, 3, 2, 2)
    assert half(images).dtype == torch.float32
    r1_penalty(half, images).backward()
    assert dtypes == [torch.bfloat16, torch.float32]


def test_a_network_in_half_precision_can_be_frozen():
    network = torch.nn.Linear(2, 1)
    half = HalfPrecision(network, torch.bfloat16)
    half.requires_grad_(False)
    assert not any(weight.requires_grad for weight in network.parameters())
    half.requires_grad_(True)
    assert all(weight.requires_grad for weight in network.parameters())


# ---- the set on the device ----


def test_a_set_on_the_device_gives_the_same_batches(faces):
    on_device = DeviceFaces(faces, "cpu")
    assert len(on_device) == len(faces)
    order = iter(batches(faces, 4, seed=1))
    other_order = iter(batches(on_device, 4, seed=1))
    for _ in range(6):
        assert torch.equal(next(order), next(other_order))
    for rows in (3, slice(2, 9, 3), [4, 1], torch.tensor([4, 1])):
        assert torch.equal(on_device[rows], faces[rows])


@pytest.fixture
def on_device(monkeypatch):
    """In place of a set on the device: what it was made of."""
    monkeypatch.setattr(
        "animegan_helpers.speed.DeviceFaces", lambda faces, device: ("on", faces, device)
    )


@pytest.fixture
def set_free_memory(monkeypatch):
    """-> a function that chooses how many bytes of the GPU's memory are free."""

    def set_free_memory(free):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))

    return set_free_memory


def test_a_set_goes_to_a_gpu_with_twice_the_memory_free(faces, on_device, set_free_memory):
    set_free_memory(2 * faces.array.nbytes)
    assert to_device(faces, "cuda") == ("on", faces, "cuda")
    part = to_device(torch.utils.data.Subset(faces, [1, 2]), "cuda")
    assert part.dataset == ("on", faces, "cuda") and part.indices == [1, 2]


def test_a_set_stays_where_a_gpu_has_not_enough_memory(faces, on_device, set_free_memory):
    set_free_memory(2 * faces.array.nbytes - 2)
    assert to_device(faces, "cuda") is faces


def test_a_set_stays_on_a_cpu_and_a_folder_of_images_stays_where_it_is(
    faces, drawn_folder, on_device, set_free_memory
):
    set_free_memory(10 * faces.array.nbytes)
    assert to_device(faces, "cpu") is faces
    folder = LazyFaces(drawn_folder, 16)
    assert to_device(folder, "cuda") is folder
    part = to_device(torch.utils.data.Subset(faces, [1, 2, 3]), "cpu")
    assert part.dataset is faces


# ---- the best speed of a device ----


def test_a_cpu_takes_plain_steps():
    assert best_speed("cpu") == PLAIN
    assert PLAIN == Speed(dtype=None, fetch_every=1)


@pytest.mark.parametrize(
    "capability, dtype",
    [
        ((5, 2), None),
        ((6, 0), None),  # P100
        ((6, 1), None),  # GTX 10xx
        ((7, 0), torch.float16),  # V100
        ((7, 5), torch.float16),  # T4
        ((8, 0), torch.bfloat16),  # A100
        ((12, 0), torch.bfloat16),
    ],
)
def test_a_gpu_takes_the_precision_of_its_capability(capability, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_speed("cuda") == Speed(dtype, fetch_every=50)
    assert best_speed(torch.device("cuda", 1)) == Speed(dtype, fetch_every=50)


def test_an_apple_gpu_takes_float32_without_channels_last():
    assert best_speed("mps") == Speed(None, fetch_every=50)
    assert memory_format("mps") is torch.contiguous_format
    assert memory_format("cuda") is memory_format("cpu") is torch.channels_last


# ---- the self-check ----


@half_precision
def test_a_self_check_of_right_steps_finds_small_differences(dtype, faces):
    trainers = [Trainer(DEFAULT, 3, speed=settings) for settings in (PLAIN, Speed(dtype))]
    check = self_check(*trainers, faces[:4])
    assert check.problem == ""
    assert 0 < check.gap < 0.02
    assert 0.9 < check.cosine_g < 1 and 0.9 < check.cosine_d < 1
    assert f"at most {check.gap:.4f}" in str(check) and f"D {check.cosine_d:.3f}" in str(check)
    assert f"{check.speedup:.2f} times as fast" in str(check)


def test_a_self_check_measures_the_speedup_without_the_first_step(faces, monkeypatch):
    trainers = [Trainer(DEFAULT, 3, speed=settings) for settings in (PLAIN, Speed(BFLOAT16))]
    now = iter([0.0, 3.0, 10.0, 11.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    assert self_check(*trainers, faces[:4]).speedup == 2


def negated(images):
    """A fault: half precision gives the negative."""
    return -images


def not_finite(images):
    """A fault: half precision overflows."""
    return images * float("inf")


@pytest.mark.parametrize(
    "fault, problem",
    [(negated, "another direction"), (not_finite, "in half precision is not finite")],
)
def test_a_self_check_finds_a_fault_of_half_precision(fault, problem, faces, monkeypatch):
    right = HalfPrecision.__call__
    monkeypatch.setattr(HalfPrecision, "__call__", lambda self, x: fault(right(self, x)))
    fast = Trainer(DEFAULT, 3, speed=Speed(torch.bfloat16))
    check = self_check(Trainer(DEFAULT, 3, speed=PLAIN), fast, faces[:4])
    assert problem in check.problem


def test_a_step_that_the_scaler_skips_is_found(faces):
    fast = Trainer(DEFAULT, 3, speed=Speed(torch.float16))
    fast.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    check = self_check(Trainer(DEFAULT, 3, speed=PLAIN), fast, faces[:4])
    assert "another direction" in check.problem


@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_recipe_passes_although_its_trainings_soon_differ(seed):
    images = stack(drawn.draw(drawn.attributes(0, i), 64) for i in range(8))
    recipe = recipes.get("default", batch=8)
    trainers = [Trainer(recipe, seed, speed=settings) for settings in (PLAIN, Speed(BFLOAT16))]
    check = self_check(*trainers, images)
    assert check.problem == "" and min(check.cosine_g, check.cosine_d) > 0.8


def test_a_self_check_says_when_the_plain_steps_are_not_finite(faces):
    trainers = [Trainer(DEFAULT, 3, speed=settings) for settings in (PLAIN, Speed(torch.bfloat16))]
    for trainer in trainers:
        with torch.no_grad():
            next(trainer.D.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="try a lower learning rate"):
        self_check(*trainers, faces[:4])


def test_an_undisturbed_trainer_does_not_notice_that_it_was_checked(faces, tmp_path):
    whole = train(DEFAULT, faces, tmp_path / "a", steps=3, speed=Speed(torch.bfloat16))
    trainer = Trainer(DEFAULT, speed=Speed(torch.bfloat16))
    take_steps(trainer, faces, 3)
    assert flat(trainer.G.state_dict()) == flat(whole.G.state_dict())


# ---- optimizers that move between devices ----


def test_adams_step_count_goes_where_a_fused_step_needs_it():
    """A run of an Apple GPU, where no step is fused, goes on on CUDA; "meta" stands for CUDA."""
    source = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.5, fused=False)
    source.param_groups[0]["params"][0].grad = torch.ones(2)
    source.step()
    target = torch.optim.Adam([torch.nn.Parameter(torch.ones(2, device="meta"))], lr=0.25)
    target.param_groups[0]["fused"] = True
    load_optimizer(target, source.state_dict())
    (state,) = target.state.values()
    assert state["step"].device.type == state["exp_avg"].device.type == "meta"
    assert target.param_groups[0]["lr"] == 0.25 and target.param_groups[0]["fused"]


def test_moments_lie_in_memory_as_the_weights_do():
    """Weights are contiguous on a Mac, else channels_last; a fused step pairs them by place."""
    torch.manual_seed(0)
    weight, gradient = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    optimizers = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = torch.nn.Parameter(weight.clone(memory_format=layout))
        optimizers.append(torch.optim.Adam([parameter], lr=0.1, fused=True))

    def step(optimizer):
        parameter = optimizer.param_groups[0]["params"][0]
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
        return parameter.detach().clone(memory_format=torch.contiguous_format)

    mac, other = optimizers
    step(mac)
    other.param_groups[0]["params"][0].data.copy_(mac.param_groups[0]["params"][0].data)
    load_optimizer(other, copy.deepcopy(mac.state_dict()))
    gradient = torch.randn(4, 3, 2, 2)
    assert torch.allclose(step(other), step(mac), atol=1e-6)


def test_a_state_is_not_changed_by_loading_it():
    source = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    target = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.25)
    state = source.state_dict()
    load_optimizer(target, state)
    assert state["param_groups"][0]["lr"] == 0.5
