"""Batches of faces become a trained generator: the losses, one step, the loop. Built in page 05."""

import json
import math
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from . import checkpoints, plotting, preprocess, recipes
from .device import generator
from .discriminator import Discriminator
from .generator import Generator

# What a seed is used for: each use has random numbers of its own, so that none disturbs another.
WEIGHTS, NOISE, LABELS, FLIPS, FIXED = range(1, 6)


class BCE:
    """The game of the DCGAN paper: D tells real (1) from fake (0), G wants its fakes called real.

    Labels may be softened and noisy: each is drawn between the two numbers of `real` or `fake`.
    """

    def __init__(self, real=(1.0, 1.0), fake=(0.0, 0.0)):
        self.real, self.fake = real, fake

    def d_loss(self, real_logits, fake_logits, generator=None):
        """(N,) logits of real and of fake pictures -> D's loss. An undecided D pays 2 ln 2."""
        real_labels = _labels(real_logits, *self.real, generator)
        fake_labels = _labels(fake_logits, *self.fake, generator)
        bce = F.binary_cross_entropy_with_logits
        return bce(real_logits, real_labels) + bce(fake_logits, fake_labels)

    def g_loss(self, fake_logits, real_logits):
        """(N,) logits -> G's loss; what D thinks of real pictures plays no part in this game."""
        return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))

    def scores(self, real_logits, fake_logits):
        """(N,) logits -> D's mean probability of "real", for the real and for the fake pictures."""
        return real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()


class Relativistic:
    """Each real picture is paired with a fake one: D says which is the real one (R3GAN, arXiv:2501.05441)."""

    def d_loss(self, real_logits, fake_logits, generator=None):
        """(N,) logits of real and of fake pictures -> D's loss. An undecided D pays ln 2."""
        return F.softplus(fake_logits - real_logits).mean()

    def g_loss(self, fake_logits, real_logits):
        """(N,) logits -> G's loss: the same question with the roles exchanged."""
        return F.softplus(real_logits - fake_logits).mean()

    def scores(self, real_logits, fake_logits):
        """(N,) logits -> the mean probability that the real one of a pair is picked, and that the fake one is."""
        right = (real_logits - fake_logits).sigmoid().mean()
        return right, 1 - right


def _labels(logits, low, high, generator):
    if low == high:
        return torch.full_like(logits, low)
    noise = torch.rand(logits.shape, generator=generator).to(logits.device)
    return low + (high - low) * noise


def r1_penalty(D, real):
    """D's mean squared gradient at real pictures (arXiv:1801.04406): a steep D is punished, so G can follow it."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(real).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def train_step(G, D, opt_g, opt_d, real, z, loss=None, r1=0.0, generator=None):
    """One step of both networks, in place: first D learns from real and fake, then G learns from D.

    real (N, 3, H, W) in [-1, 1] and z (N, z_dim) -> loss_d, loss_g, score_real, score_fake, without gradients.
    `r1` is the weight of the R1 penalty in this step.
    """
    loss = loss or BCE()
    fake = G(z)  # made once, used in both turns

    real_logits, fake_logits = D(real), D(fake.detach())  # D's turn: G must not learn from it
    loss_d = loss.d_loss(real_logits, fake_logits, generator)
    opt_d.zero_grad()
    (loss_d + r1 * r1_penalty(D, real) if r1 else loss_d).backward()
    opt_d.step()

    D.requires_grad_(False)  # G's turn: D is only asked
    loss_g = loss.g_loss(D(fake), real_logits.detach())
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    D.requires_grad_(True)

    return loss_d.detach(), loss_g.detach(), *loss.scores(real_logits.detach(), fake_logits.detach())


class Game:
    """All that changes while training: both networks, G's moving average, both optimisers, step and seconds."""

    def __init__(self, recipe: recipes.Recipe, seed: int = 0, device="cpu"):
        self.recipe, self.seed, self.device, self.step, self.seconds = recipe, seed, torch.device(device), 0, 0.0
        with torch.random.fork_rng():
            torch.manual_seed(generator(seed, WEIGHTS).initial_seed())
            self.G = make_generator(recipe)
            self.D = Discriminator(recipe.width, recipe.size, recipe.d_norm, recipe.d_norm_first, recipe.d_start)
        for net in (self.G, self.D):
            net.to(self.device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.G, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)) if recipe.ema else None
        fused = {"fused": self.device.type in ("cpu", "cuda")}
        self.opt_g = torch.optim.Adam(self.G.parameters(), recipe.lr_g, recipe.betas, **fused)
        self.opt_d = torch.optim.Adam(self.D.parameters(), recipe.lr_d, recipe.betas, **fused)
        self.loss = Relativistic() if recipe.loss == "relativistic" else BCE(recipe.real_labels, recipe.fake_labels)

    @property
    def best_g(self):
        """The generator to draw with: the moving average, where the recipe has one."""
        return self.averaged.module if self.averaged else self.G

    def play(self, pixels) -> dict:
        """One step on a batch of (N, H, W, 3) uint8 faces -> its numbers. Its noise depends on (seed, step) alone."""
        recipe, step = self.recipe, self.step
        if recipe.flip:
            pixels = preprocess.flip(pixels, generator(self.seed, FLIPS, step))
        real = preprocess.to_tensor(pixels.to(self.device))
        z = torch.randn(len(real), recipe.z_dim, generator=generator(self.seed, NOISE, step)).to(self.device)
        r1 = recipe.r1 if step % recipe.r1_every == 0 else 0.0
        labels = generator(self.seed, LABELS, step)
        numbers = train_step(self.G, self.D, self.opt_g, self.opt_d, real, z, self.loss, r1, labels)
        if self.averaged:
            self.averaged.update_parameters(self.G)
        self.step += 1
        names = ("loss_d", "loss_g", "score_real", "score_fake")
        row = {"step": self.step, **dict(zip(names, torch.stack(numbers).tolist()))}
        for name in ("loss_d", "loss_g"):
            if not math.isfinite(row[name]):
                raise FloatingPointError(f"{name} is {row[name]} at step {self.step}: try a lower learning rate")
        return row

    def fixed_faces(self, count: int = 64) -> torch.Tensor:
        """-> (count, 3, H, W) faces of the same codes at every step: the frames of the film."""
        return sample(self.best_g, count, self.seed, FIXED)

    def state(self) -> dict:
        """-> everything, for `checkpoints.save`."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {
            "recipe": recipes.to_json(self.recipe),
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            **parts,
        }

    def restore(self, state: dict) -> None:
        """Everything back. Raises CheckpointError if it comes from another recipe or seed."""
        if recipes.from_json(state["recipe"]) != self.recipe or state["seed"] != self.seed:
            raise checkpoints.CheckpointError(
                "the checkpoint comes from another recipe or seed: resume with the same ones"
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]

    def _parts(self) -> dict:
        parts = {"G": self.G, "D": self.D, "opt_g": self.opt_g, "opt_d": self.opt_d}
        return parts | ({"averaged": self.averaged} if self.averaged else {})


def make_generator(recipe: recipes.Recipe) -> Generator:
    """A recipe -> its generator, with fresh weights."""
    return Generator(recipe.width, recipe.z_dim, recipe.size, recipe.g_activation)


@torch.no_grad()
def sample(G, count: int = 64, *seed: int) -> torch.Tensor:
    """A generator and a seed -> (count, 3, H, W) faces. G is left as it was, batch-norm statistics too."""
    z = torch.randn(count, G.z_dim, generator=generator(*(seed or (0,))))
    was_training, device = G.training, next(G.parameters()).device
    G.eval()
    faces = torch.cat([G(part.to(device)).cpu() for part in z.split(256)])
    G.train(was_training)
    return faces


def train(
    recipe, faces, run, *, steps=None, epochs=None, minutes=None, seed=0, device="cpu", resume=False, watch=None
) -> Game:
    """Play the game on a `Prepared` set (or any dataset of uint8 batches) until `steps`, `epochs` or `minutes` in all.

    Without any of them the recipe says how long. The run's folder gets recipe.json, history.jsonl, grids, checkpoints,
    and at the end G.pth and D.pth. `resume` goes on from the newest checkpoint. Stop (the notebook's square, Ctrl-C)
    ends after the step at hand and saves. `watch(game, history)` is called after each step, lastly with `done=True`.
    Raises FileExistsError if the run exists and `resume` is not asked for.
    """
    run, per_epoch = Path(run), len(faces) // recipe.batch
    game = Game(recipe, seed, device)
    if resume:
        game.restore(checkpoints.newest(run))
    else:
        refuse_old_run(run)
    order = preprocess.batches(faces, recipe.batch, seed, game.step)  # checks the number of pictures, too
    if minutes is None:
        steps = steps or (epochs or recipe.epochs) * per_epoch or recipe.steps
    goal = {"steps": steps or math.inf, "seconds": 60 * (minutes or math.inf)}
    (run / "grids").mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(json.dumps(recipes.to_json(recipe), indent=1), encoding="utf-8")
    history = _cut_history(run, game.step)
    _run_loop(game, order, run, history, goal, per_epoch, watch)
    checkpoints.save(game.best_g.state_dict(), run / "G.pth")
    checkpoints.save(game.D.state_dict(), run / "D.pth")
    return game


def _run_loop(game, order, run, history, goal, per_epoch, watch):
    def save():
        plotting.grid(game.fixed_faces(), 8).save(run / "grids" / f"step_{game.step:08d}.png")
        with open(run / "history.jsonl", "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in history[save.written :])
        save.written, save.seconds, save.step = len(history), game.seconds, game.step
        checkpoints.save(game.state(), checkpoints.at_step(run, game.step))
        checkpoints.prune(run)

    save.written, save.step, save.seconds = len(history), game.step, game.seconds
    by_steps = goal["steps"] < math.inf
    total = goal["steps"] if by_steps else goal["seconds"]
    unit = "step" if by_steps else "s"
    bar = tqdm(
        total=total, initial=game.step if by_steps else round(game.seconds), unit=unit, desc=run.name, mininterval=1
    )
    start = time.perf_counter() - game.seconds
    with stop_asked() as stop, bar:
        if not game.step:
            save()
        for pixels in order:
            if game.step >= goal["steps"] or game.seconds >= goal["seconds"] or stop.is_set():
                break
            history.append(game.play(pixels))
            game.seconds = time.perf_counter() - start
            row = history[-1]
            bar.update(1 if by_steps else min(total, round(game.seconds)) - bar.n)
            bar.set_postfix(step=game.step, D=f"{row['loss_d']:.2f}", G=f"{row['loss_g']:.2f}", refresh=False)
            if watch:
                watch(game, history)
            if (
                game.step % per_epoch == 0
                or game.step < per_epoch
                and (game.step & (game.step - 1)) == 0
                and game.step >= 16
            ):
                save()
        if save.step != game.step:
            save()
        if watch and history:
            watch(game, history, done=True)


def _cut_history(run: Path, step: int) -> list[dict]:
    """The rows up to `step`; later ones, from steps that were lost, are cut off the file too."""
    path = run / "history.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:step]] if step else []
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


@contextmanager
def stop_asked():
    """Within it SIGINT (Ctrl-C, the notebook's square) and SIGTERM only set the event it gives; a second interrupts."""
    asked, before = threading.Event(), {}

    def ask(number, frame):
        asked.set()
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse_old_run(run) -> None:
    """Raises FileExistsError if the folder holds a run: a new one would overwrite it."""
    if (Path(run) / "checkpoints").exists():
        raise FileExistsError(
            f"{run} holds a run already: go on with it (--resume, resume=True) or choose another name"
        )


def new_run(folder, name: str) -> Path:
    """-> `folder/name`, or `folder/name-2` and so on where that holds a run already."""
    run, number = Path(folder) / name, 2
    while (run / "checkpoints").exists():
        run, number = Path(folder) / f"{name}-{number}", number + 1
    return run


def load_generator(run) -> Generator:
    """A run's folder -> its generator, in eval mode. Raises CheckpointError if it is not a run's folder."""
    run = Path(run)
    try:
        recipe = recipes.from_json(json.loads((run / "recipe.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise checkpoints.CheckpointError(f"{run} is not a run's folder: it has no readable recipe.json") from None
    G = make_generator(recipe)
    G.load_state_dict(checkpoints.load(run / "G.pth"))
    return G.eval()
