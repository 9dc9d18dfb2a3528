"""The promises of docs/promises.md, by number: each must hold after a fault is injected."""

import builtins
import hashlib
import io
import json
import math
import os
import pickle
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from common import flat
from jupyter_client.manager import KernelManager
from small_runs import DEFAULT

from animegan_helpers import checkpoints, recipe_json, widgets
from animegan_helpers.__main__ import main
from animegan_helpers.dataset import Faces
from animegan_helpers.images import to_tensor
from animegan_helpers.run_writer import Run
from animegan_helpers.runs import load_generator
from animegan_helpers.training import train

STEPS_PER_EPOCH = 4  # the set of the `faces` fixture has 16 images
SMALL = ("--width", "4", "--z-dim", "8", "--batch", "4", "--size", "16")  # as in DEFAULT


def train_small(faces, run, steps, **options):
    return train(DEFAULT, faces, run, steps=steps, seed=3, **options)


def fingerprint(run):
    """A run's folder -> SHA-256 of all its results but the time: state, networks, history."""
    state = checkpoints.newest(run) | {"seconds": None}
    networks = [checkpoints.load(run / name) for name in ("G.pth", "D.pth")]
    history = (run / "history.jsonl").read_bytes()
    return hashlib.sha256(repr((flat([state, networks]), history)).encode()).hexdigest()


def saved_steps(run):
    """-> the steps whose checkpoints have their final names."""
    return sorted(int(path.stem[5:]) for path in (Path(run) / "checkpoints").glob("step_*.pt"))


def hidden_files(run):
    return [path.name for path in run.rglob(".*")]


def environment():
    path = [str(Path(__file__).parent), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def save_each_epoch(patch):
    """Runs are saved after each epoch, not after 30 s: a test's run would be over by then."""
    patch.setattr(Run, "save_due", lambda run, trainer: trainer.steps_done % STEPS_PER_EPOCH == 0)


@pytest.fixture(autouse=True)
def saved_each_epoch(monkeypatch):
    save_each_epoch(monkeypatch)


def run_process(*words, **options):
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), **options)


def run_command(*words, before=(), **options):
    """`python -m animegan_helpers ...` in a new process."""
    return run_process(*before, sys.executable, "-m", "animegan_helpers", *words, **options)


def call_in_new_process(function, *arguments):
    """A function of this file, called in a new process -> what it returns."""
    call = f"test_promises.{function.__name__}(*{arguments!r})"
    code = "import json, pytest, test_promises; test_promises.save_each_epoch(pytest.MonkeyPatch())"
    code += f"; print(json.dumps({call}))"
    result = run_process(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


class UncutFingerprints:
    """A number of steps -> the fingerprint of a run that nothing happened to, trained once."""

    def __init__(self, faces, tmp_path_factory):
        self.faces = faces
        self.tmp_path_factory = tmp_path_factory
        self.fingerprints = {}

    def __call__(self, steps):
        if steps not in self.fingerprints:
            run = self.tmp_path_factory.mktemp("uncut")
            train_small(self.faces, run, steps)
            self.fingerprints[steps] = fingerprint(run)
        return self.fingerprints[steps]


@pytest.fixture(scope="module")
def uncut(faces, tmp_path_factory):
    return UncutFingerprints(faces, tmp_path_factory)


# ---- 1: a run cut at any step and resumed ends bit for bit like the uncut one ----


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_cut_at_any_step_ends_bit_for_bit_like_the_uncut_one(workers, faces, uncut, tmp_path):
    for cut in range(1, 20):
        run = tmp_path / str(cut)
        train_small(faces, run, cut, workers=workers)
        assert saved_steps(run)[-1] == cut
        train_small(faces, run, 20, workers=workers, resume=True)
        assert fingerprint(run) == uncut(20), f"cut at step {cut}"


# ---- 2: kill -9 loses only the work since the last save ----

LAST = 18  # the step at which the runs that are killed end


def train_in_child(faces, run, pipe):
    """Train or resume, and report to the pipe: "w" for each file that is opened to be written,
    and the number of each step after its callback."""

    def report_write(event, arguments):
        if event == "open" and "w" in str(arguments[1]):
            os.write(pipe, b"w\n")

    def report_step(trainer, log):
        if not log.finished:
            os.write(pipe, b"%d\n" % trainer.steps_done)

    sys.addaudithook(report_write)
    torch.set_num_threads(1)
    warnings.filterwarnings("error", ".*Loading the checkpoint before")
    for step in saved_steps(run):  # a checkpoint with its final name is always whole
        checkpoints.load(checkpoints.at_step(run, step))
    resume = bool(saved_steps(run))
    train_small(Faces(faces), run, LAST, resume=resume, callback=report_step)


def fork_training(faces, run):
    """-> the process id of a child that trains, and the file to read its reports from."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            train_in_child(faces, run, write_end)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write_end)
    return child, open(read_end, "rb")


def train_and_kill(faces, run, saves=0, seconds=None):
    """Train in a child process, and kill it `seconds` after it opened its `saves`-th file.

    Without seconds it is not killed. -> whether it was killed while it trained, its steps.
    """
    child, reports = fork_training(faces, run)
    lines = []
    with reports:
        if seconds is not None:
            while lines.count(b"w\n") < saves:
                line = reports.readline()
                if not line:
                    break
                lines.append(line)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)  # it exists, even if it has ended meanwhile
        lines += reports.readlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return killed, [int(line) for line in lines if line.strip().isdigit()]


def random_kill(dice, duration):
    """-> when to kill: at a random moment of the run, or while a file is being written."""
    at_random_moment = {"seconds": dice.uniform(0, duration)}
    in_a_save = {"saves": dice.randint(1, 12), "seconds": 10 ** dice.uniform(-5, -2.5)}
    return dice.choice([at_random_moment, in_a_save])


def train_with_kills(faces, folder, kills):
    """Runs in `folder`, each killed and resumed until its end, until `kills` processes were killed.

    -> a row for each process: its run, whether it was killed, its steps, and the saved steps
    before and after it.
    """
    import torch._dynamo  # noqa: F401  else each child imports it, which takes seconds

    dice = random.Random(0)
    start = time.perf_counter()
    train_and_kill(faces, Path(folder) / "uncut")
    duration = time.perf_counter() - start
    rows = []
    number = 0
    while kills:
        run = Path(folder) / str(number)
        number += 1
        killed = True
        while killed:
            before = saved_steps(run)
            moment = random_kill(dice, duration) if kills else {}
            killed, steps = train_and_kill(faces, run, **moment)
            row = {"run": run.name, "killed": killed, "steps": steps}
            rows.append(row | {"before": before, "after": saved_steps(run)})
            kills -= int(killed)
    return rows


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_run_killed_again_and_again_loses_only_work_since_the_last_save(faces, tmp_path, often):
    kills = often(30, 200)
    rows = call_in_new_process(train_with_kills, str(faces.folder), str(tmp_path), kills)
    assert sum(row["killed"] for row in rows) == kills
    for row in rows:
        if not row["steps"]:
            continue
        newest_before = max(row["before"], default=0)
        assert row["steps"][0] == newest_before + 1, "it went on from the newest checkpoint"
        last_save = row["steps"][-1] // STEPS_PER_EPOCH * STEPS_PER_EPOCH
        assert row["after"][-1] >= last_save, "nothing from before the last save was lost"
    for run in {row["run"] for row in rows}:
        assert fingerprint(tmp_path / run) == fingerprint(tmp_path / "uncut")
        assert hidden_files(tmp_path / run) == []


def test_a_run_killed_in_its_very_first_save_can_be_begun_again(faces, tmp_path, uncut):
    checkpoints.at_step(tmp_path, 0).parent.mkdir()
    checkpoints.at_step(tmp_path, 0).with_name(".step_00000000.pt.part").write_bytes(b"PK")
    train_small(faces, tmp_path, 10)
    assert fingerprint(tmp_path) == uncut(10)
    assert hidden_files(tmp_path) == []


# ---- 3: no damaged checkpoint is loaded ----


def damage_once(raw, dice, kind):
    """The bytes of a file -> a copy with one bit flipped, its end cut, or a part overwritten."""
    damaged = bytearray(raw)
    start = dice.randrange(len(raw))
    if kind == "flipped":
        damaged[start] ^= 1 << dice.randrange(8)
    elif kind == "cut":
        del damaged[start:]
    else:
        length = min(2 ** dice.randint(0, 14), len(raw) - start)
        source = dice.randrange(len(raw) - length + 1)
        parts = (bytes(length), dice.randbytes(length), raw[source : source + length])
        damaged[start : start + length] = dice.choice(parts)
    return bytes(damaged)


def damage(raw, dice, kind):
    """As `damage_once`, but never equal to the original."""
    damaged = raw
    while damaged == raw:
        damaged = damage_once(raw, dice, kind)
    return damaged


def newest_and_warnings(run):
    """-> the newest good checkpoint of a run, and the warnings on the way to it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = checkpoints.newest(run)  # hides no error but a CheckpointError
    return state, [str(warning.message) for warning in caught]


def test_no_damaged_checkpoint_is_loaded_and_the_one_before_is_used(faces, tmp_path, often):
    train_small(faces, tmp_path, 8)
    file = checkpoints.at_step(tmp_path, 8)
    raw = file.read_bytes()
    original = flat(checkpoints.load(file))
    small = {"step": 4}  # in place of the state at step 4, since it is read so often
    checkpoints.save(small, checkpoints.at_step(tmp_path, 4))
    dice = random.Random(0)
    count = often(2_000, 20_000)
    refused = 0
    for i in range(count):
        kind = ("flipped", "cut", "overwritten")[i % 3]
        file.write_bytes(damage(raw, dice, kind))
        state, messages = newest_and_warnings(tmp_path)
        if messages:
            assert state == small
            assert len(messages) == 1
            assert file.name in messages[0]
            refused += 1
        else:  # the damaged bytes mean nothing: they lie between the records, or are dates
            assert flat(state) == original, f"mutation {i}, {kind}, was loaded without a warning"
    assert refused > count / 2


# ---- 4: loading never runs code ----


class Call:
    """Pickled, it becomes a call of a function: loading the pickle makes that call."""

    def __init__(self, function, *arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


OPCODES = {  # pickles that call os.mkdir; the old opcodes INST and OBJ need no REDUCE
    "opcode INST": b"(S'%s'\nios\nmkdir\n.",
    "opcode OBJ": b"(cos\nmkdir\nS'%s'\no.",
    "opcode REDUCE": b"cos\nmkdir\n(S'%s'\ntR.",
}
ATTACKS = ["os.mkdir", "os.system", "eval", "exec", "subprocess", "__import__"]
ATTACKS += ["opcode INST", "opcode OBJ"]


def hostile_pickle(attack, marker):
    """-> a pickle that makes the folder `marker` when it is loaded."""
    if attack in OPCODES:
        return OPCODES[attack] % marker.encode()
    if attack == "__import__":
        pickle_of_sep = pickle.dumps(Call(getattr, Call(builtins.__import__, "os"), "sep"))
        return pickle_of_sep[:-1] + OPCODES["opcode REDUCE"] % marker.encode()
    calls = {
        "os.mkdir": Call(os.mkdir, marker),
        "os.system": Call(os.system, f"mkdir '{marker}'"),
        "eval": Call(builtins.eval, f"__import__('os').mkdir({marker!r})"),
        "exec": Call(builtins.exec, f"import os; os.mkdir({marker!r})"),
        "subprocess": Call(subprocess.check_call, ["mkdir", marker]),
    }
    return pickle.dumps(calls[attack])


def torch_file(**options):
    """-> the bytes of a harmless file of PyTorch."""
    file = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file, **options)
    return file.getvalue()


def as_pickle(hostile):
    return hostile


def as_legacy_file(hostile):
    """PyTorch's old format is one pickle after the other: the first is enough for the attack."""
    return hostile + torch_file(_use_new_zipfile_serialization=False)


def as_checkpoint(hostile):
    """A zip whose checksums are right, with the attack in place of its pickle."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_file())) as good, zipfile.ZipFile(result, "w") as bad:
        for name in good.namelist():
            content = hostile if name.endswith("/data.pkl") else good.read(name)
            bad.writestr(name, content)
    return result.getvalue()


def before_a_good_zip(hostile):
    """A zip may begin anywhere in a file, so all its checksums are right."""
    return hostile + torch_file()


@pytest.mark.parametrize("wrap", [as_pickle, as_legacy_file, as_checkpoint, before_a_good_zip])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_file_is_refused_by_every_reader_and_runs_nothing(attack, wrap, tmp_path):
    marker = tmp_path / "marker"
    content = wrap(hostile_pickle(attack, str(marker)))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe_json.to_json(DEFAULT)))
    file = checkpoints.atomic_write(checkpoints.at_step(tmp_path, 1), content)
    checkpoints.atomic_write(tmp_path / "G.pth", content)
    with pytest.raises(checkpoints.CheckpointError, match=file.name):
        checkpoints.load(file)
    with pytest.raises(checkpoints.CheckpointError), pytest.warns(UserWarning, match=file.name):
        checkpoints.newest(tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="G.pth"):
        load_generator(tmp_path)
    assert not marker.exists()
    with suppress(Exception):  # what follows the attack may be nonsense
        torch.load(file, weights_only=False)
    assert marker.exists(), "the attack itself works"


# ---- 5: a full disk, a folder that can't be written ----


class FullDisk:
    """From `fill` to `free`, whatever is written to one file meets ENOSPC: it is /dev/full.

    As a callback it fills the disk after step 7.
    """

    def __init__(self, file, aside):
        self.file = file
        self.aside = aside

    def fill(self):
        if self.file.exists():
            self.file.rename(self.aside)
        self.file.symlink_to("/dev/full")

    def free(self):
        if self.aside.exists():
            self.aside.replace(self.file)

    def __call__(self, trainer, log):
        if trainer.steps_done == 7:
            self.fill()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "path, step",
    [
        (".recipe.json.part", 6),
        (".history.jsonl.part", 6),
        ("history.jsonl", 7),
        ("grids/.step_00000010.png.part", 7),
        ("checkpoints/.step_00000008.pt.part", 7),
        (".G.pth.part", 7),
        (".D.pth.part", 7),
    ],
)
def test_a_full_disk_is_reported_and_costs_only_the_work_since_the_last_save(
    path, step, faces, tmp_path, uncut
):
    name = Path(path).name.lstrip(".").removesuffix(".part")
    disk = FullDisk(tmp_path / path, tmp_path / "aside")
    train_small(faces, tmp_path, 6)
    if step == 6:
        disk.fill()
    callback = disk if step == 7 else None
    with pytest.raises(
        checkpoints.CheckpointError, match=f"{name} can't be written .No space left"
    ):
        train_small(faces, tmp_path, 10, resume=True, callback=callback)
    disk.free()
    assert hidden_files(tmp_path) == []
    last_save = 10 if name.endswith((".pth", ".png")) else 6
    assert checkpoints.newest(tmp_path)["steps_done"] == last_save
    train_small(faces, tmp_path, 10, resume=True)
    assert fingerprint(tmp_path) == uncut(10)


def test_a_command_reports_a_full_disk_in_one_line_and_the_run_goes_on_when_there_is_room(
    faces, tmp_path, uncut
):
    train_small(faces, tmp_path, 6)
    resume = ["train", "--data", str(faces.folder), "--run", str(tmp_path)]
    resume += ["--steps", "10", "--seed", "3", "--resume"]
    room = checkpoints.at_step(tmp_path, 6).stat().st_size // 2

    def limit_file_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    result = run_command(*resume, preexec_fn=limit_file_size)
    lines = result.stderr.splitlines()
    messages = [line.rpartition("\r")[2] for line in lines if not line.endswith("]")]  # no bars
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "step_00000010" in messages[-1]
    assert "can't be written" in messages[-1]
    assert sum("can't be written" in message for message in messages) == 1
    assert checkpoints.newest(tmp_path)["steps_done"] == 6
    assert hidden_files(tmp_path) == []
    assert main(resume) == 0
    assert fingerprint(tmp_path) == uncut(10)


class ReadOnlyFolders:
    """Makes folders read-only, also for root."""

    def __init__(self):
        self.folders = []

    def close(self, folder):
        """-> what to put before a command so that it can't write into the folder."""
        prefix = ()
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                pytest.skip("root writes everywhere, and there is no setpriv to prevent that")
            prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
        folder.chmod(0o555)
        self.folders.append(folder)
        if run_process(*prefix, "true").returncode:
            pytest.skip("setpriv may not take root's powers here")
        if run_process(*prefix, "touch", folder / "probe").returncode == 0:
            pytest.skip("this file system does not know read-only folders")
        return prefix

    def open_all(self):
        for folder in self.folders:
            folder.chmod(0o755)


@pytest.fixture
def read_only():
    folders = ReadOnlyFolders()
    yield folders
    folders.open_all()


def assert_refused_before_the_first_step(result):
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, "no progress bar: no step was begun"
    assert "can't be written" in result.stderr


def modification_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_new_run_in_a_folder_that_cannot_be_written_is_refused_before_the_first_step(
    faces, tmp_path, read_only
):
    words = ["train", "--data", faces.folder, "--run", tmp_path / "run"]
    words += ["--steps", 10, "--seed", 3, *SMALL]
    result = run_command(*words, before=read_only.close(tmp_path))
    assert_refused_before_the_first_step(result)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_in_a_folder_that_cannot_be_written_is_refused_before_the_first_step(
    faces, tmp_path, read_only
):
    run = tmp_path / "run"
    train_small(faces, run, 6)
    before = modification_times(run)
    words = ["train", "--data", faces.folder, "--run", run]
    words += ["--steps", 10, "--seed", 3, "--resume"]
    result = run_command(*words, before=read_only.close(run))
    assert_refused_before_the_first_step(result)
    assert modification_times(run) == before


# ---- 6: Stop in a notebook ----


class PrintOnce:
    """A callback that prints its message in its first call."""

    def __init__(self, message):
        self.message = message

    def __call__(self, trainer, log):
        print(end=self.message)
        self.message = ""


class Kernel:
    """A Jupyter kernel in a folder, as a notebook uses it."""

    def __init__(self, folder):
        self.manager = KernelManager()
        self.manager.start_kernel(env=environment(), cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def start(self, code):
        """Send a cell. -> its id, for `wait`."""
        return self.client.execute(code)

    def wait(self, cell):
        """Wait until a cell ends, which must be without an error. -> its reply."""
        message = self.client.get_shell_msg(timeout=120)
        while message["parent_header"]["msg_id"] != cell:
            message = self.client.get_shell_msg(timeout=120)
        content = message["content"]
        assert content["status"] == "ok", content.get("traceback")
        return content

    def value(self, expression):
        """-> the repr of an expression's value."""
        content = self.wait(self.client.execute("", user_expressions={"it": expression}))
        return content["user_expressions"]["it"]["data"]["text/plain"]

    def wait_for_output(self, text):
        output = ""
        while text not in output:
            content = self.client.get_iopub_msg(timeout=120)["content"]
            if content.get("name") == "stdout":
                output += content["text"]

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path):
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


def test_stop_at_random_moments_leaves_a_checkpoint_and_a_kernel_that_answers(faces, kernel):
    dice = random.Random(0)
    step_before = 0
    try:
        kernel.wait(kernel.start("from pathlib import Path\nfrom test_promises import *"))
        kernel.wait(kernel.start(f"faces = Faces({str(faces.folder)!r})\nrun = Path('run')"))
        for i in range(10):
            options = f"resume=run.exists(), callback=PrintOnce('training {i}')"
            cell = kernel.start(f"trainer = train_small(faces, run, 10**9, {options})")
            kernel.wait_for_output(f"training {i}")
            time.sleep(dice.uniform(0, 0.3))
            kernel.manager.interrupt_kernel()
            kernel.wait(cell)
            step = int(kernel.value("trainer.steps_done"))
            assert step > step_before
            assert kernel.value("checkpoints.newest(run)['steps_done']") == str(step)
            state = "trainer.state() | {'images': len(faces)}"
            assert kernel.value(f"flat(checkpoints.newest(run)) == flat({state})") == "True"
            step_before = step
    except queue.Empty:
        pytest.fail("the kernel does not answer")


# ---- 7: what is not finite stops the run and is never saved ----


def break_loss(trainer, name, monkeypatch):
    loss = getattr(trainer.loss, name)
    monkeypatch.setattr(trainer.loss, name, lambda *logits: loss(*logits) * math.nan)


def break_gradient(network, value):
    weight = next(network.parameters())
    weight.register_hook(lambda gradient: gradient * 0 + value)


def break_images(monkeypatch):
    name = "animegan_helpers.trainer.to_tensor"
    monkeypatch.setattr(name, lambda pixels: to_tensor(pixels) / 0)


class Fault:
    """A callback that breaks one thing after one step."""

    def __init__(self, name, step, monkeypatch):
        self.name = name
        self.step = step
        self.monkeypatch = monkeypatch

    def __call__(self, trainer, log):
        if trainer.steps_done == self.step:
            self.inject(trainer)

    def inject(self, trainer):
        match self.name:
            case "D's loss":
                break_loss(trainer, "d_loss", self.monkeypatch)
            case "G's loss":
                break_loss(trainer, "g_loss", self.monkeypatch)
            case "D's gradient":
                break_gradient(trainer.D, math.nan)
            case "G's gradient":
                break_gradient(trainer.G, math.nan)
            case "D's gradient, infinite":
                break_gradient(trainer.D, math.inf)
            case "D's gradient, its square infinite":
                break_gradient(trainer.D, 1e25)
            case "G's gradient, its square infinite":
                break_gradient(trainer.G, 1e25)
            case "an image":
                break_images(self.monkeypatch)
            case "the EMA generator":
                next(trainer.G_ema.parameters()).data.fill_(math.nan)
            case "G's batch-norm statistics":
                next(trainer.G.buffers()).fill_(math.inf)


FAULTS = [
    "D's loss",
    "G's loss",
    "D's gradient",
    "G's gradient",
    "D's gradient, infinite",
    "D's gradient, its square infinite",
    "G's gradient, its square infinite",
    "an image",
    "the EMA generator",
    "G's batch-norm statistics",
]


def tensors(state, path=""):
    """A nested state -> the path and value of each tensor in it."""
    if isinstance(state, torch.Tensor):
        yield path, state
    elif isinstance(state, dict):
        for name, part in state.items():
            yield from tensors(part, f"{path}/{name}")


@pytest.mark.parametrize("step", [6, 7], ids=["mid-epoch", "just before a save"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_value_that_is_not_finite_stops_the_run_and_reaches_no_file(
    fault, step, faces, tmp_path, monkeypatch
):
    named = r"(loss_[dg]|\bG|\bD|G_ema|optimizer).*at step [78]\b"
    with pytest.raises(FloatingPointError, match=named):
        train_small(faces, tmp_path, 20, callback=Fault(fault, step, monkeypatch))
    assert saved_steps(tmp_path) == [0, 4]
    for saved_step in saved_steps(tmp_path):
        state = checkpoints.load(checkpoints.at_step(tmp_path, saved_step))
        for path, tensor in tensors(state):
            assert tensor.isfinite().all(), f"{path} of step {saved_step}"
    assert not (tmp_path / "G.pth").exists()
    for line in (tmp_path / "history.jsonl").read_text().splitlines():
        assert all(math.isfinite(value) for value in json.loads(line).values())


def test_a_gradient_that_is_not_finite_in_the_very_last_step_reaches_no_file(
    faces, tmp_path, monkeypatch
):
    fault = Fault("G's gradient", 5, monkeypatch)
    with pytest.raises(FloatingPointError, match="at step 6"):
        train_small(faces, tmp_path, 6, callback=fault)
    assert saved_steps(tmp_path) == [0, 4]
    assert not (tmp_path / "G.pth").exists()


# ---- 11: the same seed gives the same faces ----


def train_words(faces, run, seed):
    words = ["train", "--data", faces.folder, "--run", run, "--steps", 6, "--seed", seed, *SMALL]
    return [str(word) for word in words]


def result_files(run):
    """-> the content, by name, of a run's sample grids, faces and history."""
    paths = [*sorted((run / "grids").iterdir()), run / "faces.png", run / "history.jsonl"]
    return {path.name: path.read_bytes() for path in paths}


def test_the_same_seed_gives_the_same_faces_in_another_process_and_another_seed_others(
    faces, tmp_path
):
    assert run_command(*train_words(faces, tmp_path / "one", 1)).returncode == 0
    assert run_command(*train_words(faces, tmp_path / "again", 1)).returncode == 0
    assert main(train_words(faces, tmp_path / "other", 2)) == 0
    one = result_files(tmp_path / "one")
    again = result_files(tmp_path / "again")
    other = result_files(tmp_path / "other")
    assert one == again
    assert len(one) == 4
    for name, content in one.items():
        assert other[name] != content


# ---- 12: the live view does not grow ----


class RenderedFigure:
    """In place of a display handle: figures are rendered, as Jupyter asks them to, and dropped."""

    def update(self, figure):
        figure._repr_mimebundle_()


class MemoryOfLiveView:
    """A live view that updates in every step, and notes the resident memory after some steps."""

    def __init__(self, steps):
        self.view = widgets.LiveView(seconds=0)
        self.steps = steps
        self.megabytes = []

    def __call__(self, trainer, log):
        self.view(trainer, log)
        if trainer.steps_done in self.steps and not log.finished:
            self.megabytes.append(resident_megabytes())


def resident_megabytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def megabytes_with_live_view(faces, run, steps):
    """Train with a live view of every step -> the resident memory after each of `steps`, in MB."""
    widgets.display = lambda figure, display_id: RenderedFigure()
    memory = MemoryOfLiveView(steps)
    train_small(Faces(faces), run, steps[-1], callback=memory)
    return memory.megabytes


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="this system does not report its memory"
)
def test_the_live_view_takes_no_more_memory_the_longer_it_runs(faces, tmp_path, often):
    steps = often((100, 150), (100, 500))  # the first hundred updates fill caches
    arguments = (str(faces.folder), str(tmp_path), steps)
    early, late = call_in_new_process(megabytes_with_live_view, *arguments)
    assert late < early + 20, "with 50 more updates, each keeping its image, it would be 40"
    assert late < 2000
