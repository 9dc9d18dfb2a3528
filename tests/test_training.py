"""training: the losses, one step, the loop."""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import flat
from PIL import Image
from torch import nn

from animegan_helpers import checkpoints, plotting, preprocess, recipes, training
from animegan_helpers.device import generator

SMALL = {"width": 4, "z_dim": 8, "batch": 4, "size": 16}
OURS = recipes.get("default", **SMALL, r1_every=3)
PLAIN = recipes.get("bce", **SMALL)
NOISY = recipes.get("noisy-labels", **SMALL, flip=True, ema=0.9)
HINGE = recipes.get("bce", **SMALL, loss="hinge", d_norm="spectral", augment=True)


def play(game, faces, steps):
    order = iter(preprocess.batches(faces, game.recipe.batch, game.seed, game.step))
    return [game.play(next(order)) for _ in range(steps)]


def step_inputs(seed=0):
    torch.manual_seed(seed)
    game = training.Game(PLAIN, seed)
    return game, torch.rand(4, 3, 16, 16) * 2 - 1, torch.randn(4, 8)


def bits(game):
    return flat({name: part for name, part in game.state().items() if name != "seconds"})


def live(game):
    """All bits but the average's batch-norm statistics, which are measured when they are needed."""
    measured = ("running_mean", "running_var", "num_batches_tracked")
    return {path: leaf for path, leaf in bits(game).items() if "averaged" not in path or not path.endswith(measured)}


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# ---- losses ----


def test_an_undecided_discriminator_costs_2_ln_2_or_ln_2_where_pairs_are_judged():
    zeros = torch.zeros(8)
    assert training.BCE().d_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert training.BCE().g_loss(zeros, zeros).item() == pytest.approx(math.log(2))
    for loss in (training.Relativistic().d_loss, training.Relativistic().g_loss):
        assert loss(zeros + 3, zeros + 3).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [training.BCE(), training.Relativistic()])
def test_a_discriminator_that_is_right_costs_little_and_pleases_g_little(loss):
    high, low = torch.full((4,), 9.0), torch.full((4,), -9.0)
    assert loss.d_loss(high, low) < 0.001 < 8 < loss.d_loss(low, high)
    assert loss.g_loss(high, low) < 0.001 < 8 < loss.g_loss(low, high)


@pytest.mark.parametrize("loss", [training.BCE(), training.Relativistic()])
def test_scores_are_probabilities_and_a_half_is_undecided(loss):
    assert [s.item() for s in loss.scores(torch.zeros(4), torch.zeros(4))] == [0.5, 0.5]
    real, fake = loss.scores(torch.full((4,), 3.0), torch.full((4,), -3.0))
    assert 0.9 < real <= 1 and 0 <= fake < 0.1


def test_hinge_asks_d_for_its_margins_and_no_more():
    loss, zeros = training.Hinge(), torch.zeros(8)
    assert loss.d_loss(zeros, zeros).item() == 2
    assert loss.d_loss(zeros + 1, zeros - 1).item() == loss.d_loss(zeros + 9, zeros - 9).item() == 0
    assert loss.d_loss(zeros - 2, zeros + 3).item() == 3 + 4
    assert loss.g_loss(zeros + 5, None).item() == -5


def test_hinges_gradients_reach_only_the_pictures_within_the_margins():
    loss, real, fake = training.Hinge(), torch.tensor([2.0, 0.5, -3, 7]), torch.tensor([-2.0, 0.5, 3, -7])
    for logits in (real, fake):
        logits.requires_grad_()
    loss.d_loss(real, fake).backward()
    assert real.grad.tolist() == [0, -0.25, -0.25, 0] and fake.grad.tolist() == [0, 0.25, 0.25, 0]
    fake.grad = None
    loss.g_loss(fake, real).backward()
    assert fake.grad.tolist() == [-0.25] * 4, "G is never content"


def test_hinges_scores_are_the_shares_that_d_calls_real():
    scores = training.Hinge().scores(torch.tensor([0.1, 5, 0, -1]), torch.tensor([-0.1, -5, 0, 0.2]))
    assert [score.item() for score in scores] == [0.5, 0.25]


def real_label(seed, loss):
    """The label that was drawn, worked out from what a single real picture costs."""
    cost = loss.d_loss(torch.tensor([10.0]), torch.tensor([0.0]), torch.Generator().manual_seed(seed)).item()
    return (math.log1p(math.exp(10)) + math.log(2) - cost) / 10


def test_noisy_labels_stay_in_their_range_fill_it_and_are_seeded():
    loss = training.BCE(real=(0.8, 1.0), fake=(0.0, 0.2))
    labels = [real_label(seed, loss) for seed in range(100)]
    assert 0.8 <= min(labels) + 1e-4 and max(labels) <= 1 + 1e-4
    assert min(labels) < 0.83 and max(labels) > 0.97
    assert real_label(7, loss) == real_label(7, loss)
    assert real_label(7, training.BCE()) == pytest.approx(1, abs=1e-4)


def test_r1_of_a_linear_discriminator_is_its_squared_weights():
    D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1), nn.Flatten(0))
    real = torch.randn(5, 3, 4, 4)
    assert training.r1_penalty(D, real).item() == pytest.approx(D[1].weight.square().sum().item(), rel=1e-5)
    assert not real.requires_grad, "the caller's pictures are left as they were"


# ---- DiffAugment ----


def augmented(pictures, monkeypatch, bright=0.5, colour=0.5, contrast=0.5, y=0.5, x=0.5, cut_y=9.0, cut_x=9.0):
    """`augment` with its random numbers chosen: a half changes nothing, and a cut around 9 lies outside."""
    chosen = torch.tensor([bright, colour, contrast, y, x, cut_y, cut_x])[:, None].expand(-1, len(pictures))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *shape, generator: chosen)
        return training.augment(pictures, None)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 64, 64, generator=generator(1)) * 2 - 1


def test_in_the_middle_of_its_range_nothing_is_changed(pictures, monkeypatch):
    assert torch.allclose(augmented(pictures, monkeypatch), pictures, atol=1e-6)


def test_a_picture_is_tinted_as_the_paper_says(pictures, monkeypatch):
    for number, shift in ((0.0, -0.5), (1.0, 0.5)):
        assert torch.allclose(augmented(pictures, monkeypatch, bright=number), pictures + shift, atol=1e-6)
    grey, mean = pictures.mean(1, keepdim=True), pictures.mean((1, 2, 3), keepdim=True)
    for number, times in ((0.0, 0.0), (1.0, 2.0)):
        expected = grey + times * (pictures - grey)
        assert torch.allclose(augmented(pictures, monkeypatch, colour=number), expected, atol=1e-5)
    for number, times in ((0.0, 0.5), (1.0, 1.5)):
        expected = mean + times * (pictures - mean)
        assert torch.allclose(augmented(pictures, monkeypatch, contrast=number), expected, atol=1e-5)


def test_a_picture_is_shifted_by_an_eighth_at_most_and_what_comes_in_is_zero(pictures, monkeypatch):
    down, right = (augmented(pictures, monkeypatch, **shift) for shift in ({"y": 0.0}, {"x": 0.0}))
    assert torch.allclose(down[:, :, 8:], pictures[:, :, :-8], atol=1e-6) and not down[:, :, :8].any()
    assert torch.allclose(right[..., 8:], pictures[..., :-8], atol=1e-6) and not right[..., :8].any()
    up = augmented(pictures, monkeypatch, y=1.0)
    assert torch.allclose(up[:, :, :-8], pictures[:, :, 8:], atol=1e-6) and not up[:, :, -8:].any()


@pytest.mark.parametrize("place", [0.5, 0.37, 0.61])
def test_the_cut_is_half_as_wide_and_high_as_the_picture(place, pictures, monkeypatch):
    cut = augmented(pictures, monkeypatch, cut_y=place, cut_x=place) == 0
    for axis in (1, 2):
        assert set(cut.all(1).any(axis).sum(1).tolist()) <= {32, 33}
    corner = augmented(pictures, monkeypatch, cut_y=0.0, cut_x=0.0) == 0
    assert set(corner.sum((1, 2, 3)).tolist()) <= {3 * 16**2, 3 * 17**2}


def test_a_fifth_of_all_pixels_is_cut_away():
    changed = training.augment(torch.full((4000, 3, 16, 16), 9.0), generator(2))
    inner = changed[:, 0, 2:-2, 2:-2]  # no shift reaches these; the cut's middle lies anywhere
    away = (inner == 0).float().mean().item()
    # on each axis, a pixel at p is cut if the middle, evenly from 0 to 1, is within a quarter of it
    axis = np.mean([min(1, p / 16 + 0.25) - max(0, p / 16 - 0.25) for p in range(2, 14)])
    assert away == pytest.approx(axis**2, abs=0.01)


def test_augmenting_follows_its_generator_and_changes_each_picture_in_its_own_way():
    same = torch.rand(1, 3, 16, 16, generator=generator(1)).expand(16, -1, -1, -1)
    rng = torch.get_rng_state()
    one, again, other = (training.augment(same, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other) and torch.equal(torch.get_rng_state(), rng)
    assert len(one.unique(dim=0)) == 16
    assert one.shape == same.shape and one.dtype == same.dtype and one.isfinite().all()


def test_gradients_reach_every_picture_through_its_changes():
    pictures = (torch.rand(8, 3, 16, 16, generator=generator(1)) * 2 - 1).requires_grad_()
    changed = training.augment(pictures, generator(3))
    (gradient,) = torch.autograd.grad(changed.square().sum(), pictures)
    assert gradient.isfinite().all() and gradient.abs().sum((1, 2, 3)).min() > 0


def test_d_sees_real_and_fake_pictures_augmented_in_both_turns_and_g_learns_through_it():
    game, real, z = step_inputs()
    fake, seen, gradients = game.G(z).detach(), [], []
    game.D.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    game.opt_g.register_step_post_hook(lambda *_: gradients.extend(p.grad.abs().sum() for p in game.G.parameters()))
    training.train_step(game.G, game.D, game.opt_g, game.opt_d, real, z, augment=lambda pictures: pictures / 2 + 0.1)
    assert len(seen) == 3
    for pictures, expected in zip(seen, (real, fake, fake)):
        assert torch.allclose(pictures, expected / 2 + 0.1, atol=1e-6)
    assert seen[2].requires_grad and not seen[1].requires_grad and min(gradients) > 0


def test_a_recipe_says_whether_pictures_are_augmented_each_step_in_another_way(faces, monkeypatch):
    seeds, augment = [], training.augment
    monkeypatch.setattr(
        training, "augment", lambda p, generator: (seeds.append(generator.initial_seed()), augment(p, generator))[1]
    )
    play(training.Game(PLAIN), faces, 2)
    assert not seeds
    play(training.Game(HINGE), faces, 2)
    assert len(seeds) == 4 and len(set(seeds)) == 2  # real and fake pictures of two steps


# ---- one step ----


def g_learns_in_ds_turn(step):
    """Play a step; -> whether G had gradients when D's turn ended."""
    game, real, z = step_inputs()
    seen = []
    game.opt_d.register_step_post_hook(lambda *_: seen.append(any(p.grad is not None for p in game.G.parameters())))
    step(game.G, game.D, game.opt_g, game.opt_d, real, z)
    return seen[0]


def test_ds_turn_leaves_gs_gradients_alone():
    assert not g_learns_in_ds_turn(training.train_step)


def test_the_check_above_finds_a_forgotten_detach():
    def step(G, D, opt_g, opt_d, real, z):
        training.BCE().d_loss(D(real), D(G(z))).backward()
        opt_d.step()

    assert g_learns_in_ds_turn(step)


def test_gs_turn_leaves_ds_weights_and_gradients_alone_and_thaws_it():
    game, real, z = step_inputs()
    seen = []
    game.opt_d.register_step_post_hook(
        lambda *_: seen.append([(p.clone(), p.grad.clone()) for p in game.D.parameters()])
    )
    training.train_step(game.G, game.D, game.opt_g, game.opt_d, real, z)
    for (weight, gradient), p in zip(seen[0], game.D.parameters()):
        assert torch.equal(weight, p) and torch.equal(gradient, p.grad) and p.requires_grad


def test_gs_gradients_come_from_its_own_loss_alone():
    game, real, z = step_inputs()
    G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
    training.train_step(game.G, game.D, game.opt_g, game.opt_d, real, z)
    fake = G(z)  # the same by hand: D's turn first, then the gradient of G's loss
    opt_d = torch.optim.Adam(D.parameters(), PLAIN.lr_d, PLAIN.betas)
    training.BCE().d_loss(D(real), D(fake.detach())).backward()
    opt_d.step()
    gradients = torch.autograd.grad(training.BCE().g_loss(D(fake), None), G.parameters())
    for gradient, p in zip(gradients, game.G.parameters()):
        assert torch.allclose(gradient, p.grad, rtol=1e-3, atol=1e-7)


def test_gradients_do_not_pile_up_from_step_to_step():
    game, real, z = step_inputs()
    for net in (game.G, game.D):
        for p in net.parameters():
            p.grad = torch.full_like(p, 1e6)
    training.train_step(game.G, game.D, game.opt_g, game.opt_d, real, z)
    assert max(p.grad.abs().max() for net in (game.G, game.D) for p in net.parameters()) < 1e3


@pytest.mark.parametrize("recipe", [OURS, PLAIN, NOISY, HINGE])
def test_fakes_are_made_once_a_step(recipe, faces):
    game, calls = training.Game(recipe), []
    game.G.register_forward_hook(lambda *_: calls.append(1))
    play(game, faces, 3)
    assert len(calls) == 3


def test_the_numbers_of_a_step_have_no_gradients_and_both_networks_move():
    game, real, z = step_inputs()
    before = copy.deepcopy([game.G, game.D])
    numbers = training.train_step(game.G, game.D, game.opt_g, game.opt_d, real, z)
    assert len(numbers) == 4 and not any(number.requires_grad for number in numbers)
    for old, new in zip(before, (game.G, game.D)):
        assert all(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters()))


# ---- the game ----


def test_a_seed_decides_the_start_and_disturbs_no_other_randomness():
    before = torch.get_rng_state()
    one, two, other = training.Game(OURS, 1), training.Game(OURS, 1), training.Game(OURS, 2)
    assert bits(one) == bits(two)
    assert not torch.equal(next(one.G.parameters()), next(other.G.parameters()))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_average_follows_the_formula(faces):
    game = training.Game(replace(OURS, ema=0.2))
    order, expected = iter(preprocess.batches(faces, 4)), None
    for share in (1, 10 / 11, 10 / 12, 0.8, 0.8):  # 10 / (10 + n), but never less than 1 - ema
        game.play(next(order))
        now = [p.detach().clone() for p in game.G.parameters()]
        expected = now if expected is None else [old + share * (new - old) for old, new in zip(expected, now)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(game.best_g().parameters(), expected))


def test_the_averages_statistics_are_measured_on_its_own_features(faces):
    game = training.Game(OURS)
    play(game, faces, 3)
    best = game.best_g()
    codes = torch.randn(4, 64, 8, generator=generator(0, training.STATISTICS)).flatten(0, 1)
    features = best.net[0](codes[:, :, None, None])
    assert torch.allclose(best.net[1].running_mean, features.mean((0, 2, 3)), atol=1e-5)
    assert flat(best.state_dict()) == flat(game.best_g().state_dict()), "asking again changes nothing"


def test_without_an_average_the_generator_itself_draws():
    game = training.Game(PLAIN)
    assert game.best_g() is game.G


def test_r1_is_taken_on_its_steps_only(faces, monkeypatch):
    game, taken = training.Game(OURS), []
    penalty = training.r1_penalty
    monkeypatch.setattr(training, "r1_penalty", lambda D, real: taken.append(game.step) or penalty(D, real))
    play(game, faces, 7)
    assert taken == [0, 3, 6]


@pytest.mark.parametrize("recipe", [OURS, PLAIN])
def test_previews_touch_neither_statistics_nor_random_numbers(recipe, faces):
    game = training.Game(recipe)
    play(game, faces, 1)
    before, rng = live(game), torch.get_rng_state()
    first, second = game.fixed_faces(5), game.fixed_faces(5)
    assert torch.equal(first, second) and first.shape == (5, 3, 16, 16) and not first.requires_grad
    assert live(game) == before and torch.equal(torch.get_rng_state(), rng)
    assert game.G.training and game.D.training


def test_rates_stay_or_fall_with_the_root_of_the_step(faces):
    for lr_fall, shares in ((0, [1] * 8), (4, [1, 1, 1, 1, (4 / 5) ** 0.5, (4 / 6) ** 0.5, (4 / 7) ** 0.5, 0.5**0.5])):
        game, rates = training.Game(replace(OURS, lr_g=1e-3, lr_d=3e-3, lr_fall=lr_fall)), []
        for opt in (game.opt_g, game.opt_d):
            opt.register_step_pre_hook(lambda opt, *_, rates=rates: rates.append(opt.param_groups[0]["lr"]))
        play(game, faces, 8)
        assert rates[::2] == pytest.approx([3e-3 * share for share in shares])  # D's turn comes first
        assert rates[1::2] == pytest.approx([1e-3 * share for share in shares])


def test_sampling_depends_on_the_seed_alone():
    G = training.Game(PLAIN).G
    assert torch.equal(training.sample(G, 4, 3), training.sample(G, 4, 3))
    assert not torch.equal(training.sample(G, 4, 3), training.sample(G, 4, 4))
    assert training.sample(G, 300).shape == (300, 3, 16, 16)


# ---- a run ----


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """Uncut runs of ten steps, made once: recipe -> its game and folder."""
    made = {}

    def run(recipe):
        if recipe not in made:
            folder = tmp_path_factory.mktemp("run")
            made[recipe] = training.train(recipe, faces, folder, steps=10, seed=3), folder
        return made[recipe]

    return run


def test_a_run_leaves_its_recipe_history_grids_checkpoints_and_networks(whole):
    game, run = whole(OURS)
    steps = ("00000000", "00000004", "00000008", "00000010")  # an epoch has four
    assert names(run) == sorted(
        ["D.pth", "G.pth", "history.jsonl", "recipe.json", *(f"grids/step_{step}.png" for step in steps)]
        + [f"checkpoints/step_{step}.pt" for step in steps[1:]]  # the last three are kept
    )
    assert recipes.from_json(json.loads((run / "recipe.json").read_text())) == OURS
    with Image.open(run / "grids" / "step_00000010.png") as grid:
        assert grid.size == (8 * 18 + 2, 8 * 18 + 2)


def test_the_history_has_a_finite_row_for_every_step(whole):
    history = plotting.history(whole(OURS)[1])
    assert history["step"].tolist() == list(range(1, 11))
    assert set(history) >= {"loss_d", "loss_g", "score_real", "score_fake"}
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(((0 <= history[key]) & (history[key] <= 1)).all() for key in ("score_real", "score_fake"))


@pytest.mark.parametrize("recipe", [OURS, PLAIN])
def test_g_pth_is_the_generator_to_draw_with(recipe, whole):
    game, run = whole(recipe)
    G = training.load_generator(run)
    assert flat(G.state_dict()) == flat(game.best_g().state_dict())
    assert not G.training and torch.equal(training.sample(G, 4, 1), training.sample(game.best_g(), 4, 1))
    assert flat(checkpoints.load(run / "D.pth")) == flat(game.D.state_dict())


@pytest.mark.parametrize("cut", [1, 4, 7])
@pytest.mark.parametrize("recipe", [OURS, NOISY, PLAIN, HINGE], ids=["ours", "noisy", "plain", "hinge"])
def test_a_run_cut_anywhere_and_resumed_ends_bit_for_bit_like_the_uncut_one(recipe, cut, whole, faces, tmp_path):
    training.train(recipe, faces, tmp_path, steps=cut, seed=3)
    game = training.train(recipe, faces, tmp_path, steps=10, seed=3, resume=True)
    uncut, run = whole(recipe)
    assert bits(game) == bits(uncut)
    for name in ("history.jsonl", "grids/step_00000010.png"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    for name in ("G.pth", "D.pth"):
        assert flat(checkpoints.load(tmp_path / name)) == flat(checkpoints.load(run / name))


def test_a_killed_run_goes_on_and_ends_like_the_uncut_one(whole, faces, tmp_path):
    code = f"""
import os, signal
from animegan_helpers import preprocess, recipes, training
faces = preprocess.Prepared({str(faces.folder)!r})
training.train(recipes.get("default", **{SMALL}, r1_every=3), faces, {str(tmp_path)!r}, steps=10, seed=3,
               watch=lambda game, history: game.step == 6 and os.kill(os.getpid(), signal.SIGKILL))"""
    died = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert died.returncode == -signal.SIGKILL
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"step": 5, "loss_d": 99}\n{"step": 6, "lo')  # the kernel's last words, cut
    game = training.train(OURS, faces, tmp_path, steps=10, seed=3, resume=True)
    uncut, run = whole(OURS)
    assert bits(game) == bits(uncut)
    assert (tmp_path / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_changes_nothing(whole, faces, tmp_path):
    training.train(PLAIN, faces, tmp_path, steps=8, seed=3)
    checkpoints.at_step(tmp_path, 8).write_bytes(b"cut")
    with pytest.warns(UserWarning, match="step_00000008"):
        game = training.train(PLAIN, faces, tmp_path, steps=10, seed=3, resume=True)
    uncut, run = whole(PLAIN)
    assert bits(game) == bits(uncut)
    assert (tmp_path / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()


def test_a_finished_run_that_is_resumed_does_nothing(faces, tmp_path):
    first = training.train(PLAIN, faces, tmp_path, steps=4)
    files = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    saved = checkpoints.at_step(tmp_path, 4).stat().st_mtime_ns
    again = training.train(PLAIN, faces, tmp_path, steps=4, resume=True)
    assert bits(again) == bits(first) and checkpoints.at_step(tmp_path, 4).stat().st_mtime_ns == saved
    assert {name for name in names(tmp_path) if (tmp_path / name).read_bytes() != files[name]} <= {"G.pth", "D.pth"}
    assert names(tmp_path) == list(files)


@pytest.mark.parametrize("change", [{"recipe": replace(PLAIN, lr_g=1e-3)}, {"recipe": OURS}, {"seed": 4}])
def test_a_run_is_not_resumed_with_another_recipe_or_seed(change, faces, tmp_path):
    training.train(PLAIN, faces, tmp_path, steps=1, seed=3)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(checkpoints.CheckpointError, match="another recipe or seed"):
        training.train(**{"recipe": PLAIN, "faces": faces, "run": tmp_path, "seed": 3} | change, steps=2, resume=True)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_a_folder_that_holds_a_run_is_not_overwritten(faces, tmp_path):
    training.train(PLAIN, faces, tmp_path, steps=1)
    with pytest.raises(FileExistsError, match="--resume"):
        training.train(PLAIN, faces, tmp_path, steps=1)


def test_new_runs_number_up(tmp_path):
    for name in ("first", "first-2", "first-3"):
        assert training.new_run(tmp_path, "first") == tmp_path / name
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert training.new_run(tmp_path, "second") == tmp_path / "second"


def test_a_folder_that_holds_no_run_is_named(tmp_path, faces):
    with pytest.raises(checkpoints.CheckpointError, match=tmp_path.name):
        training.load_generator(tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match=tmp_path.name):
        training.train(PLAIN, faces, tmp_path, steps=1, resume=True)


@pytest.mark.parametrize("recipe", ["no json", "[]", '{"name": "x", "about": "y", "width": "wide"}'])
def test_a_run_whose_recipe_is_damaged_is_named(recipe, tmp_path):
    (tmp_path / "recipe.json").write_text(recipe)
    with pytest.raises(checkpoints.CheckpointError, match=tmp_path.name):
        training.load_generator(tmp_path)


def test_a_generator_that_does_not_fit_its_recipe_is_named(faces, tmp_path):
    training.train(PLAIN, faces, tmp_path, steps=1)
    (tmp_path / "recipe.json").write_text(json.dumps(recipes.to_json(replace(PLAIN, width=8))))
    with pytest.raises(checkpoints.CheckpointError, match="G.pth"):
        training.load_generator(tmp_path)


# ---- a run that begins with another's networks ----


@pytest.mark.parametrize("recipe", [OURS, PLAIN, HINGE], ids=["ours", "plain", "hinge"])
def test_fine_tuning_begins_with_the_networks_of_the_run_and_all_else_anew(recipe, whole, faces, tmp_path):
    _, run = whole(recipe)
    G, D = (flat(checkpoints.load(run / name)) for name in ("G.pth", "D.pth"))
    training.train(recipe, faces, tmp_path, steps=1, seed=7, from_run=run)
    start = checkpoints.load(checkpoints.at_step(tmp_path, 0))
    assert (start["step"], start["seconds"], start["seed"]) == (0, 0, 7)
    assert flat(start["G"]) == G and flat(start["D"]) == D
    if recipe.ema:
        assert all(value == G[name] for name, value in flat(start["averaged"]).items() if "running" not in name)
    assert not start["opt_g"]["state"] and not start["opt_d"]["state"]
    assert plotting.history(tmp_path)["step"].tolist() == [1]


def test_fine_tuning_moves_the_weights_it_began_with(whole, faces, tmp_path):
    game = training.train(OURS, faces, tmp_path, steps=2, from_run=whole(OURS)[1])
    before = checkpoints.load(whole(OURS)[1] / "G.pth")
    assert all(not torch.equal(weight, before[name]) for name, weight in game.G.named_parameters())


@pytest.mark.parametrize("change", [{"width": 8}, {"z_dim": 9}, {"size": 32}, {"d_norm": "batch"}])
def test_a_run_with_other_networks_is_refused_with_both_ways_out(change, whole, tmp_path):
    _, run = whole(OURS)
    with pytest.raises(checkpoints.CheckpointError) as told:
        training.Game(replace(OURS, **change)).begin_from(run)
    for word in (str(run), "recipe default, width 4, codes of 8 numbers", "with its own recipe", "from_run"):
        assert word in str(told.value)


def test_a_refused_beginning_leaves_no_folder(whole, faces, tmp_path):
    with pytest.raises(checkpoints.CheckpointError):
        training.train(replace(OURS, width=8), faces, tmp_path / "new", steps=1, from_run=whole(OURS)[1])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["G.pth", "D.pth"])
@pytest.mark.parametrize("fault", ["cut", "gone", "a list", "other weights"])
def test_a_run_whose_networks_are_damaged_is_refused_by_name(fault, name, whole, tmp_path):
    run = shutil.copytree(whole(OURS)[1], tmp_path / "damaged")
    if fault == "cut":
        (run / name).write_bytes((run / name).read_bytes()[:-100])
    elif fault == "gone":
        (run / name).unlink()
    else:
        checkpoints.save([1, 2] if fault == "a list" else {"net.0.weight": torch.ones(2)}, run / name)
    with pytest.raises(checkpoints.CheckpointError, match="damaged"):
        training.Game(OURS).begin_from(run)


def test_a_folder_that_is_no_run_is_nothing_to_begin_from(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="not a run's folder"):
        training.Game(OURS).begin_from(tmp_path)


def test_a_run_either_goes_on_or_begins_from_another(whole, faces, tmp_path):
    with pytest.raises(ValueError, match="resume.*from_run.*choose one"):
        training.train(OURS, faces, tmp_path / "new", steps=1, resume=True, from_run=whole(OURS)[1])
    assert not (tmp_path / "new").exists()


def test_a_fine_tuned_run_cut_and_resumed_needs_the_first_run_no_more(whole, faces, tmp_path):
    first = shutil.copytree(whole(OURS)[1], tmp_path / "first")
    uncut = training.train(OURS, faces, tmp_path / "uncut", steps=6, seed=3, from_run=first)
    training.train(OURS, faces, tmp_path / "cut", steps=3, seed=3, from_run=first)
    shutil.rmtree(first)
    assert bits(training.train(OURS, faces, tmp_path / "cut", steps=6, seed=3, resume=True)) == bits(uncut)


# ---- its pictures ----


def test_a_finished_runs_pictures_are_written_beside_it(whole, tmp_path):
    run = shutil.copytree(whole(OURS)[1], tmp_path / "run")
    before = names(run)
    paths = training.write_pictures(run)
    assert [path.name for path in paths] == ["losses.png", "scores.png", "samples_1.png", "samples_2.png", "film.gif"]
    assert names(run) == sorted(before + [path.name for path in paths])
    sheet = 8 * 18 + 2  # 64 faces of 16x16, two pixels of white between them
    with Image.open(run / "film.gif") as film:
        assert (film.n_frames, film.size) == (len(os.listdir(run / "grids")), (sheet, sheet))
    samples = [Image.open(run / f"samples_{number}.png").convert("RGB") for number in (1, 2)]
    for number, image in enumerate(samples, 1):
        faces = plotting.grid(training.sample(training.load_generator(run), 64, number), 8, zoom=2)
        shown = image.crop((0, 0, 2 * sheet, 2 * sheet))
        assert np.abs(np.asarray(shown, int) - np.asarray(faces, int)).mean() < 4, "256 colours are near enough"
    assert samples[0].tobytes() != samples[1].tobytes()
    for name in ("losses.png", "scores.png"):
        with Image.open(run / name) as curves:
            assert curves.width >= 420 and curves.height >= 300


def test_a_run_that_is_not_finished_has_no_pictures_and_says_so(whole, tmp_path):
    run = shutil.copytree(whole(OURS)[1], tmp_path / "run")
    (run / "G.pth").unlink()
    before = names(run)
    with pytest.raises(checkpoints.CheckpointError, match="G.pth does not exist"):
        training.write_pictures(run)
    assert names(run) == before
    with pytest.raises(checkpoints.CheckpointError, match="not a run's folder"):
        training.write_pictures(tmp_path)


class Stopping(torch.utils.data.Dataset):
    """Faces whose first batch comes with a Ctrl-C."""

    def __init__(self, faces):
        self.faces = faces

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, rows):
        os.kill(os.getpid(), signal.SIGINT)
        return self.faces[rows]


def test_a_run_that_was_stopped_before_its_first_step_has_pictures_but_no_curves(faces, tmp_path):
    assert training.train(PLAIN, Stopping(faces), tmp_path, steps=3).step == 0
    assert [path.name for path in training.write_pictures(tmp_path)] == ["samples_1.png", "samples_2.png", "film.gif"]


# ---- how long ----


def test_epochs_and_the_recipes_own_length_are_counted_in_steps(faces, tmp_path):
    assert training.train(PLAIN, faces, tmp_path / "a", epochs=2).step == 8
    assert training.train(replace(PLAIN, steps=3), faces, tmp_path / "b").step == 3
    assert training.train(replace(PLAIN, steps=0, epochs=1), faces, tmp_path / "c").step == 4


def test_minutes_are_the_total_time(faces, tmp_path):
    first = training.train(PLAIN, faces, tmp_path, minutes=0.005)
    assert first.step > 0 and 0.3 <= first.seconds < 10
    again = training.train(PLAIN, faces, tmp_path, minutes=0.005, resume=True)
    assert (again.step, again.seconds) == (first.step, first.seconds)
    longer = training.train(PLAIN, faces, tmp_path, minutes=(first.seconds + 0.2) / 60, resume=True)
    assert longer.step > first.step and longer.seconds >= first.seconds + 0.2


def test_no_minutes_are_not_endless_minutes(faces, tmp_path):
    class Endless(Exception):
        pass

    def watch(game, history, done=False):
        if game.step > 20:
            raise Endless

    try:
        assert training.train(PLAIN, faces, tmp_path, minutes=0, watch=watch).step == 0
    except ValueError as error:
        assert "minutes" in str(error)


def test_fewer_pictures_than_a_batch_are_told(faces, tmp_path):
    with pytest.raises(ValueError, match="16 pictures are fewer than one batch of 32"):
        training.train(replace(PLAIN, batch=32), faces, tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists(), "a run that can't begin leaves no folder"


# ---- stopping ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_at_hand_and_saves(number, whole, faces, tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def watch(game, history, done=False):
        if game.step == 3 and not done:
            os.kill(os.getpid(), number)

    game = training.train(OURS, faces, tmp_path, steps=10, seed=3, watch=watch)
    assert game.step == 3 and flat(checkpoints.newest(tmp_path)) == flat(game.state() | {"pictures": len(faces)})
    assert (tmp_path / "G.pth").exists() and len(plotting.history(tmp_path)["step"]) == 3
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    resumed = training.train(OURS, faces, tmp_path, steps=10, seed=3, resume=True)
    assert bits(resumed) == bits(whole(OURS)[0])


def test_a_second_signal_does_not_wait(faces, tmp_path):
    before = signal.getsignal(signal.SIGINT)

    def watch(game, history):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.train(PLAIN, faces, tmp_path, steps=10, watch=watch)
    assert signal.getsignal(signal.SIGINT) == before


def test_watch_is_called_after_each_step_and_once_at_the_end(faces, tmp_path):
    calls = []
    training.train(
        PLAIN, faces, tmp_path, steps=3, watch=lambda game, rows, done=False: calls.append((len(rows), done))
    )
    assert calls == [(1, False), (2, False), (3, False), (3, True)]


# ---- numbers that are none ----


class Poisoned(torch.utils.data.Dataset):
    """Faces of which the sixth batch holds a pixel that is no number."""

    def __init__(self, faces):
        self.faces, self.count = faces, 0

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, rows):
        self.count += 1
        batch = self.faces[rows].float()
        batch[0, 0, 0, 0] = math.nan if self.count == 6 else 0
        return batch


@pytest.mark.parametrize("recipe", [OURS, PLAIN])
def test_a_pixel_that_is_no_number_stops_the_run_and_the_checkpoints_before_stay(recipe, faces, tmp_path):
    with pytest.raises(FloatingPointError, match="loss_d is nan at step 6"):
        training.train(recipe, Poisoned(faces), tmp_path, steps=20)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step_00000000.pt",
        "step_00000004.pt",
    ]
    state = checkpoints.newest(tmp_path)
    assert state["step"] == 4 and all(part.isfinite().all() for part in state["G"].values())
    assert not (tmp_path / "G.pth").exists()


@pytest.mark.parametrize("who", ["opt_d", "opt_g"])
def test_a_learning_rate_far_too_high_stops_the_run_and_says_where(who, faces, tmp_path):
    def watch(game, history):
        if game.step == 7:
            getattr(game, who).register_step_pre_hook(lambda opt, *_: opt.param_groups[0].update(lr=1e39))

    with pytest.raises(FloatingPointError, match=r"(loss_[dg] is \S+|not finite) at step [89]: .*lower learning rate"):
        training.train(OURS, faces, tmp_path, steps=20, watch=watch)
    state = checkpoints.newest(tmp_path)
    assert all(part.isfinite().all() for net in ("G", "D") for part in state[net].values()), "a bad state was saved"


def test_a_damaged_last_checkpoint_is_mended_by_resuming_and_no_row_of_the_history_is_lost(whole, faces, tmp_path):
    training.train(OURS, faces, tmp_path, steps=7, seed=3)
    last = checkpoints.at_step(tmp_path, 7)
    last.write_bytes(last.read_bytes()[:-500])
    with pytest.warns(UserWarning, match="step_00000007"):
        training.train(OURS, faces, tmp_path, steps=7, seed=3, resume=True)
    assert checkpoints.load(last)["step"] == 7
    assert plotting.history(tmp_path)["step"].tolist() == list(range(1, 8))


def test_a_history_torn_by_a_power_cut_does_not_stop_a_resume(faces, tmp_path):
    training.train(OURS, faces, tmp_path, steps=4, seed=3)
    file = tmp_path / "history.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    training.train(OURS, faces, tmp_path, steps=6, seed=3, resume=True)
    assert plotting.history(tmp_path)["step"].tolist() == [1, 2, 3, 5, 6]


def test_steps_of_a_recipe_come_before_its_epochs_and_one_of_them_must_be_given(faces, tmp_path):
    assert training.train(replace(PLAIN, steps=3, epochs=9), faces, tmp_path / "a").step == 3
    with pytest.raises(ValueError, match="how long"):
        training.train(replace(PLAIN, steps=0, epochs=0), faces, tmp_path / "b")


def test_a_run_that_fails_keeps_the_history_that_led_to_it(faces, tmp_path):
    def watch(game, history, done=False):
        if game.step == 3:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        training.train(PLAIN, faces, tmp_path, steps=9, watch=watch)
    assert plotting.history(tmp_path)["step"].tolist() == [1, 2, 3]
