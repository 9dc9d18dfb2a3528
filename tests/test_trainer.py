"""trainer: one step of both networks, the EMA generator, and the state of a run."""

import copy
from dataclasses import replace

import pytest
import torch
from common import flat
from small_runs import (
    BCE,
    DEFAULT,
    HINGE,
    NOISY,
    as_version_0_1,
    recipe_id,
    state_bits,
    take_steps,
    weights,
)

from animegan_helpers import losses
from animegan_helpers import trainer as trainer_module
from animegan_helpers.checkpoints import CheckpointError
from animegan_helpers.dataset import batches
from animegan_helpers.distributed import Distributed
from animegan_helpers.generator import Generator
from animegan_helpers.rng import rng
from animegan_helpers.speed import memory_format
from animegan_helpers.trainer import Trainer, train_step

RECIPES = [DEFAULT, BCE, NOISY, HINGE]
all_recipes = pytest.mark.parametrize("recipe", RECIPES, ids=recipe_id)


# ---- one step ----


@pytest.fixture
def inputs():
    """The arguments of `train_step`: G, D, opt_g, opt_d, real, z."""
    torch.manual_seed(0)
    trainer = Trainer(BCE, seed=0)
    real = torch.rand(4, 3, 16, 16) * 2 - 1
    z = torch.randn(4, 8)
    return trainer.G, trainer.D, trainer.opt_g, trainer.opt_d, real, z


def g_has_gradients_after_ds_turn(step, inputs):
    """Take a step; -> whether G had gradients when D's turn ended."""
    G, _, _, opt_d, _, _ = inputs
    observed = []

    def observe(*_):
        observed.append(any(weight.grad is not None for weight in G.parameters()))

    opt_d.register_step_post_hook(observe)
    step(*inputs)
    return observed[0]


def test_ds_turn_leaves_gs_gradients_alone(inputs):
    assert not g_has_gradients_after_ds_turn(train_step, inputs)


def test_the_check_above_finds_a_forgotten_detach(inputs):
    def step_without_detach(G, D, opt_g, opt_d, real, z):
        losses.BCE().d_loss(D(real), D(G(z))).backward()
        opt_d.step()

    assert g_has_gradients_after_ds_turn(step_without_detach, inputs)


def test_gs_turn_leaves_ds_weights_and_gradients_alone_and_unfreezes_it(inputs):
    _, D, _, opt_d, _, _ = inputs
    after_ds_turn = []

    def remember(*_):
        for weight in D.parameters():
            after_ds_turn.append((weight.detach().clone(), weight.grad.clone()))

    opt_d.register_step_post_hook(remember)
    train_step(*inputs)
    for (value, gradient), weight in zip(after_ds_turn, D.parameters(), strict=True):
        assert torch.equal(weight, value)
        assert torch.equal(weight.grad, gradient)
        assert weight.requires_grad


def test_after_an_interrupt_in_gs_turn_d_learns_again(inputs):
    _, D, opt_g, _, _, _ = inputs

    def interrupted(optimizer, loss):
        if optimizer is opt_g:
            raise KeyboardInterrupt
        trainer_module.descend(optimizer, loss)

    with pytest.raises(KeyboardInterrupt):
        train_step(*inputs, descend=interrupted)
    before = [weight.detach().clone() for weight in D.parameters()]
    train_step(*inputs)
    for weight, old in zip(D.parameters(), before, strict=True):
        assert weight.requires_grad and not torch.equal(weight, old)


def test_a_new_wording_of_a_recipe_does_not_end_its_runs():
    Trainer(replace(BCE, about="reworded")).load_state(Trainer(BCE).state())


def test_gs_gradients_come_from_its_own_loss_alone(inputs):
    G, D, _, _, real, z = inputs
    own_G = copy.deepcopy(G)
    own_D = copy.deepcopy(D)
    train_step(*inputs)
    fake = own_G(z)  # the same by hand: D's turn first, then the gradient of G's loss
    opt_d = torch.optim.Adam(own_D.parameters(), BCE.lr_d, BCE.betas)
    losses.BCE().d_loss(own_D(real), own_D(fake.detach())).backward()
    opt_d.step()
    g_loss = losses.BCE().g_loss(own_D(fake), None)
    gradients = torch.autograd.grad(g_loss, own_G.parameters())
    for gradient, weight in zip(gradients, G.parameters(), strict=True):
        assert torch.allclose(gradient, weight.grad, rtol=1e-3, atol=1e-7)


def test_gradients_do_not_add_up_from_step_to_step(inputs):
    G, D, _, _, _, _ = inputs
    both = [*G.parameters(), *D.parameters()]
    for weight in both:
        weight.grad = torch.full_like(weight, 1e6)
    train_step(*inputs)
    assert max(weight.grad.abs().max() for weight in both) < 1e3


def test_the_numbers_of_a_step_have_no_gradients_and_both_networks_move(inputs):
    G, D, _, _, _, _ = inputs
    before = weights(G) + weights(D)
    numbers = train_step(*inputs)
    assert len(numbers) == 4
    assert not any(number.requires_grad for number in numbers)
    for old, new in zip(before, weights(G) + weights(D), strict=True):
        assert not torch.equal(old, new)


def test_d_sees_real_and_fake_images_augmented_in_both_turns_and_g_learns_through_it(inputs):
    G, D, opt_g, _, real, z = inputs
    fake = G(z).detach()
    d_inputs = []
    gradients = []

    def remember_gradients(*_):
        gradients.extend(weight.grad.abs().sum() for weight in G.parameters())

    D.register_forward_pre_hook(lambda network, arguments: d_inputs.append(arguments[0]))
    opt_g.register_step_post_hook(remember_gradients)
    train_step(*inputs, augment=lambda images: images / 2 + 0.1)
    for images, expected in zip(d_inputs, (real, fake, fake), strict=True):
        assert torch.allclose(images, expected / 2 + 0.1, atol=1e-6)
    assert not d_inputs[1].requires_grad, "D's turn"
    assert d_inputs[2].requires_grad, "G's turn"
    assert min(gradients) > 0


# ---- the steps of a trainer ----


def test_a_seed_decides_the_start_and_disturbs_no_other_randomness():
    before = torch.get_rng_state()
    first = Trainer(DEFAULT, seed=1)
    again = Trainer(DEFAULT, seed=1)
    other = Trainer(DEFAULT, seed=2)
    assert state_bits(first) == state_bits(again)
    for network, other_network in ((first.G, other.G), (first.D, other.D)):
        assert not torch.equal(weights(network)[0], weights(other_network)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_new_trainer_does_not_seed_the_random_numbers_of_a_gpu(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(torch.initial_seed())
    assert seeds == [torch.initial_seed()], "what torch.manual_seed does"
    Trainer(DEFAULT)
    assert len(seeds) == 1


@all_recipes
def test_fakes_are_generated_once_a_step(recipe, faces):
    trainer = Trainer(recipe)
    calls = []
    trainer.G.register_forward_hook(lambda *_: calls.append(1))
    take_steps(trainer, faces, 3)
    assert len(calls) == 3


def test_r1_is_taken_on_its_steps_only(faces, monkeypatch):
    trainer = Trainer(DEFAULT)
    steps = []

    def observed_penalty(D, real):
        steps.append(trainer.steps_done)
        return losses.r1_penalty(D, real)

    monkeypatch.setattr("animegan_helpers.trainer.r1_penalty", observed_penalty)
    take_steps(trainer, faces, 7)
    assert steps == [0, 3, 6]


def test_a_recipe_decides_whether_images_are_augmented_anew_in_each_step(faces, monkeypatch):
    seeds = []

    def observed_augment(images, rng):
        seeds.append(rng.initial_seed())
        return losses.diff_augment(images, rng)

    monkeypatch.setattr("animegan_helpers.trainer.diff_augment", observed_augment)
    take_steps(Trainer(BCE), faces, 2)
    assert not seeds
    take_steps(Trainer(HINGE), faces, 2)
    assert len(seeds) == 4, "real and fake images of two steps"
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    "lr_decay_start, factors",
    [
        (0, [1] * 8),
        (4, [1, 1, 1, 1, (4 / 5) ** 0.5, (4 / 6) ** 0.5, (4 / 7) ** 0.5, (4 / 8) ** 0.5]),
    ],
)
def test_rates_stay_or_decay_with_the_root_of_the_step(lr_decay_start, factors, faces):
    recipe = replace(DEFAULT, lr_g=1e-3, lr_d=3e-3, lr_decay_start=lr_decay_start)
    trainer = Trainer(recipe)
    rates = []
    for optimizer in (trainer.opt_g, trainer.opt_d):
        optimizer.register_step_pre_hook(lambda opt, *_: rates.append(opt.param_groups[0]["lr"]))
    take_steps(trainer, faces, 8)
    assert rates[::2] == pytest.approx([3e-3 * factor for factor in factors]), "D's turn is first"
    assert rates[1::2] == pytest.approx([1e-3 * factor for factor in factors])


# ---- another train_step ----


def test_a_trainer_takes_the_train_step_that_it_is_given(faces):
    calls = []

    def mine(G, D, opt_g, opt_d, real, z, *, loss, r1, rng, augment, descend):
        calls.append((G, D, opt_g, opt_d, real, z, loss, r1, rng, augment, descend))
        options = {"loss": loss, "r1": r1, "rng": rng, "augment": augment, "descend": descend}
        return train_step(G, D, opt_g, opt_d, real, z, **options)

    own = Trainer(DEFAULT, train_step=mine)
    usual = Trainer(DEFAULT)
    assert take_steps(own, faces, 4) == take_steps(usual, faces, 4)
    assert state_bits(own) == state_bits(usual)
    assert len(calls) == 4
    for G, D, opt_g, opt_d, real, z, loss, _, _, augment, descend in calls:
        assert (G, D, opt_g, opt_d) == (own.G, own.D, own.opt_g, own.opt_d)
        assert (real.shape, z.shape) == ((4, 3, 16, 16), (4, 8))
        assert -1 <= real.min() < 0 < real.max() <= 1
        assert loss is own.loss
        assert augment is None
        assert callable(descend)
    assert [r1 for *_, r1, _, _, _ in calls] == [2.0, 0.0, 0.0, 2.0]
    assert len({rng.initial_seed() for *_, rng, _, _ in calls}) == 4, "each step's own"


def test_a_train_step_may_ignore_the_options_but_gets_them_by_name(faces):
    options_of_steps = []

    def mine(G, D, opt_g, opt_d, real, z, **options):
        options_of_steps.append(options)
        return (torch.tensor(0.25), torch.tensor(0.5), torch.tensor(0.75), torch.tensor(1.0))

    own = Trainer(HINGE, train_step=mine)
    before = weights(own.G) + weights(own.D)
    assert take_steps(own, faces, 2) == [[0.25, 0.5, 0.75, 1.0]] * 2
    assert own.steps_done == 2
    for old, new in zip(before, weights(own.G) + weights(own.D), strict=True):
        assert torch.equal(old, new), "no other step is taken"
    for options in options_of_steps:
        assert set(options) == {"loss", "r1", "rng", "augment", "descend"}
        assert callable(options["augment"])


def test_descend_is_one_step_of_the_optimizer_down_the_loss(faces):
    moves = []

    def mine(G, D, opt_g, opt_d, real, z, descend, **options):
        before = weights(G)
        for weight in G.parameters():
            weight.grad = torch.full_like(weight, 1e6)
        descend(opt_g, -sum(weight.sum() for weight in G.parameters()))
        moves.extend(new - old for old, new in zip(before, weights(G), strict=True))
        return torch.zeros(4).unbind()

    trainer = Trainer(BCE, train_step=mine)
    take_steps(trainer, faces, 1)
    for move in moves:  # the first step of Adam is as long as its learning rate
        assert torch.allclose(move, torch.full_like(move, BCE.lr_g), rtol=0.01)


# ---- the EMA generator ----


def test_the_ema_follows_the_formula(faces):
    trainer = Trainer(replace(DEFAULT, ema=0.2))
    order = iter(batches(faces, 4))
    expected = weights(trainer.G)
    for weight in (1, 10 / 11, 10 / 12, 0.8, 0.8):  # 10 / (10 + n), but never less than 1 - ema
        trainer.step(next(order))
        live = weights(trainer.G)
        expected = [old + weight * (new - old) for old, new in zip(expected, live, strict=True)]
    ema = trainer.ema_generator()
    for actual, value in zip(ema.parameters(), expected, strict=True):
        assert torch.allclose(actual, value, atol=1e-6)


@pytest.mark.parametrize("steps_done, weight", [(0, 1.0), (10, 0.5), (90, 0.1), (5000, 0.1)])
def test_update_ema_moves_g_ema_by_the_formula_and_nothing_else(steps_done, weight):
    trainer = Trainer(replace(DEFAULT, ema=0.9))
    trainer.steps_done = steps_done
    with torch.no_grad():
        for live in trainer.G.parameters():
            live += torch.randn_like(live)
    others = flat({name: trainer.state()[name] for name in ("G", "D", "opt_g", "opt_d")})
    before = weights(trainer.G_ema)
    trainer.update_ema()
    pairs = zip(before, trainer.G_ema.parameters(), trainer.G.parameters(), strict=True)
    for old, actual, live in pairs:
        assert torch.allclose(actual, old + weight * (live - old), atol=1e-6)
        assert not actual.grad_fn
    assert flat({name: trainer.state()[name] for name in ("G", "D", "opt_g", "opt_d")}) == others
    assert trainer.steps_done == steps_done


def test_without_ema_there_is_no_g_ema_and_updating_it_does_nothing():
    trainer = Trainer(BCE)
    before = state_bits(trainer)
    trainer.update_ema()
    trainer.reset_ema()
    assert trainer.G_ema is None
    assert state_bits(trainer) == before


def test_reset_ema_copies_g(faces):
    trainer = Trainer(DEFAULT)
    take_steps(trainer, faces, 3)
    assert flat(trainer.G_ema.state_dict()) != flat(trainer.G.state_dict())
    trainer.reset_ema()
    assert flat(trainer.G_ema.state_dict()) == flat(trainer.G.state_dict())


def test_the_statistics_of_the_ema_generator_are_measured_on_its_own_features(faces):
    trainer = Trainer(DEFAULT)
    take_steps(trainer, faces, 3)
    ema = trainer.ema_generator()
    z = torch.randn(4, 64, 8, generator=rng(0, "statistics")).flatten(0, 1)
    features = ema.net[0](z[:, :, None, None])
    assert torch.allclose(ema.net[1].running_mean, features.mean((0, 2, 3)), atol=1e-5)
    again = trainer.ema_generator()
    assert flat(ema.state_dict()) == flat(again.state_dict()), "asking again changes nothing"


def test_without_ema_the_generator_itself_is_used(faces):
    trainer = Trainer(BCE)
    take_steps(trainer, faces, 2)
    assert flat(trainer.ema_generator().state_dict()) == flat(trainer.G.state_dict())


@all_recipes
def test_the_ema_generator_is_a_fresh_copy_in_eval_mode(recipe, faces):
    trainer = Trainer(recipe)
    take_steps(trainer, faces, 2)
    before = flat(trainer.state())
    ema = trainer.ema_generator()
    assert isinstance(ema, Generator)
    assert not ema.training
    with torch.no_grad():
        for tensor in ema.state_dict().values():
            tensor.zero_()
    assert flat(trainer.state()) == before


def everything(trainer):
    """A trainer -> all bits of its state, its gradients, and the modes of its networks."""
    networks = {"G": trainer.G, "D": trainer.D}
    if trainer.G_ema is not None:
        networks["G_ema"] = trainer.G_ema
    bits = flat(trainer.state())
    for name, network in networks.items():
        bits |= flat([weight.grad for weight in network.parameters()], f"{name} gradients")
        for module_name, module in network.named_modules():
            bits[f"{name} {module_name} mode"] = module.training
        bits[f"{name} needs gradients"] = [w.requires_grad for w in network.parameters()]
    bits["random numbers"] = torch.get_rng_state().tolist()
    return bits


@pytest.mark.parametrize("steps", [0, 1, 3])
@all_recipes
def test_asking_for_faces_or_for_the_ema_generator_changes_no_state_at_all(recipe, steps, faces):
    trainer = Trainer(recipe)
    take_steps(trainer, faces, steps)
    before = everything(trainer)
    first = trainer.fixed_faces(5)
    trainer.ema_generator()
    second = trainer.fixed_faces(5)
    assert everything(trainer) == before
    assert torch.equal(first, second)
    assert first.shape == (5, 3, 16, 16)
    assert not first.requires_grad


@all_recipes
def test_a_run_asked_for_faces_at_every_step_ends_like_one_that_never_was(recipe, faces):
    asked = Trainer(recipe, seed=3)
    for _ in range(6):
        take_steps(asked, faces, 1)
        asked.fixed_faces(4)
        asked.ema_generator()
    silent = Trainer(recipe, seed=3)
    take_steps(silent, faces, 6)
    assert state_bits(asked) == state_bits(silent)
    assert torch.equal(asked.fixed_faces(4), silent.fixed_faces(4))


# ---- the state ----


@all_recipes
def test_a_trainer_goes_on_from_a_state_as_if_it_had_never_stopped(recipe, faces):
    whole = Trainer(recipe, seed=3)
    take_steps(whole, faces, 3)
    state = copy.deepcopy(whole.state())
    resumed = Trainer(recipe, seed=3)
    resumed.load_state(state)
    assert resumed.steps_done == 3
    assert take_steps(resumed, faces, 3) == take_steps(whole, faces, 3)
    assert state_bits(resumed) == state_bits(whole)


@pytest.mark.parametrize("recipe, seed", [(replace(BCE, lr_g=1e-3), 3), (DEFAULT, 3), (BCE, 4)])
def test_the_state_of_another_recipe_or_seed_is_refused(recipe, seed, faces):
    begun = Trainer(BCE, seed=3)
    take_steps(begun, faces, 1)
    other = Trainer(recipe, seed)
    before = flat(other.state())
    with pytest.raises(CheckpointError, match="another recipe or seed") as refused:
        other.load_state(begun.state())
    assert flat(other.state()) == before
    message = str(refused.value)
    assert ("seed 3" in message) == (seed != 3) and "Recipe(" not in message
    for name in ("lr_g", "betas", "z_dim"):
        begun_with = getattr(BCE, name)
        differs = getattr(recipe, name) != begun_with
        assert (f"{name} {begun_with}" in message) == differs


@pytest.mark.parametrize("missing", ["recipe", "seed", "steps_done", "seconds", "G", "opt_d"])
def test_a_state_without_one_of_its_parts_is_refused(missing):
    state = Trainer(BCE).state()
    del state[missing]
    with pytest.raises(CheckpointError, match="is unusable.*train again"):
        Trainer(BCE).load_state(state)


@all_recipes
def test_the_state_of_a_trainer_of_version_0_1_is_refused_by_name(recipe):
    trainer = Trainer(recipe)
    before = flat(trainer.state())
    old = as_version_0_1(trainer.state())
    assert {"lr_fall", "d_start"} <= set(old["recipe"])
    assert "step" in old
    with pytest.raises(CheckpointError, match="made by version 0.1"):
        trainer.load_state(old)
    assert flat(trainer.state()) == before


def test_a_resumed_run_keeps_this_machines_adam_and_the_recipes_learning_rate(faces):
    begun = Trainer(DEFAULT, seed=3)
    take_steps(begun, faces, 2)
    state = copy.deepcopy(begun.state())
    for name in ("opt_g", "opt_d"):  # as another machine may have saved them
        state[name]["param_groups"][0] |= {"fused": None, "lr": 0.5}
    resumed = Trainer(DEFAULT, seed=3)
    resumed.load_state(state)
    for optimizer in (resumed.opt_g, resumed.opt_d):
        assert optimizer.param_groups[0]["fused"]
    assert take_steps(resumed, faces, 1) == take_steps(begun, faces, 1)


# ---- devices ----


def test_a_step_is_not_compiled(faces, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", refuse)
    take_steps(Trainer(DEFAULT, seed=3), faces, 1)


def test_networks_are_channels_last_except_on_an_apple_gpu(monkeypatch):
    def is_channels_last(trainer):
        weight = next(trainer.D.parameters())
        return weight.is_contiguous(memory_format=torch.channels_last)

    assert is_channels_last(Trainer(DEFAULT))
    monkeypatch.setattr(trainer_module, "memory_format", lambda device: memory_format("mps"))
    assert not is_channels_last(Trainer(DEFAULT))


@pytest.fixture
def two_gpus(monkeypatch):
    """The first of two processes, each with a GPU, as far as a trainer can see."""
    monkeypatch.setattr(trainer_module, "is_cuda", lambda device: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    return Distributed(rank=0, world_size=2)


def test_several_gpus_share_batch_norm_and_the_ema_generator_does_not(two_gpus):
    trainer = Trainer(BCE.changed(ema=0.9), distributed=two_gpus)
    for network in (trainer.G, trainer.D):
        kinds = {type(layer).__name__ for layer in network.modules() if "Norm" in str(type(layer))}
        assert kinds == {"SyncBatchNorm"}
    assert "SyncBatchNorm" not in str(trainer.ema_generator())


def test_r1_with_batch_norm_in_d_is_refused_on_several_gpus_by_name(two_gpus):
    recipe = BCE.changed(r1=1.0)
    with pytest.raises(ValueError, match="recipe bce has R1 and batch norm in D"):
        Trainer(recipe, distributed=two_gpus)
    Trainer(recipe)
    Trainer(DEFAULT, distributed=two_gpus)
