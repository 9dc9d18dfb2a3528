"""checks: what the reader built is compared with the package."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from animegan_helpers import checks
from animegan_helpers.discriminator import Discriminator
from animegan_helpers.generator import Generator
from animegan_helpers.trainer import train_step


def readers_discriminator(slope=0.2, std=0.02, norm=True, bias=False, kernel=4):
    """-> D as a reader may write it for 16x16 images; each argument can introduce a mistake."""

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


def compare_with_discriminator(yours):
    checks.same_network(yours, Discriminator, torch.randn(4, 3, 16, 16), width=4, size=16)


def test_a_network_written_by_hand_matches_the_packages(capsys):
    compare_with_discriminator(readers_discriminator())
    assert "Your network matches the package's" in capsys.readouterr().out


def test_the_packages_networks_match_themselves():
    images = torch.randn(2, 3, 32, 32)
    checks.same_network(Discriminator, Discriminator, images, width=2, size=32, norm="none")
    checks.same_network(Generator, Generator, torch.randn(2, 8), width=2, z_dim=8, size=32)


@pytest.mark.parametrize(
    "mistake, place",
    [
        ({"slope": 0.1}, "train mode: the output"),
        ({"std": 0.2}, "initial weights"),
        ({"norm": False}, "weight tensors"),
        ({"bias": True}, "weight tensors"),
        ({"kernel": 3}, "initial weights"),
    ],
)
def test_a_network_that_differs_fails_and_the_difference_is_named(mistake, place):
    with pytest.raises(AssertionError, match=place):
        compare_with_discriminator(readers_discriminator(**mistake))


def test_comparing_networks_does_not_change_torchs_random_numbers():
    before = torch.get_rng_state()
    images = torch.zeros(2, 3, 16, 16)
    checks.same_network(Discriminator, Discriminator, images, width=2, size=16)
    assert torch.equal(torch.get_rng_state(), before)


def readers_step(real_label=1.0, fake_label=0.0, d_zero=True, g_zero=True, g_turn=True):
    """-> a training step as a reader may write it; each argument can introduce a mistake."""

    def bce(logits, label):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def step(G, D, opt_g, opt_d, real, z):
        fake = G(z)
        real_logits = D(real)
        fake_logits = D(fake.detach())
        loss_d = bce(real_logits, real_label) + bce(fake_logits, fake_label)
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
        return loss_d, loss_g, real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()

    return step


def test_a_step_written_by_hand_matches_the_packages(capsys):
    checks.same_steps(readers_step(), train_step)
    assert "Your step matches the package's" in capsys.readouterr().out


@pytest.mark.parametrize(
    "mistake",
    [
        {"real_label": 0.0, "fake_label": 1.0},
        {"real_label": 0.9},
        {"d_zero": False},
        {"g_zero": False},
        {"g_turn": False},
    ],
)
def test_a_step_that_differs_fails(mistake):
    with pytest.raises(AssertionError, match="three steps"):
        checks.same_steps(readers_step(**mistake), train_step)


def double(x):
    return 2 * x


def test_functions_with_the_same_answers_match(capsys):
    checks.same_answers(lambda x: x + x, double, np.arange(6))
    printed = capsys.readouterr().out
    assert printed == "Your double matches the package's: the same answers, of shape (6,).\n"


@pytest.mark.parametrize(
    "wrong, reason",
    [(lambda x: 3 * x, "differs"), (lambda x: 2.0 * x, "float64"), (lambda x: x[:2], "shape")],
)
def test_functions_with_other_answers_fail_and_the_difference_is_named(wrong, reason):
    with pytest.raises(AssertionError, match=reason):
        checks.same_answers(wrong, double, np.arange(6))


# ---- exercises ----


def is_right(capsys, *arguments):
    """Check an exercise whose hint is "think again"; -> whether it was called right."""
    checks.exercise(*arguments)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100, printed
    if printed == "Right.\n":
        return True
    assert printed.startswith("Not yet: ")
    assert "Hint: think again" in " ".join(printed.split())
    return False


@pytest.mark.parametrize(
    "yours, truth",
    [
        (5, 5),
        (5.0, 5),
        (0.6931, 0.693147),
        ((4, 3, 64, 64), torch.Size([4, 3, 64, 64])),
        ([1, 2], (1, 2)),
        ("relu", "relu"),
        (True, True),
        (None, None),
        (torch.ones(2), torch.ones(2)),
        (np.float32(2), 2),
        (16_777_217.0, 16_777_217),  # more digits than float32 has
        (torch.tensor(5, dtype=torch.uint8), 5),
        (lambda: 7, 7),
    ],
)
def test_a_right_answer_is_right(capsys, yours, truth):
    assert is_right(capsys, yours, truth, "think again")


def test_functions_are_compared_by_their_answers(capsys):
    on = (torch.arange(4.0),)
    assert is_right(capsys, lambda x: x + x, lambda x: 2 * x, "think again", on)
    assert not is_right(capsys, lambda x: x * x, lambda x: 2 * x, "think again", on)


WRONG = [
    ...,
    4,
    float("nan"),
    "",
    "5",
    (),
    [],
    {},
    object(),
    (4, 3, 64),
    (4, 3, 64, 65),
    torch.ones(2),
    torch.ones(0),
    False,
    lambda: 1 / 0,
    lambda: ...,
    lambda x, y: x,
    nn.Linear,
    b"bytes",
    [[1], [2, 3]],
    1j,
    "x" * 500,
    torch.ones(3, 3),
]


@pytest.mark.parametrize("truth", [5, (4, 3, 64, 64), "relu", True, None, torch.ones(3)], ids=str)
@pytest.mark.parametrize("yours", WRONG, ids=lambda yours: repr(yours)[:20])
def test_a_wrong_answer_is_not_yet_right_and_never_raises(capsys, yours, truth):
    assert not is_right(capsys, yours, truth, "think again")


@pytest.mark.parametrize("yours", [None, "16", object(), lambda: None])
def test_an_answer_that_cannot_be_compared_did_not_stop_with_an_error(capsys, yours):
    checks.exercise(yours, 3, "think again")
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("Not yet: yours is ") and "stopped" not in printed


@pytest.mark.parametrize("yours", [1 + 5j, True, torch.tensor(True)])
def test_an_answer_of_another_kind_is_not_a_number_that_is_nearly_right(capsys, yours):
    assert not is_right(capsys, yours, 1.0, "think again")


@pytest.mark.parametrize(
    "yours, truth",
    [
        ((8, 510, 4, 4), (8, 512, 4, 4)),
        (2_765_000, 2_765_568),
        (127, 128),
        (torch.zeros((), dtype=torch.uint8), 256),
        (torch.tensor(-1, dtype=torch.int8), 255),
        (True, 5),
        (torch.tensor(True), 5),
        (np.True_, 5),
        (True, 1),
        ((True, True), (4, 3)),
        (1, torch.tensor(True)),
        (torch.ones(2), torch.ones(2, dtype=torch.bool)),
    ],
)
def test_a_count_that_is_nearly_right_is_not_right(capsys, yours, truth):
    assert not is_right(capsys, yours, truth, "think again")


def test_even_an_answer_that_cannot_be_printed_does_not_raise(capsys):
    class Broken:
        def __repr__(self):
            raise RuntimeError("no words")

    for truth in (5, "relu"):
        assert not is_right(capsys, Broken(), truth, "think again")


# ---- predictions ----


def test_a_prediction_is_printed_before_the_experiment_and_never_graded(capsys):
    def experiment():
        print("the experiment")
        return 0.25

    assert checks.predict("about 0.9", experiment) == 0.25
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["You predicted: 'about 0.9'. Compare it with the result.", "the experiment"]


def test_without_a_prediction_the_experiment_does_not_run(capsys):
    def experiment():
        raise AssertionError("it ran")

    assert checks.predict(..., experiment) is None
    assert capsys.readouterr().out.startswith("No prediction yet: put yours in place of the dots")


@pytest.mark.parametrize("guess", WRONG[1:], ids=lambda guess: repr(guess)[:20])
def test_every_prediction_is_taken(capsys, guess):
    assert checks.predict(guess) is None
    printed = capsys.readouterr().out
    assert printed.startswith("You predicted: ")
    assert "Right" not in printed and "Not yet" not in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_even_a_prediction_that_cannot_be_printed_is_taken(capsys):
    class Broken:
        def __repr__(self):
            raise RuntimeError("no words")

    assert checks.predict(Broken(), lambda: 7) == 7
    assert "cannot be printed (RuntimeError)" in capsys.readouterr().out
