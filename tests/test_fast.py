"""fast: a step in half precision is compared with the plain step; images on the device are the same images."""

from functools import partial

import pytest
import torch

from animegan_helpers import fast, preprocess, recipes, training

SMALL = {"width": 4, "z_dim": 8, "batch": 4, "size": 16}
OURS = recipes.get("default", **SMALL, r1_every=3)


def played(recipe, faces, speed=fast.PLAIN, *, steps):
    game = training.Game(recipe, seed=3, speed=speed)
    order = iter(preprocess.batches(faces, recipe.batch, seed=3))
    return game, [game.play(next(order)) for _ in range(steps)]


def weights(game):
    nets = {"G": game.G, "D": game.D, "averaged": game.averaged}
    return {f"{name}.{key}": value for name, net in nets.items() if net for key, value in net.state_dict().items()}


# ---- half precision, compared with the plain step ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_the_plain_step(dtype, faces):
    one, (row,) = played(OURS, faces, steps=1)
    game, (half,) = played(OURS, faces, fast.Speed(dtype=dtype), steps=1)
    for name in ("loss_d", "loss_g", "score_real", "score_fake"):
        assert half[name] == pytest.approx(row[name], abs=0.02) and half[name] != row[name]
    same = [torch.sign(a.grad) == torch.sign(b.grad) for a, b in zip(game.G.parameters(), one.G.parameters())]
    assert torch.cat([part.flatten() for part in same]).double().mean() > 0.95
    assert all(weight.dtype == torch.float32 for weight in game.G.parameters())


def test_float16_scales_the_loss_and_a_step_that_overflows_is_skipped_and_not_a_fault(faces):
    game, _ = played(OURS, faces, fast.Speed(dtype=torch.float16), steps=1)
    before, scale = weights(game), 2.0**60
    before = {name: value.clone() for name, value in before.items()}
    game.scaler.load_state_dict(game.scaler.state_dict() | {"scale": scale})
    game.play(next(iter(preprocess.batches(faces, 4))))
    after = weights(game)
    assert all(torch.equal(before[name], after[name]) for name in after if name.startswith("D.") and "net" in name)
    assert game.scaler.get_scale() < scale


def test_the_scaler_is_part_of_a_runs_state(faces):
    game, _ = played(OURS, faces, fast.Speed(dtype=torch.float16), steps=1)
    game.scaler.load_state_dict(game.scaler.state_dict() | {"scale": 8.0})
    other = training.Game(OURS, seed=3, speed=fast.Speed(dtype=torch.float16))
    other.restore(game.state())
    assert other.scaler.get_scale() == 8.0


def test_r1_asks_the_network_itself_in_float32():
    seen = []
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    net.register_forward_hook(lambda module, inputs, answer: seen.append(answer.dtype))
    half = fast.Fast(net, fast.Speed(dtype=torch.bfloat16))
    pictures = torch.randn(2, 3, 2, 2)
    assert half(pictures).dtype == torch.float32
    training.r1_penalty(half, pictures).backward()
    assert seen == [torch.bfloat16, torch.float32]


# ---- the history, fetched now and then; the set on the device ----


def test_a_history_fetched_now_and_then_is_the_same_and_whole(faces, tmp_path):
    told, calls = [], []
    for fetch in (1, 5):
        calls.clear()
        run, speed = tmp_path / str(fetch), fast.Speed(fetch=fetch)
        training.train(OURS, faces, run, steps=13, speed=speed, watch=lambda _, rows, **done: calls.append(len(rows)))
        told.append((run / "history.jsonl").read_text())
    assert told[0] == told[1] and told[0].count("\n") == 13
    assert calls == [4, 8, 12, 13], "fetched before each save (an epoch has four steps), and at the end"


def test_a_loss_that_is_not_finite_is_named_by_its_own_step_though_it_is_fetched_later(faces, tmp_path):
    game = training.Game(OURS)
    game.step = 7
    numbers = [torch.ones(4), torch.tensor([1.0, float("nan"), 0.5, 0.5]), torch.ones(4)]
    told = game.told(numbers)
    assert next(told)["step"] == 5
    with pytest.raises(FloatingPointError, match="loss_g is nan at step 6"):
        next(told)


def test_nothing_is_saved_when_a_loss_fetched_before_the_save_is_not_finite(faces, tmp_path, monkeypatch):
    def spoiled(*inputs):
        return (torch.tensor(float("nan")),) * 4

    monkeypatch.setattr(training, "Game", partial(training.Game, train_step=spoiled))
    with pytest.raises(FloatingPointError, match="step 1:"):
        training.train(OURS, faces, tmp_path, steps=8, speed=fast.Speed(fetch=50))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000000.pt"]


def test_a_resident_set_gives_the_same_batches(faces):
    near = fast.Resident(faces, "cpu")
    assert len(near) == len(faces)
    one, other = (iter(preprocess.batches(some, 4, seed=1)) for some in (faces, near))
    assert all(torch.equal(next(one), next(other)) for _ in range(6))
    for rows in (3, slice(2, 9, 3), [4, 1], torch.tensor([4, 1])):
        assert torch.equal(near[rows], faces[rows])


def test_a_set_goes_to_a_gpu_that_has_room_for_it_and_only_there(faces, monkeypatch):
    assert fast.resident(faces, "cpu") is faces
    monkeypatch.setattr(fast, "Resident", lambda faces, device: ("on", device))
    room = 2 * faces.array.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (room, 10 * room))
    assert fast.resident(faces, "cuda") == ("on", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (room - 2, 10 * room))
    assert fast.resident(faces, "cuda") is faces
    folder = preprocess.PictureFolder
    assert fast.resident(folder, "cuda") is folder


# ---- what pays where ----


def test_a_cpu_takes_plain_steps():
    assert fast.best("cpu") == fast.PLAIN == fast.Speed()


@pytest.mark.parametrize("exact, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_takes_bfloat16_unless_it_only_emulates_it(exact, dtype, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or exact)
    speed = fast.best("cuda")
    assert speed == fast.Speed(dtype, fetch=50)
    assert asked == [{"including_emulation": False}]


def test_a_resumed_run_keeps_this_machines_adam_and_the_recipes_learning_rate(faces):
    game, _ = played(OURS, faces, steps=2)
    state = game.state()
    for opt in ("opt_g", "opt_d"):  # as another machine may have saved them
        state[opt]["param_groups"][0] |= {"fused": None, "lr": 0.5}
    other = training.Game(OURS, seed=3)
    other.restore(state)
    assert other.opt_g.param_groups[0]["fused"]
    order = iter(preprocess.batches(faces, 4, seed=3, start=2))
    assert other.play(next(order)) == played(OURS, faces, steps=3)[1][2]
