"""Batches of faces become a trained generator: the losses, one step, the loop. Built in page 05."""

import copy
import io
import json
import math
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import Subset
from tqdm import tqdm

from . import checkpoints, fast, plotting, preprocess, recipes
from .device import generator
from .discriminator import Discriminator
from .generator import Generator
from .parallel import Team

# What a seed is used for: each use has random numbers of its own, so that none disturbs another.
WEIGHTS, NOISE, LABELS, FLIPS, FIXED, STATISTICS, SHIFTS = range(1, 8)
OWN = ("fused", "lr")  # of an optimiser: what belongs to the machine, or is set at each step
PARTS = {"opt_g": "G's optimiser", "opt_d": "D's optimiser", "averaged": "G's average"}  # of a game's state, in words


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


class Hinge:
    """D wants real pictures above 1 and fake ones below -1, and no more than that (arXiv:1705.02894)."""

    def d_loss(self, real_logits, fake_logits, generator=None):
        """(N,) logits of real and of fake pictures -> D's loss. An undecided D pays 2."""
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()

    def g_loss(self, fake_logits, real_logits):
        """(N,) logits -> G's loss: the higher D rates its fakes the better."""
        return -fake_logits.mean()

    def scores(self, real_logits, fake_logits):
        """(N,) logits -> the share of pictures that D calls real, of the real and of the fake ones."""
        return (real_logits > 0).float().mean(), (fake_logits > 0).float().mean()


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


def augment(pictures, generator):
    """(N, 3, H, W) -> the same, each tinted, shifted and with a square cut out; gradients pass (arXiv:2006.10738)."""
    count, _, height, width = pictures.shape
    bright, colour, contrast, *places = torch.rand(7, count, generator=generator).to(pictures.device)[:, :, None, None]
    pictures = pictures + (bright - 0.5)[:, None]
    grey = pictures.mean(1, keepdim=True)
    pictures = grey + (pictures - grey) * 2 * colour[:, None]
    mean = pictures.mean((1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * (contrast + 0.5)[:, None]
    shift_y, shift_x, cut_y, cut_x = places  # (N, 1, 1) each, from 0 to 1
    rows, columns = (torch.arange(n, device=pictures.device) for n in (height, width))
    y = rows[:, None] + (height // 4 * shift_y).round() - height // 8
    x = columns + (width // 4 * shift_x).round() - width // 8
    kept = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    kept &= ((rows[:, None] - height * cut_y).abs() > height / 4) | ((columns - width * cut_x).abs() > width / 4)
    flat = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)[:, None].expand(-1, 3, -1)
    return pictures.flatten(2).gather(2, flat).view_as(pictures) * kept[:, None]


def descend(opt, loss) -> None:
    """One step of an optimiser down a loss, in place."""
    opt.zero_grad()
    loss.backward()
    opt.step()


def train_step(G, D, opt_g, opt_d, real, z, loss=None, r1=0.0, generator=None, augment=None, descend=descend):
    """One step of both networks, in place: first D learns from real and fake, then G learns from D.

    real (N, 3, H, W) in [-1, 1] and z (N, z_dim) -> loss_d, loss_g, score_real, score_fake, without gradients.
    `r1` is the weight of the R1 penalty in this step; `augment` changes every picture before D sees it.
    """
    loss = loss or BCE()
    fake = G(z)  # made once, used in both turns
    seen = fake
    if augment:
        real, seen = augment(real), augment(fake)

    real_logits, fake_logits = D(real), D(seen.detach())  # D's turn: G must not learn from it
    loss_d = loss.d_loss(real_logits, fake_logits, generator)
    descend(opt_d, loss_d + r1 * r1_penalty(D, real) if r1 else loss_d)

    D.requires_grad_(False)  # G's turn: D is only asked
    loss_g = loss.g_loss(D(seen), real_logits.detach())
    descend(opt_g, loss_g)
    D.requires_grad_(True)

    return loss_d.detach(), loss_g.detach(), *loss.scores(real_logits.detach(), fake_logits.detach())


class Game:
    """All that changes while training: both networks, G's moving average, both optimisers, step and seconds.

    `speed` is what makes a step fast (the best for the device, if nothing is said), `team` who plays it together,
    `train_step` another step than the plain one, with the same arguments.
    """

    def __init__(
        self, recipe: recipes.Recipe, seed: int = 0, device="cpu", *, speed=None, team=None, train_step=train_step
    ):  # fmt: skip
        self.recipe, self.seed, self.device, self.step, self.seconds = recipe, seed, torch.device(device), 0, 0.0
        self.team = team or Team()
        self.speed = speed = speed or fast.best(self.device)
        self.train_step = train_step
        with torch.random.fork_rng():
            torch.manual_seed(generator(seed, WEIGHTS).initial_seed())
            self.G = make_generator(recipe)
            self.D = Discriminator(recipe.width, recipe.size, recipe.d_norm, recipe.d_norm_first, recipe.d_start)
        for net in (self.G, self.D):
            net.to(self.device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.G) if recipe.ema else None
        if self.team.size > 1 and self.device.type == "cuda":  # CPUs can't: there each share has its own statistics
            self.G, self.D = map(nn.SyncBatchNorm.convert_sync_batchnorm, (self.G, self.D))
        fused = {"fused": self.device.type in ("cuda", "cpu")}
        self.opt_g = torch.optim.Adam(self.G.parameters(), recipe.lr_g, recipe.betas, **fused)
        self.opt_d = torch.optim.Adam(self.D.parameters(), recipe.lr_d, recipe.betas, **fused)
        losses = {"bce": partial(BCE, recipe.real_labels, recipe.fake_labels), "hinge": Hinge}
        self.loss = losses.get(recipe.loss, Relativistic)()
        self.scaler = torch.amp.GradScaler(self.device.type) if speed.dtype == torch.float16 else None
        self.fast_nets = [fast.Fast(net, speed) if speed.dtype else net for net in (self.G, self.D)]

    def best_g(self) -> Generator:
        """-> the generator to draw with: the moving average, where the recipe has one.

        Averaged weights have other batch-norm statistics than the live ones: they are measured afresh.
        """
        if not self.averaged:
            return self.G
        codes = torch.randn(4, 64, self.recipe.z_dim, generator=generator(self.seed, STATISTICS))
        update_bn(codes.to(self.device), self.averaged)
        return self.averaged

    def advance(self, pixels) -> torch.Tensor:
        """One step on a whole batch of (N, H, W, 3) uint8 faces -> its four numbers, still on the device.

        Its noise depends on (seed, step) alone. A team's processes are all given the whole batch.
        """
        recipe, step, team = self.recipe, self.step, self.team
        if recipe.lr_fall:
            for opt, rate in ((self.opt_g, recipe.lr_g), (self.opt_d, recipe.lr_d)):
                opt.param_groups[0]["lr"] = rate * min(1, recipe.lr_fall / (step + 1)) ** 0.5
        if recipe.flip:
            pixels = preprocess.flip(pixels, generator(self.seed, FLIPS, step))
        z = torch.randn(len(pixels), recipe.z_dim, generator=generator(self.seed, NOISE, step))
        pixels, z = (team.share(whole).to(self.device, non_blocking=True) for whole in (pixels, z))
        numbers = self._update(pixels, z, recipe.r1 if step % recipe.r1_every == 0 else 0.0)
        if self.averaged:  # over the last tenth of the run, at most 1 / (1 - ema) steps
            weight = max(1 - recipe.ema, 10 / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.averaged.parameters()), list(self.G.parameters()), weight)
        self.step += 1
        return numbers

    def _update(self, pixels, z, r1):
        mine = (self.team.rank,) if self.team.rank else ()
        labels, shifts = (generator(self.seed, use, self.step, *mine) for use in (LABELS, SHIFTS))
        change = partial(augment, generator=shifts) if self.recipe.augment else None
        (G, D), real = self.fast_nets, preprocess.to_tensor(pixels)
        opts = self.opt_g, self.opt_d
        return torch.stack(self.train_step(G, D, *opts, real, z, self.loss, r1, labels, change, self._descend))

    def _descend(self, opt, loss) -> None:
        """`descend` with what the plain one lacks: float16's scaling, and the mean over the team."""
        opt.zero_grad()
        (self.scaler.scale(loss) if self.scaler else loss).backward()
        self.team.average(opt)
        if self.scaler:
            self.scaler.step(opt)
            self.scaler.update()
        else:
            opt.step()

    def told(self, numbers: list):
        """What `advance` gave for the last few steps -> their rows of the history, one by one.

        Raises FloatingPointError that names loss and step if a loss is not finite.
        """
        for i, values in enumerate(torch.stack(numbers).tolist() if numbers else []):
            row = {"step": self.step - len(numbers) + 1 + i}
            row |= dict(zip(("loss_d", "loss_g", "score_real", "score_fake"), values))
            for name in ("loss_d", "loss_g"):
                if not math.isfinite(row[name]):
                    raise FloatingPointError(f"{name} is {row[name]} at step {row['step']}: try a lower learning rate")
            yield row

    def play(self, pixels) -> dict:
        """One step on a batch of (N, H, W, 3) uint8 faces -> its numbers."""
        return next(self.told([self.advance(pixels)]))

    def begin_from(self, run) -> None:
        """Take both networks of a finished run as start weights (fine-tuning); step, average, optimisers begin anew.

        Raises CheckpointError if it is not a finished run, or its networks are of another kind than the recipe's.
        """
        then = read_recipe(run)
        for net, file in ((self.G, "G.pth"), (self.D, "D.pth")):
            weights = checkpoints.load(Path(run) / file)
            try:
                net.load_state_dict(weights)
            except (RuntimeError, TypeError) as error:
                has = f"recipe {then.name}, width {then.width}, codes of {then.z_dim} numbers"
                cure = "go on from it with its own recipe and sizes, or begin anew, without from_run"
                raise checkpoints.CheckpointError(f"{run} has other networks ({has}): {cure}") from error
        if self.averaged:
            self.averaged.load_state_dict(self.G.state_dict())

    def fixed_faces(self, count: int = 64) -> torch.Tensor:
        """-> (count, 3, H, W) faces of the same codes at every step: the frames of the film."""
        return sample(self.best_g(), count, self.seed, FIXED)

    def state(self) -> dict:
        """-> everything, for `checkpoints.save`."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        recipe = recipes.to_json(self.recipe)
        return {"recipe": recipe, "seed": self.seed, "step": self.step, "seconds": self.seconds, **parts}

    def restore(self, state: dict) -> None:
        """Everything back. Raises CheckpointError if it comes from another recipe or seed, or is not whole."""
        try:
            then, seed = recipes.from_json(state["recipe"]), state["seed"]
            same = (then, seed) == (self.recipe, self.seed)
            if same:
                for name, part in self._parts().items():
                    own = {key: part.param_groups[0][key] for key in OWN} if name.startswith("opt") else {}
                    part.load_state_dict(state[name])
                    if own:  # another machine's way to step is not this one's
                        part.param_groups[0].update(own)
                self.step, self.seconds = state["step"], state["seconds"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoints.CheckpointError(f"the checkpoint is of another kind ({error!r}): train again") from error
        if not same:
            begun = f"the run was begun with another recipe or seed ({then}, seed {seed})"
            raise checkpoints.CheckpointError(f"{begun}: resume with the same")

    def _parts(self) -> dict:
        parts = {"G": self.G, "D": self.D, "opt_g": self.opt_g, "opt_d": self.opt_d}
        more = {"averaged": self.averaged, "scaler": self.scaler}
        return parts | {name: part for name, part in more.items() if part}


def make_generator(recipe: recipes.Recipe) -> Generator:
    """A recipe -> its generator, with fresh weights."""
    return Generator(recipe.width, recipe.z_dim, recipe.size, recipe.g_activation)


def codes(count: int, z_dim: int, *seed: int) -> torch.Tensor:
    """A seed -> (count, z_dim) codes from N(0, 1)."""
    return torch.randn(count, z_dim, generator=generator(*(seed or (0,))))


@torch.no_grad()
def paint(G, codes) -> torch.Tensor:
    """A generator and codes (N, z_dim) -> their faces, (N, 3, H, W). G is left as it was, batch-norm statistics too."""
    was_training, device = G.training, next(G.parameters()).device
    G.eval()
    faces = torch.cat([G(part.to(device)).cpu() for part in codes.split(256)])
    G.train(was_training)
    return faces


def sample(G, count: int = 64, *seed: int) -> torch.Tensor:
    """A generator and a seed -> (count, 3, H, W) faces."""
    return paint(G, codes(count, G.z_dim, *seed))


def train(
    recipe, faces, run, *, steps=None, epochs=None, minutes=None, seed=0, device="cpu", resume=False, from_run=None,
    watch=None, workers=0, speed=None, team=None,
) -> Game:  # fmt: skip
    """Play the game on a `Prepared` set (or any dataset of uint8 batches) until `steps`, `epochs` or `minutes` in all.

    Without any of them the recipe says how long. The run's folder gets recipe.json, history.jsonl, grids, checkpoints,
    and at the end G.pth and D.pth. `resume` goes on from the newest checkpoint; `from_run` begins a new run with the
    networks of a finished one (on another set of faces, say). Stop (the notebook's square, Ctrl-C) ends after the step
    at hand and saves. `watch(game, history)` is called when the history grows, lastly with `done=True`.
    `speed` and `team` are those of `Game`; of a team, each process calls `train`, and the first one writes.
    Raises FileExistsError if the run exists and `resume` is not asked for.
    """
    if resume and from_run:
        raise ValueError("a run either goes on (resume) or begins from another one (from_run): choose one")
    if minutes is not None and not minutes > 0:
        raise ValueError(f"minutes is {minutes}: it must be above 0")
    if recipe.held_out:
        faces = Subset(faces, preprocess.split(len(faces), recipe.held_out)[0])
    game = Game(recipe, seed, device, speed=speed, team=team)
    team = game.team
    with team.one_first():
        if resume:
            state = checkpoints.newest(run)
            if state.get("pictures") != len(faces):
                begun = f"{run} was begun with {state.get('pictures')} pictures, not {len(faces)}"
                raise checkpoints.CheckpointError(f"{begun}: resume with the same data")
            game.restore(state)
        elif not team.rank:
            refuse_old_run(run)
        if from_run:
            game.begin_from(from_run)
    faces = fast.resident(faces, game.device)
    batches = preprocess.batches(faces, recipe.batch, seed, game.step, workers)  # checks the number of pictures, too
    per_epoch = len(batches)
    if minutes is None:
        steps = steps or (epochs or 0) * per_epoch or recipe.steps or recipe.epochs * per_epoch
        if not steps:
            raise ValueError(f"recipe {recipe.name} does not say how long to train: give steps, epochs or minutes")
        total, done, unit = steps, lambda: game.step, "step"
    else:
        total, done, unit = 60 * minutes, lambda: game.seconds, "s"
    folder = _Elsewhere() if team.rank else RunFolder(run, game, len(faces))
    bar = tqdm(total=total, initial=round(done()), unit=unit, desc=Path(run).name, mininterval=1, disable=team.rank > 0)
    start, fresh = time.perf_counter() - game.seconds, []

    def fetch():
        for row in game.told(fresh):
            folder.history.append(row)
        fresh.clear()

    with stop_asked() as stop, bar:
        if not game.step:
            folder.save()
        try:
            for pixels in batches:
                if team.any(done() >= total or stop.is_set()):
                    break
                fresh.append(game.advance(pixels))
                game.seconds = time.perf_counter() - start
                bar.update(min(total, round(done())) - bar.n)
                # 16, 32, 64 ...: the film's first frames, and the checkpoints that are kept as milestones
                doubled = game.step >= 16 and game.step.bit_count() == 1
                save = doubled or game.step % per_epoch == 0 or game.seconds - folder.saved_at > 120
                if save or len(fresh) >= game.speed.fetch:
                    fetch()
                    last = folder.history[-1]
                    told = {"D": f"{last['loss_d']:.2f}", "G": f"{last['loss_g']:.2f}"}
                    bar.set_postfix(step=game.step, **told, refresh=False)
                    if watch:
                        watch(game, folder.history)
                if save:
                    folder.save()
            fetch()
        except BaseException:
            with suppress(checkpoints.CheckpointError):
                folder.write_history()  # what led to it can be read there
            raise
        folder.finish()
        if watch and folder.history:
            watch(game, folder.history, done=True)
    return game


class _Elsewhere:
    """In place of the run's folder in a process that does not write."""

    saved_at = math.inf

    def __init__(self):
        self.history = []

    def save(self):
        """Nothing is written here."""

    write_history = finish = save


class RunFolder:
    """The folder of a run: what is kept of a game, and where. Rows of steps that were lost are cut off its history."""

    def __init__(self, path, game: Game, pictures: int):
        self.path, self.game, self.pictures = Path(path), game, pictures
        self.file = self.path / "history.jsonl"
        self.history, self.saved_step = self._kept_history(), game.step
        self.saved_at = game.seconds
        recipe = json.dumps(recipes.to_json(game.recipe), indent=1)
        checkpoints.write_whole(self.path / "recipe.json", recipe.encode())
        checkpoints.write_whole(self.file, "".join(json.dumps(row) + "\n" for row in self.history).encode())
        self.written = len(self.history)

    def _kept_history(self) -> list[dict]:
        rows = []
        if self.game.step and self.file.exists():
            for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:  # torn by a power cut; the steps themselves are in the checkpoint
                    break
        return [row for row in rows if row["step"] <= self.game.step]

    def write_history(self) -> None:
        """Append the new rows to history.jsonl."""
        try:
            with open(self.file, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in self.history[self.written :])
        except OSError as error:
            told = f"{self.file} can't be written ({error.strerror or error}): free some space, then resume"
            raise checkpoints.CheckpointError(told) from error
        self.written = len(self.history)

    def save(self) -> None:
        """A sheet of 64 faces, the new rows of the history, a checkpoint; nothing of a game that is not finite."""
        game, sheet = self.game, io.BytesIO()
        faces, state = game.fixed_faces(), game.state()
        for name, part in state.items():
            if not _finite(part):
                told = f"{PARTS.get(name, name)} is not finite at step {game.step}: try a lower learning rate"
                raise FloatingPointError(told)
        plotting.grid(faces, 8).save(sheet, "PNG")
        checkpoints.write_whole(self.path / "grids" / f"step_{game.step:08d}.png", sheet.getvalue())
        self.write_history()
        checkpoints.save(state | {"pictures": self.pictures}, checkpoints.at_step(self.path, game.step))
        checkpoints.prune(self.path)
        self.saved_at, self.saved_step = game.seconds, game.step

    def finish(self) -> None:
        """The last state, and both networks as files of their own: G.pth (the one to draw with) and D.pth."""
        if self.saved_step != self.game.step:
            self.save()
        checkpoints.save(self.game.best_g().state_dict(), self.path / "G.pth")
        checkpoints.save(self.game.D.state_dict(), self.path / "D.pth")


def _finite(part) -> bool:
    if isinstance(part, dict):
        return all(map(_finite, part.values()))
    return not isinstance(part, torch.Tensor) or bool(part.isfinite().all())


def write_pictures(run) -> list[Path]:
    """A finished run's folder -> what the sources show of theirs, written into it.

    losses.png and scores.png (a point a step), film.gif (64 fixed codes, a frame a sheet), samples_1.png and
    samples_2.png (64 new faces each).
    """
    run, G, history, figures = Path(run), load_generator(run), plotting.history(run), {}
    if history:  # a run that was stopped before its first step has none
        figures = {"losses.png": plotting.show_losses(history), "scores.png": plotting.show_scores(history)}
    for number in (1, 2):
        told = f"64 new faces, from seed {number}."
        figures[f"samples_{number}.png"] = plotting.show_grid(sample(G, 64, number), told, 8, zoom=2)
    return [figure.save(run / name) for name, figure in figures.items()] + [plotting.film(run, run / "film.gif")]


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
    if checkpoints.saved(run):
        cure = "go on with it (--resume, resume=True) or choose another name"
        raise FileExistsError(f"{run} holds a run already: {cure}")


def new_run(folder, name: str) -> Path:
    """-> `folder/name`, or `folder/name-2` and so on where that holds a run already."""
    run, number = Path(folder) / name, 2
    while (run / "checkpoints").exists():
        run, number = Path(folder) / f"{name}-{number}", number + 1
    return run


def read_recipe(run) -> recipes.Recipe:
    """A run's folder -> its recipe. Raises CheckpointError if it is not a run's folder."""
    try:
        return recipes.from_json(json.loads((Path(run) / "recipe.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise checkpoints.CheckpointError(f"{run} is not a run's folder: it has no readable recipe.json") from None


@torch.random.fork_rng(devices=[])  # start weights are drawn, then replaced
def load_generator(run) -> Generator:
    """A run's folder -> its generator, in eval mode. Raises CheckpointError if it is not a finished run's folder."""
    G, weights = make_generator(read_recipe(run)), checkpoints.load(Path(run) / "G.pth")
    try:
        G.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise checkpoints.CheckpointError(f"{run}/G.pth does not fit {run}/recipe.json: train again") from error
    return G.eval()
