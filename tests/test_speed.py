"""speed: half precision is compared with the plain step; images on the device are the same."""

import copy

import pytest
import torch
from conftest import flat
from small_runs import DEFAULT, take_steps

from animegan_helpers.dataset import LazyFaces, batches
from animegan_helpers.losses import r1_penalty
from animegan_helpers.speed import (
    PLAIN,
    DeviceFaces,
    HalfPrecision,
    Speed,
    best_speed,
    to_device,
)
from animegan_helpers.trainer import Trainer

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
    assert to_device(faces, "cuda") == ("on", faces, torch.device("cuda"))


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
    part = torch.utils.data.Subset(faces, [1, 2, 3])
    assert to_device(part, "cuda") is part


# ---- the best speed of a device ----


def test_a_cpu_takes_plain_steps():
    assert best_speed("cpu") == PLAIN
    assert PLAIN == Speed(dtype=None, fetch_every=1)


@pytest.mark.parametrize("supported, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_takes_bfloat16_unless_it_only_emulates_it(supported, dtype, monkeypatch):
    questions = []

    def is_bf16_supported(**options):
        questions.append(options)
        return supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert best_speed("cuda") == Speed(dtype, fetch_every=50)
    assert questions == [{"including_emulation": False}]
