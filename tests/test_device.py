"""device: the machine becomes a device, sizes and seeds."""

import dataclasses

import pytest
import torch

from animegan_helpers import device


def draw(*seed):
    return torch.randn(4, generator=device.generator(*seed)).tolist()


def test_the_machine_has_a_device_that_works_and_sizes():
    machine = device.pick()
    assert torch.ones(2, device=machine.device).sum().item() == 2
    assert machine.width >= 1 and machine.batch >= 2
    assert f"width {machine.width}" in str(machine) and f"batches of {machine.batch}" in str(machine)


def test_a_machine_is_not_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.pick().width = 1


def test_kaggle_is_told_from_colab_although_its_images_carry_colabs_marks(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert device.where() == "here"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert device.where() == "colab"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert device.where() == "kaggle"


def test_data_lies_in_the_project_also_for_a_page_in_notebooks(tmp_path, monkeypatch):
    for folder in ("notebooks", "animegan_helpers"):
        (tmp_path / folder).mkdir()
    for place in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(place)
        assert device.data_folder() == tmp_path / "data"


def test_elsewhere_data_lies_in_the_current_folder(home):
    assert device.data_folder() == home / "data"
    assert not (home / "data").exists(), "asking where it would be must not make it"


def test_the_same_seed_draws_the_same_numbers_and_disturbs_nobody():
    before = torch.get_rng_state()
    assert draw(3, 1) == draw(3, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("one, other", [((3,), (4,)), ((3, 1), (1, 3)), ((3, 1), (3, 2)), ((3, 1), (3, 1, 7))])
def test_other_seeds_draw_other_numbers(one, other):
    assert draw(*one) != draw(*other)


@pytest.mark.parametrize("one, other", [((3,), (3, 0)), ((3, 2), (3, 2, 0)), ((2**32,), (0, 1))])
def test_a_step_0_and_a_large_seed_are_numbers_too(one, other):
    assert draw(*one) != draw(*other)


def test_the_matrix_rate_is_a_rate():
    assert 0.1 < device.matrix_rate() < 1e6
