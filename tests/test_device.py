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


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A stand-in for Colab's /content, in a folder; Drive is not mounted."""
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setattr(device, "COLAB", tmp_path / "content")
    (tmp_path / "content").mkdir()
    monkeypatch.chdir(tmp_path / "content")
    return tmp_path / "content"


def begin(runs, name, told="step 1"):
    (runs / name).mkdir(parents=True)
    (runs / name / "history.jsonl").write_text(told)


def test_on_kaggle_data_lies_in_the_output_even_if_the_project_itself_is_an_input(tmp_path, monkeypatch):
    project = tmp_path / "input/datasets/someone/animegan"
    for folder in ("notebooks", "animegan_helpers"):
        (project / folder).mkdir(parents=True)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr(device, "KAGGLE_OUTPUT", tmp_path / "working")
    for place in (tmp_path, project / "notebooks"):
        monkeypatch.chdir(place)
        assert device.data_folder() == tmp_path / "working/data"


def test_on_colab_data_lies_in_content_from_every_folder_and_in_a_clone_in_the_clone(colab, monkeypatch):
    for place in (colab, colab.parent):
        monkeypatch.chdir(place)
        assert device.data_folder() == colab / "data"
    for folder in ("clone/notebooks", "clone/animegan_helpers"):
        (colab / folder).mkdir(parents=True)
    monkeypatch.chdir(colab / "clone/notebooks")
    assert device.data_folder() == colab / "clone/data"


def test_the_real_places_are_those_of_kaggle_and_colab():
    assert (device.KAGGLE_OUTPUT.as_posix(), device.COLAB.as_posix()) == ("/kaggle/working", "/content")


def test_without_drive_runs_stay_in_the_session_and_that_is_said(colab):
    assert "end with this session" in device.keep_runs()
    assert list(colab.iterdir()) == []


def test_with_drive_a_run_outlives_the_session(colab):
    (colab / "drive/MyDrive").mkdir(parents=True)
    assert "kept on Drive" in device.keep_runs()
    begin(device.data_folder() / "runs", "mine")
    (colab / "data/runs").unlink()  # the session ends: only Drive is left
    assert "kept on Drive" in device.keep_runs()
    assert (device.data_folder() / "runs/mine/history.jsonl").read_text() == "step 1"
    assert "kept on Drive" in device.keep_runs(), "a second time changes nothing"
    assert (colab / "drive/MyDrive/animegan/runs/mine/history.jsonl").exists()


def test_runs_made_before_drive_was_mounted_move_there_and_overwrite_nothing(colab):
    runs, kept = colab / "data/runs", colab / "drive/MyDrive/animegan/runs"
    begin(runs, "early", "early")
    begin(runs, "twice", "of this session")
    begin(kept, "twice", "of last week")
    told = device.keep_runs()
    assert "Not on Drive: twice." in told
    assert (kept / "early/history.jsonl").read_text() == "early"
    assert (kept / "twice/history.jsonl").read_text() == "of last week"
    assert (runs / "twice/history.jsonl").read_text() == "of this session"
    (runs / "twice").rename(runs / "again")
    assert "kept on Drive" in device.keep_runs()
    assert sorted(run.name for run in runs.iterdir()) == ["again", "early", "twice"]


def test_a_drive_that_is_gone_leaves_no_dead_link(colab):
    drive = colab / "drive"
    (drive / "MyDrive").mkdir(parents=True)
    device.keep_runs()
    drive.rename(colab / "unmounted")
    assert "end with this session" in device.keep_runs()
    begin(device.data_folder() / "runs", "mine")


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
