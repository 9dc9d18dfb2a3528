"""The promises of the README's table, by its numbers: the fault is injected, then the promise must hold."""

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
from conftest import flat
from jupyter_client.manager import KernelManager

from animegan_helpers import __main__, checkpoints, preprocess, recipes, training, widgets

OURS = recipes.get("default", width=4, z_dim=8, batch=4, size=16, r1_every=3)
EPOCH = 4  # steps: the set of the `faces` fixture has 16 pictures


def play(faces, run, steps, **named):
    return training.train(OURS, faces, run, steps=steps, seed=3, **named)


def fingerprint(run):
    """A run's folder -> SHA-256 of all it has come to: networks, average, optimisers, history. Not of the seconds."""
    networks = [checkpoints.load(run / name) for name in ("G.pth", "D.pth")]
    whole = flat([checkpoints.newest(run) | {"seconds": None}, networks]), (run / "history.jsonl").read_bytes()
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def saved(run):
    """-> the steps whose checkpoints lie under their final names."""
    return sorted(int(path.stem[5:]) for path in (Path(run) / "checkpoints").glob("step_*.pt"))


def strays(run):
    return [path.name for path in run.rglob(".*")]


def elsewhere(function, *arguments):
    """A function of this file, run in a process of its own -> what it returns."""
    code = f"import json, test_promises as here; print(json.dumps(here.{function.__name__}(*{arguments!r})))"
    done = process(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def shell(*words, before=(), **named):
    """`python -m animegan_helpers ...` in a process of its own."""
    return process(*before, sys.executable, "-m", "animegan_helpers", *words, **named)


def process(*words, **named):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment(), **named)


def environment():
    path = [str(Path(__file__).parent), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def uncut(faces, tmp_path_factory):
    """-> a function: steps -> the fingerprint of a run that nothing happened to, made once."""
    made = {}

    def run(steps):
        if steps not in made:
            folder = tmp_path_factory.mktemp("uncut")
            play(faces, folder, steps)
            made[steps] = fingerprint(folder)
        return made[steps]

    return run


# ---- 1: a run cut at any step and resumed ends bit for bit like the uncut one ----


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_cut_at_any_of_its_steps_ends_bit_for_bit_like_the_uncut_one(workers, faces, uncut, tmp_path):
    for cut in range(1, 20):
        run = tmp_path / str(cut)
        play(faces, run, cut, workers=workers)
        assert saved(run)[-1] == cut
        play(faces, run, 20, workers=workers, resume=True)
        assert fingerprint(run) == uncut(20), f"cut at step {cut}"


# ---- 2: kill -9 loses only the work since the last save ----

LAST = 18  # the step at which the runs end that are killed


def life(faces, run, saves=0, seconds=None):
    """Train in a child process; kill it `seconds` after its `saves`-th file was opened to be written, or not at all.

    -> was it killed while it trained; the steps it played.
    """
    ear, mouth = os.pipe()
    child = os.fork()
    if not child:
        try:
            sys.addaudithook(lambda event, told: event == "open" and "w" in str(told[1]) and os.write(mouth, b"w\n"))
            torch.set_num_threads(1)
            warnings.filterwarnings("error", ".*Falling back")  # under its final name a checkpoint is always whole
            states = [checkpoints.load(checkpoints.at_step(run, step)) for step in saved(run)]

            def watch(game, history, done=False):
                os.write(mouth, b"" if done else b"%d\n" % game.step)

            play(preprocess.Prepared(faces), run, LAST, resume=bool(states), watch=watch)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(mouth)
    with open(ear, "rb") as told:
        heard = []
        while seconds is not None and heard.count(b"w\n") < saves and (line := told.readline()):
            heard.append(line)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)  # if it has ended meanwhile, it still waits to be asked how
        heard += told.readlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) == 0, "a life ended by an error of its own"
    return killed, [int(line) for line in heard if line.strip().isdigit()]


def lives(faces, folder, kills):
    """Runs in `folder`, killed and resumed until they are through, until `kills` have hit -> a row for each life."""
    dice, rows, number = random.Random(0), [], 0
    import torch._dynamo  # noqa: F401  what the first step of every life would import, which takes seconds

    begun = time.perf_counter()
    life(faces, Path(folder) / "uncut")
    span = time.perf_counter() - begun
    while kills:
        run, killed, number = Path(folder) / str(number), True, number + 1
        while killed:
            anywhere = {"seconds": dice.uniform(0, span)}
            in_a_save = {"saves": dice.randint(1, 12), "seconds": 10 ** dice.uniform(-5, -2.5)}
            before = saved(run)
            killed, steps = life(faces, run, **dice.choice([anywhere, in_a_save]) if kills else {})
            rows.append({"run": run.name, "killed": killed, "before": before, "steps": steps, "after": saved(run)})
            kills -= killed
    return rows


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_killed_again_and_again_a_run_loses_only_the_work_since_the_last_save(faces, tmp_path, often):
    kills = often(30, 200)
    rows = elsewhere(lives, str(faces.folder), str(tmp_path), kills)
    assert sum(row["killed"] for row in rows) == kills
    for row in rows:
        if row["steps"]:
            assert row["steps"][0] == max(row["before"], default=0) + 1, "it went on from the newest checkpoint"
            finished_epochs = (row["steps"][-1] - 1) // EPOCH
            assert row["after"][-1] >= finished_epochs * EPOCH, "nothing from before the last save was lost"
    for run in {row["run"] for row in rows}:
        assert fingerprint(tmp_path / run) == fingerprint(tmp_path / "uncut")
        assert strays(tmp_path / run) == []


def test_a_run_killed_in_its_very_first_save_can_be_begun_again(faces, tmp_path, uncut):
    checkpoints.at_step(tmp_path, 0).parent.mkdir()
    checkpoints.at_step(tmp_path, 0).with_name(".step_00000000.pt.part").write_bytes(b"PK")
    play(faces, tmp_path, 10)
    assert fingerprint(tmp_path) == uncut(10) and strays(tmp_path) == []


# ---- 3: no damaged checkpoint is loaded ----


def damaged(raw, dice, kind):
    """The bytes of a file -> others, damaged in one of three ways."""
    while True:
        broken, start = bytearray(raw), dice.randrange(len(raw))
        if kind == "flipped":
            broken[start] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del broken[start:]
        else:
            length = min(2 ** dice.randint(0, 14), len(raw) - start)
            elsewhere = dice.randrange(len(raw) - length + 1)
            stretches = bytes(length), dice.randbytes(length), raw[elsewhere : elsewhere + length]
            broken[start : start + length] = dice.choice(stretches)
        if broken != raw:
            return bytes(broken)


def test_no_damaged_checkpoint_is_loaded_and_the_one_before_is_taken(faces, tmp_path, often):
    play(faces, tmp_path, 8)
    file, dice, refused = checkpoints.at_step(tmp_path, 8), random.Random(0), 0
    checkpoints.save({"step": 4}, checkpoints.at_step(tmp_path, 4))  # small, since it is read so often
    raw, whole = file.read_bytes(), flat(checkpoints.load(file))
    for i in range(often(2_000, 20_000)):
        kind = ("flipped", "cut", "overwritten")[i % 3]
        file.write_bytes(damaged(raw, dice, kind))
        with warnings.catch_warnings(record=True) as told:  # `newest` lets every error but a CheckpointError through
            warnings.simplefilter("always")
            state = checkpoints.newest(tmp_path)
        if told:
            assert state == {"step": 4} and [file.name in str(warning.message) for warning in told] == [True]
            refused += 1
        else:  # bytes that mean nothing: those between the records, and dates
            assert flat(state) == whole, f"mutation {i}, {kind}, was loaded without a word"
    assert refused > i / 2


# ---- 4: loading never runs code ----


class Call:
    """What a hostile pickle holds: a function to call when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def by_opcode(code):
    """A pickle that calls os.mkdir by one of the opcodes of old: they need no REDUCE."""
    return {"INST": b"(S'%s'\nios\nmkdir\n.", "OBJ": b"(cos\nmkdir\nS'%s'\no.", "REDUCE": b"cos\nmkdir\n(S'%s'\ntR."}[
        code
    ]


ATTACKS = {
    "os.mkdir": lambda marker: pickle.dumps(Call(os.mkdir, marker)),
    "os.system": lambda marker: pickle.dumps(Call(os.system, f"mkdir '{marker}'")),
    "eval": lambda marker: pickle.dumps(Call(builtins.eval, f"__import__('os').mkdir({marker!r})")),
    "exec": lambda marker: pickle.dumps(Call(builtins.exec, f"import os; os.mkdir({marker!r})")),
    "subprocess": lambda marker: pickle.dumps(Call(subprocess.check_call, ["mkdir", marker])),
    "__import__": lambda marker: pickle.dumps(Call(getattr, Call(builtins.__import__, "os"), "sep"))[:-1]
    + by_opcode("REDUCE") % marker.encode(),
    **{f"opcode {code}": lambda marker, code=code: by_opcode(code) % marker.encode() for code in ("INST", "OBJ")},
}  # fmt: skip


def as_pickle(hostile):
    return hostile


def as_legacy_file(hostile):
    file = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file, _use_new_zipfile_serialization=False)
    return hostile + file.getvalue()  # torch reads one pickle after the other: the first one does it


def as_checkpoint(hostile):
    file, made = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file)
    with zipfile.ZipFile(file) as good, zipfile.ZipFile(made, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, hostile if name.endswith("/data.pkl") else good.read(name))
    return made.getvalue()


def before_a_good_zip(hostile):
    file = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file)
    return hostile + file.getvalue()  # a zip may begin anywhere: its checksums are right


@pytest.mark.parametrize("wrapped", [as_pickle, as_legacy_file, as_checkpoint, before_a_good_zip])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_file_is_refused_by_every_reader_and_runs_nothing(attack, wrapped, tmp_path):
    marker = tmp_path / "marker"
    content = wrapped(ATTACKS[attack](str(marker)))
    (tmp_path / "recipe.json").write_text(json.dumps(recipes.to_json(OURS)))
    file = checkpoints.write_whole(checkpoints.at_step(tmp_path, 1), content)
    checkpoints.write_whole(tmp_path / "G.pth", content)
    with pytest.raises(checkpoints.CheckpointError, match=file.name):
        checkpoints.load(file)
    with pytest.raises(checkpoints.CheckpointError), pytest.warns(UserWarning, match=file.name):
        checkpoints.newest(tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="G.pth"):
        training.load_generator(tmp_path)
    assert not marker.exists()
    with suppress(Exception):  # what follows the attack may be nonsense
        torch.load(file, weights_only=False)
    assert marker.exists(), "the attack itself works"


# ---- 5: a full disk, a folder that can't be written ----


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "full, step",
    [(".recipe.json.part", 6), (".history.jsonl.part", 6), ("history.jsonl", 7), ("grids/.step_00000008.png.part", 7)]
    + [("checkpoints/.step_00000008.pt.part", 7), (".G.pth.part", 7), (".D.pth.part", 7)],
)
def test_a_disk_that_fills_up_is_told_and_costs_only_the_work_since_the_last_save(full, step, faces, tmp_path, uncut):
    file, aside, name = tmp_path / full, tmp_path / "aside", Path(full).name.lstrip(".").removesuffix(".part")

    def watch(game, history, done=False):
        if game.step == 7:
            fill_the_disk()

    def fill_the_disk():  # what is written there meets ENOSPC from now on: it is /dev/full
        if file.exists():
            file.rename(aside)
        file.symlink_to("/dev/full")

    play(faces, tmp_path, 6)
    if step == 6:
        fill_the_disk()
    with pytest.raises(checkpoints.CheckpointError, match=f"{name} can't be written .No space left"):
        play(faces, tmp_path, 10, resume=True, watch=watch if step == 7 else None)
    if aside.exists():  # there is room again
        aside.replace(file)
    assert strays(tmp_path) == []
    assert checkpoints.newest(tmp_path)["step"] == (10 if name.endswith(".pth") else 6)
    play(faces, tmp_path, 10, resume=True)
    assert fingerprint(tmp_path) == uncut(10)


def test_the_shell_tells_a_full_disk_in_one_line_and_the_run_goes_on_when_there_is_room(faces, tmp_path, uncut):
    play(faces, tmp_path, 6)
    resume = ["train", "--data", str(faces.folder), "--run", str(tmp_path), "--steps", "10", "--seed", "3", "--resume"]
    room = checkpoints.at_step(tmp_path, 6).stat().st_size // 2
    result = shell(*resume, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    told = [line.rpartition("\r")[2] for line in result.stderr.splitlines() if not line.endswith("]")]
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "step_00000008" in told[-1] and "can't be written" in told[-1]
    assert sum("can't be written" in line for line in told) == 1
    assert checkpoints.newest(tmp_path)["step"] == 6 and strays(tmp_path) == []
    assert __main__.main(resume) == 0
    assert fingerprint(tmp_path) == uncut(10)


@pytest.fixture
def read_only():
    """-> a function that makes a folder read-only -> what to put before a command for which it surely is."""
    closed = []

    def close(folder):
        powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
        if powerless and not shutil.which(powerless[0]):
            pytest.skip("root writes everywhere, and there is no setpriv to take that from it")
        folder.chmod(0o555)
        closed.append(folder)
        if process(*powerless, "true").returncode:
            pytest.skip("setpriv may not take root's powers here")
        if process(*powerless, "touch", folder / "probe").returncode == 0:
            pytest.skip("this file system does not know read-only folders")
        return powerless

    yield close
    for folder in closed:
        folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["new", "resumed"])
def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(kind, faces, tmp_path, read_only):
    run = tmp_path / "run"
    words = ["train", "--data", faces.folder, "--run", run, "--steps", 10, "--seed", 3]
    words += ["--width", 4, "--z-dim", 8, "--batch", 4, "--size", 16] if kind == "new" else ["--resume"]
    if kind == "resumed":
        play(faces, run, 6)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    result = shell(*words, before=read_only(tmp_path if kind == "new" else run))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "can't be written" in result.stderr, "no bar: no step was begun"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


# ---- 6: Stop in a notebook ----


def test_stop_at_random_moments_leaves_a_checkpoint_and_a_kernel_that_answers(faces, tmp_path):
    manager, dice, reached = KernelManager(), random.Random(0), 0
    manager.start_kernel(env=environment(), cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()

    def reply(to):
        while (message := client.get_shell_msg(timeout=120))["parent_header"]["msg_id"] != to:
            pass
        assert message["content"]["status"] == "ok", message["content"].get("traceback")
        return message["content"]

    def ask(expression):
        content = reply(client.execute("", user_expressions={"it": expression}))
        return content["user_expressions"]["it"]["data"]["text/plain"]

    try:
        client.wait_for_ready(timeout=120)
        reply(client.execute("from pathlib import Path\nfrom test_promises import *\nrun = Path('run')"))
        reply(client.execute(f"faces = preprocess.Prepared({str(faces.folder)!r})\nspoken = []"))
        for stop in range(10):
            training_cell = client.execute(
                f"say = iter(['it trains {stop}'])\n"
                "game = play(faces, run, 10**9, resume=run.exists(), watch=lambda *_, **__: print(end=next(say, '')))"
            )
            heard = ""
            while f"it trains {stop}" not in heard:
                message = client.get_iopub_msg(timeout=120)
                heard += message["content"]["text"] if message["content"].get("name") == "stdout" else ""
            time.sleep(dice.uniform(0, 0.3))
            manager.interrupt_kernel()
            reply(training_cell)
            step = int(ask("game.step"))
            assert ask("checkpoints.newest(run)['step']") == str(step) and step > reached
            assert ask("flat(checkpoints.newest(run)) == flat(game.state() | {'pictures': len(faces)})") == "True"
            reached = step
    except queue.Empty:
        pytest.fail("the kernel does not answer")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# ---- 7: what is not finite stops the run and is never saved ----


def in_a_loss(name, game, monkeypatch):
    loss = getattr(game.loss, name)
    monkeypatch.setattr(game.loss, name, lambda *logits: loss(*logits) * math.nan)


def in_a_gradient(name, value, game, monkeypatch):
    next(getattr(game, name).parameters()).register_hook(lambda gradient: gradient * 0 + value)


def in_a_picture(game, monkeypatch):
    to_tensor = preprocess.to_tensor
    monkeypatch.setattr(preprocess, "to_tensor", lambda pixels: to_tensor(pixels) / 0)


def in_a_weight_of_the_average(game, monkeypatch):
    next(game.averaged.parameters()).data.fill_(math.nan)


def in_the_statistics(game, monkeypatch):
    next(game.G.buffers()).fill_(math.inf)


FAULTS = {
    "D's loss": lambda *where: in_a_loss("d_loss", *where),
    "G's loss": lambda *where: in_a_loss("g_loss", *where),
    "D's gradient": lambda *where: in_a_gradient("D", math.nan, *where),
    "G's gradient": lambda *where: in_a_gradient("G", math.nan, *where),
    "D's gradient, infinite": lambda *where: in_a_gradient("D", math.inf, *where),
    "D's gradient, its square infinite": lambda *where: in_a_gradient("D", 1e25, *where),
    "G's gradient, its square infinite": lambda *where: in_a_gradient("G", 1e25, *where),
    "a picture": in_a_picture,
    "the average": in_a_weight_of_the_average,
    "G's batch-norm statistics": in_the_statistics,
}


@pytest.mark.parametrize("last", [6, 7], ids=["mid-epoch", "just before a save"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_finite_stops_the_run_and_reaches_no_file(fault, last, faces, tmp_path, monkeypatch):
    def watch(game, history, done=False):
        if game.step == last:
            FAULTS[fault](game, monkeypatch)

    with pytest.raises(FloatingPointError, match=r"(loss_[dg]|\bG|\bD|average|optimi[sz]er).*at step [78]\b"):
        play(faces, tmp_path, 20, watch=watch)
    assert saved(tmp_path) == [0, 4]
    for step in saved(tmp_path):
        for path, leaf in tensors(checkpoints.load(checkpoints.at_step(tmp_path, step))):
            assert leaf.isfinite().all(), f"{path} of step {step}"
    assert not (tmp_path / "G.pth").exists()
    history = [json.loads(row) for row in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for row in history for value in row.values())


def test_a_gradient_that_is_not_finite_in_the_very_last_step_reaches_no_file(faces, tmp_path, monkeypatch):
    def watch(game, history, done=False):
        if game.step == 5:
            in_a_gradient("G", math.nan, game, monkeypatch)

    with pytest.raises(FloatingPointError, match="at step 6"):
        play(faces, tmp_path, 6, watch=watch)
    assert saved(tmp_path) == [0, 4] and not (tmp_path / "G.pth").exists()


def tensors(state, path=""):
    if isinstance(state, torch.Tensor):
        yield path, state
    elif isinstance(state, dict):
        for name, part in state.items():
            yield from tensors(part, f"{path}/{name}")


# ---- 11: the same seed gives the same faces ----


def test_the_same_seed_gives_the_same_faces_in_another_process_and_another_seed_gives_others(faces, tmp_path):
    made = {}
    for run, seed in (("one", 1), ("again", 1), ("other", 2)):
        folder = tmp_path / run
        words = ["train", "--data", faces.folder, "--run", folder, "--steps", 6, "--seed", seed]
        words += ["--width", 4, "--z-dim", 8, "--batch", 4, "--size", 16]
        code = __main__.main([str(word) for word in words]) if run == "other" else shell(*words).returncode
        assert code == 0
        files = [*sorted((folder / "grids").iterdir()), folder / "faces.png", folder / "history.jsonl"]
        made[run] = {path.name: path.read_bytes() for path in files}
    assert made["one"] == made["again"] and len(made["one"]) == 5
    assert all(made["other"][name] != content for name, content in made["one"].items())


# ---- 12: the live view does not grow ----


class Shown:
    def update(self, figure):
        figure._repr_mimebundle_()  # what Jupyter asks of it


def megabytes_watched(faces, run, marks):
    """Train with a live view of every step -> the resident megabytes after each of the marked steps."""
    widgets.display, resident = lambda figure, display_id: Shown(), []
    view = widgets.LiveView(seconds=0)

    def watch(game, history, done=False):
        view(game, history, done)
        if game.step in marks and not done:
            lines = Path("/proc/self/status").read_text().splitlines()
            resident.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")))

    play(preprocess.Prepared(faces), run, marks[-1], watch=watch)
    return resident


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system does not tell its memory")
def test_watching_takes_no_more_memory_the_longer_it_lasts(faces, tmp_path, often):
    early, late = elsewhere(megabytes_watched, str(faces.folder), str(tmp_path), often((100, 150), (100, 500)))
    assert late < early + 20, "of 50 more updates, each keeping its picture, it would be 40"
    assert late < 2000


