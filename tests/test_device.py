"""device: the machine becomes a device, network sizes and folders."""

import dataclasses

import pytest
import torch

from animegan_helpers import device
from animegan_helpers.images import flip
from animegan_helpers.losses import BCE, diff_augment
from animegan_helpers.rng import rng


def test_the_machine_has_a_device_that_works_and_sizes():
    machine = device.pick()
    assert torch.ones(2, device=machine.device).sum().item() == 2
    assert machine.width >= 1 and machine.batch >= 2
    text = str(machine)
    assert f"width {machine.width}" in text and f"batches of {machine.batch} images" in text


def test_a_machine_is_not_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.pick().width = 1


def test_the_matrix_rate_is_a_rate():
    assert 0.1 < device.matrix_rate() < 1e6


def test_kaggle_is_recognized_although_its_images_also_set_colabs_variable(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert device.where() == "here"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert device.where() == "colab"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert device.where() == "kaggle"


# ---- the data folder ----


def make_project(folder):
    """Make the two folders by which a project is recognized."""
    for name in ("notebooks", "animegan_helpers"):
        (folder / name).mkdir(parents=True)


def test_data_lies_in_the_project_also_for_a_page_in_notebooks(tmp_path, monkeypatch):
    make_project(tmp_path)
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert device.data_folder() == tmp_path / "data"


@pytest.mark.parametrize("place", ["here", "colab", "kaggle"])
def test_another_data_folder_can_be_named(place, tmp_path, monkeypatch):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "where", lambda: place)
    monkeypatch.setenv("ANIMEGAN_DATA_FOLDER", str(tmp_path / "disk"))
    assert device.data_folder() == tmp_path / "disk"
    assert device.run_folders()[0] == tmp_path / "disk" / "runs"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("ANIMEGAN_DATA_FOLDER", "~/disk")
    assert device.data_folder() == tmp_path / "disk"
    monkeypatch.setenv("ANIMEGAN_DATA_FOLDER", "")
    assert device.data_folder() != tmp_path / "disk"


def test_elsewhere_data_lies_in_the_current_folder(home):
    assert device.data_folder() == home / "data"
    assert not (home / "data").exists(), "asking where it would be must not create it"


def test_on_kaggle_data_lies_in_the_output_even_if_the_project_is_an_input(tmp_path, monkeypatch):
    project = tmp_path / "input/datasets/someone/animegan"
    make_project(project)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr(device, "KAGGLE_OUTPUT", tmp_path / "working")
    for folder in (tmp_path, project / "notebooks"):
        monkeypatch.chdir(folder)
        assert device.data_folder() == tmp_path / "working/data"


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A folder in place of Colab's /content; Drive is not mounted."""
    content = tmp_path / "content"
    content.mkdir()
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setattr(device, "COLAB", content)
    monkeypatch.chdir(content)
    return content


def test_on_colab_data_lies_in_content_whatever_the_current_folder(colab, monkeypatch):
    for folder in (colab, colab.parent):
        monkeypatch.chdir(folder)
        assert device.data_folder() == colab / "data"


def test_on_colab_data_of_a_clone_lies_in_the_clone(colab, monkeypatch):
    make_project(colab / "clone")
    monkeypatch.chdir(colab / "clone/notebooks")
    assert device.data_folder() == colab / "clone/data"


def test_the_folders_are_those_of_kaggle_and_colab():
    assert device.KAGGLE_OUTPUT.as_posix() == "/kaggle/working"
    assert device.COLAB.as_posix() == "/content"


# ---- runs on Drive ----


def start_run(runs, name, history="step 1"):
    (runs / name).mkdir(parents=True)
    (runs / name / "history.jsonl").write_text(history)


def read_history(run):
    return (run / "history.jsonl").read_text()


def test_without_drive_runs_stay_in_the_session_and_the_message_says_so(colab):
    assert "end with this session" in device.keep_runs()
    assert list(colab.iterdir()) == []


def test_with_drive_a_run_outlives_the_session(colab):
    (colab / "drive/MyDrive").mkdir(parents=True)
    assert "kept on Drive" in device.keep_runs()
    start_run(device.data_folder() / "runs", "mine")
    (colab / "data/runs").unlink()  # the session ends: only Drive is left
    assert "kept on Drive" in device.keep_runs()
    assert read_history(device.data_folder() / "runs/mine") == "step 1"
    assert "kept on Drive" in device.keep_runs(), "a second call changes nothing"
    assert (colab / "drive/MyDrive/animegan/runs/mine/history.jsonl").exists()


def test_runs_made_before_drive_was_mounted_move_there_and_overwrite_nothing(colab):
    runs = colab / "data/runs"
    kept = colab / "drive/MyDrive/animegan/runs"
    start_run(runs, "early", "early")
    start_run(runs, "twice", "of this session")
    start_run(kept, "twice", "of last week")
    assert "Not on Drive: twice." in device.keep_runs()
    assert read_history(kept / "early") == "early"
    assert read_history(kept / "twice") == "of last week"
    assert read_history(runs / "twice") == "of this session"
    (runs / "twice").rename(runs / "again")
    assert "kept on Drive" in device.keep_runs()
    assert sorted(run.name for run in runs.iterdir()) == ["again", "early", "twice"]


def test_the_choice_of_data_moves_to_drive_and_the_newer_one_stays(colab):
    kept = colab / "drive/MyDrive/animegan/runs"
    kept.mkdir(parents=True)
    (kept / "chosen.txt").write_text("drawn")
    (colab / "data/runs").mkdir(parents=True)
    (colab / "data/runs/chosen.txt").write_text("anime-faces")
    assert "kept on Drive" in device.keep_runs()
    assert (colab / "data/runs/chosen.txt").read_text() == "anime-faces"
    assert [path.name for path in kept.iterdir()] == ["chosen.txt"]


def test_a_drive_that_is_gone_leaves_no_dead_link(colab):
    drive = colab / "drive"
    (drive / "MyDrive").mkdir(parents=True)
    device.keep_runs()
    drive.rename(colab / "unmounted")
    assert "end with this session" in device.keep_runs()
    start_run(device.data_folder() / "runs", "mine")


# ---- a GPU that is there and can't compute ----


def no_kernel(*arguments, **options):
    message = "CUDA error: no kernel image is available for execution on the device"
    raise RuntimeError(f"{message}\nCUDA kernel errors might be reported later.")


def no_cuda(*arguments, **options):
    raise AssertionError("Torch not compiled with CUDA enabled")


def no_cudnn(*arguments, **options):
    raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED")


@pytest.mark.parametrize("gpu", ["cuda", "mps"])
@pytest.mark.parametrize(
    "fault, reason",
    [
        (no_kernel, "no kernel image is available for execution on the device"),
        (no_cuda, "Torch not compiled with CUDA enabled"),
        (no_cudnn, "CUDNN_STATUS_NOT_INITIALIZED"),
    ],
)
def test_a_gpu_that_cannot_compute_is_not_picked(gpu, fault, reason, monkeypatch):
    """As a P100, for which current versions of torch have no kernels."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100-PCIE-16GB")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: gpu == "mps")
    monkeypatch.setattr(torch.nn.functional, "conv2d", fault)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *sizes, device=None, **more: ones(*sizes, **more))
    with pytest.warns(UserWarning, match=f"the GPU can't be used, so the CPU is used: .*{reason}"):
        machine = device.pick()
    assert machine.device.type == "cpu"
    assert f"(the GPU can't be used: {'CUDA error: ' if fault == no_kernel else ''}" in str(machine)
    assert "\n" not in str(machine)


@pytest.mark.parametrize("count, text", [(1, "CPU with 1 thread"), (2, "CPU with 2 threads")])
def test_the_name_of_a_cpu_counts_its_threads(count, text, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert device.pick().name == text


def test_a_gpu_that_computes_is_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *sizes, device=None, **more: ones(*sizes, **more))
    assert device.pick().device.type == "cuda"


# ---- the CPUs of this process ----


def test_the_cpus_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert device.cpu_count() == 3
    monkeypatch.delattr(device.os, "sched_getaffinity")
    monkeypatch.setattr(device.os, "cpu_count", lambda: 8)
    assert device.cpu_count() == 8
    monkeypatch.setattr(device.os, "cpu_count", lambda: None)
    assert device.cpu_count() == 1


# ---- what is copied to a device ----


class Recorder:
    """Stands for a tensor: keeps how it was copied."""

    def to(self, device, non_blocking):
        self.copied = (device, non_blocking)
        return self


@pytest.mark.parametrize(
    "where, waits", [("cuda", False), ("cuda:1", False), ("mps", True), ("cpu", True)]
)
def test_only_a_copy_to_cuda_does_not_wait(where, waits):
    for place in (where, torch.device(where)):
        assert device.move(Recorder(), place).copied == (place, not waits)
        assert device.is_cuda(place) is not waits


def test_what_a_step_draws_is_copied_without_waiting(monkeypatch):
    """Flips, labels and DiffAugment draw on the CPU: a copy that waits would stop a GPU's queue."""
    copies = []
    real_to = torch.Tensor.to

    def to(tensor, *args, **options):
        copies.append(options.get("non_blocking"))
        return real_to(tensor, *args, **options)

    monkeypatch.setattr(device, "is_cuda", lambda place: True)
    monkeypatch.setattr(torch.Tensor, "to", to)
    flip(torch.zeros(4, 8, 8, 3), rng(0))
    BCE((0.8, 1.0), (0.0, 0.2)).d_loss(torch.zeros(4), torch.zeros(4), rng(0))
    diff_augment(torch.zeros(4, 3, 8, 8), rng(0))
    to_devices = [copy for copy in copies if copy is not None]  # the others change the dtype
    assert to_devices == [True] * 6


def test_each_process_of_torchrun_picks_its_own_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "T4")
    monkeypatch.setattr(device, "_try_convolution", lambda place: None)
    assert device.pick().device == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.pick().device == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]


def test_a_process_of_several_whose_gpu_fails_does_not_take_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(device, "_try_convolution", no_kernel)
    with pytest.raises(RuntimeError):
        device.pick()
