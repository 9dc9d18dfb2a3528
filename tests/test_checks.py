"""checks: what the reader made meets what the package has."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from animegan_helpers import checks, training
from animegan_helpers.discriminator import Discriminator
from animegan_helpers.generator import Generator


def by_hand(slope=0.2, std=0.02, norm=True, bias=False, kernel=4):
    """-> D as a reader may write it for 16x16; every argument is a way to go astray."""

    class Mine(nn.Module):
        def __init__(self, width, size):
            super().__init__()
            self.a = nn.Conv2d(3, width, 4, 2, 1)
            self.b = nn.Conv2d(width, 2 * width, kernel, 2, 1, bias=bias)
            self.c = nn.BatchNorm2d(2 * width) if norm else nn.Identity()
            self.d = nn.Conv2d(2 * width, 1, 4, bias=False)
            for layer in self.children():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, 0, std)
                elif norm:
                    nn.init.normal_(layer.weight, 1, 0.02)
            nn.init.zeros_(self.a.bias)

        def forward(self, x):
            x = F.leaky_relu(self.a(x), slope)
            return self.d(F.leaky_relu(self.c(self.b(x)), slope)).flatten()

    return Mine


def same_discriminator(yours):
    checks.same_network(yours, Discriminator, torch.randn(4, 3, 16, 16), width=4, size=16)


def test_a_network_made_by_hand_is_the_packages(capsys):
    same_discriminator(by_hand())
    assert "Yours is the package's" in capsys.readouterr().out


def test_the_packages_networks_are_their_own_twins():
    checks.same_network(Discriminator, Discriminator, torch.randn(2, 3, 32, 32), width=2, size=32, norm="none")
    checks.same_network(Generator, Generator, torch.randn(2, 8), width=2, z_dim=8, size=32)


@pytest.mark.parametrize("drift, where", [
    ({"slope": 0.1}, "answers"), ({"std": 0.2}, "start weights"), ({"norm": False}, "weight tensors"),
    ({"bias": True}, "weight tensors"), ({"kernel": 3}, "start weights"),
])  # fmt: skip
def test_a_network_that_differs_is_found_and_the_difference_named(drift, where):
    with pytest.raises(AssertionError, match=where):
        same_discriminator(by_hand(**drift))


def test_comparing_networks_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    checks.same_network(Discriminator, Discriminator, torch.zeros(2, 3, 16, 16), width=2, size=16)
    assert torch.equal(torch.get_rng_state(), before)


def step_by_hand(real_label=1.0, fake_label=0.0, d_zero=True, g_zero=True, g_turn=True):
    def step(G, D, opt_g, opt_d, real, z):
        def bce(logits, label):
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

        fake = G(z)
        at_real, at_fake = D(real), D(fake.detach())
        loss_d = bce(at_real, real_label) + bce(at_fake, fake_label)
        if d_zero:
            opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        loss_g = bce(D(fake), 1.0)
        if g_zero:
            opt_g.zero_grad()
        loss_g.backward()
        if g_turn:
            opt_g.step()
        return loss_d, loss_g, at_real.sigmoid().mean(), at_fake.sigmoid().mean()

    return step


def test_a_step_made_by_hand_is_the_packages(capsys):
    checks.same_steps(step_by_hand(), training.train_step)
    assert "Your step is the package's" in capsys.readouterr().out


@pytest.mark.parametrize("drift", [
    {"real_label": 0.0, "fake_label": 1.0}, {"real_label": 0.9}, {"d_zero": False}, {"g_zero": False},
    {"g_turn": False},
])  # fmt: skip
def test_a_step_that_differs_is_found(drift):
    with pytest.raises(AssertionError, match="three steps"):
        checks.same_steps(step_by_hand(**drift), training.train_step)


def test_functions_give_the_same_answers_or_are_told_apart(capsys):
    def double(x):
        return 2 * x

    given = np.arange(6)
    checks.same_answers(lambda x: x + x, double, given)
    assert "the same answers, of shape (6,)" in capsys.readouterr().out
    for wrong, why in ((lambda x: 3 * x, "differs"), (lambda x: 2.0 * x, "float64"), (lambda x: x[:2], "shape")):
        with pytest.raises(AssertionError, match=why):
            checks.same_answers(wrong, double, given)


# ---- exercises ----


def verdict(capsys, *arguments):
    checks.exercise(*arguments)
    told = capsys.readouterr().out
    assert told.startswith(("Right", "Not yet")) and max(map(len, told.splitlines())) <= 100, told
    assert told == "Right.\n" or "Hint: think again" in " ".join(told.split())
    return told.startswith("Right")


@pytest.mark.parametrize("yours, truth", [
    (5, 5), (5.0, 5), (0.6931, 0.693147), ((4, 3, 64, 64), torch.Size([4, 3, 64, 64])), ([1, 2], (1, 2)),
    ("relu", "relu"), (True, True), (None, None), (torch.ones(2), torch.ones(2)), (np.float32(2), 2), (lambda: 7, 7),
])  # fmt: skip
def test_a_right_answer_is_right(capsys, yours, truth):
    assert verdict(capsys, yours, truth, "think again")


def test_functions_are_compared_by_what_they_give(capsys):
    on = (torch.arange(4.0),)
    assert verdict(capsys, lambda x: x + x, lambda x: 2 * x, "think again", on)
    assert not verdict(capsys, lambda x: x * x, lambda x: 2 * x, "think again", on)


@pytest.mark.parametrize("truth", [5, (4, 3, 64, 64), "relu", True, None, torch.ones(3)], ids=str)
@pytest.mark.parametrize("yours", [
    ..., 4, float("nan"), "", "5", (), [], {}, object(), (4, 3, 64), (4, 3, 64, 65), torch.ones(2), torch.ones(0),
    False, lambda: 1 / 0, lambda: ..., lambda x, y: x, nn.Linear, b"bytes", [[1], [2, 3]], 1j, "x" * 500,
    torch.ones(3, 3),
], ids=lambda yours: repr(yours)[:20])  # fmt: skip
def test_a_wrong_answer_is_not_yet_and_never_raises(capsys, yours, truth):
    assert not verdict(capsys, yours, truth, "think again")


@pytest.mark.parametrize("yours, truth", [((8, 510, 4, 4), (8, 512, 4, 4)), (2_765_000, 2_765_568), (127, 128)])
def test_a_count_that_is_nearly_right_is_not_right(capsys, yours, truth):
    assert not verdict(capsys, yours, truth, "think again")


def test_even_an_answer_that_cannot_be_shown_does_not_raise(capsys):
    class Broken:
        def __repr__(self):
            raise RuntimeError("no words")

    for truth in (5, "relu"):
        assert not verdict(capsys, Broken(), truth, "think again")
