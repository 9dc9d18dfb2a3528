"""What the reader built is compared with the package; exercises check themselves. Since page 01."""

import textwrap
from collections.abc import Callable

import numpy as np
import torch
from torch import nn


def same_network(
    yours: type[nn.Module], packages: type[nn.Module], x: torch.Tensor, **arguments: object
) -> None:
    """Build both classes from one seed; compare weights, answers to `x`, batch-norm statistics.

    Raises AssertionError that names the first difference.
    """
    mine = _build(yours, arguments).to(x.device)
    theirs = _build(packages, arguments).to(x.device)
    weights = _weights(mine)
    package_weights = _weights(theirs)
    assert len(weights) == len(package_weights), (
        f"yours has {len(weights)} weight tensors, the package's {len(package_weights)}"
    )
    _compare(weights, package_weights, "initial weights")
    with torch.no_grad():  # a forward pass in train mode also updates the statistics
        _compare({"the output": mine(x)}, {"the output": theirs(x)}, "in train mode")
        _compare(_weights(mine), _weights(theirs), "batch-norm statistics")
        mine.eval()
        theirs.eval()
        _compare({"the output": mine(x)}, {"the output": theirs(x)}, "in eval mode")
    count = sum(weight.numel() for weight in mine.parameters())
    print(
        "Your network matches the package's:"
        f" {len(weights)} tensors, {count:,} weights and all outputs agree."
    )


def _build(network, arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network(**arguments)


def same_steps(yours: Callable, packages: Callable) -> None:
    """Run three seeded training steps of both on small networks; compare losses and weights.

    Each is called as `step(G, D, opt_g, opt_d, real, z)` and returns four numbers.
    Raises AssertionError that names the first difference.
    """
    _compare(_three_steps(yours), _three_steps(packages), "three steps")
    print(
        "Your step matches the package's: after three steps all losses, scores and weights agree."
    )


def _three_steps(step):
    """-> by name: what three steps return, and the weights of both networks after them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = nn.Sequential(
            nn.Linear(4, 48),
            nn.BatchNorm1d(48),
            nn.Tanh(),
            nn.Unflatten(1, (3, 4, 4)),
        )
        D = nn.Sequential(
            nn.Flatten(),
            nn.Linear(48, 8),
            nn.BatchNorm1d(8),
            nn.LeakyReLU(0.2),
            nn.Linear(8, 1),
            nn.Flatten(0),
        )
        opt_g = torch.optim.Adam(G.parameters(), 0.01)
        opt_d = torch.optim.Adam(D.parameters(), 0.01)
        numbers = []
        for _ in range(3):
            real = torch.rand(8, 3, 4, 4)
            z = torch.randn(8, 4)
            numbers.append(torch.stack(step(G, D, opt_g, opt_d, real, z)).detach())
    losses = {"losses and scores": torch.stack(numbers)}
    return losses | _weights(G, "G.") | _weights(D, "D.")


def _weights(net: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    # By position, not by name: the reader may have named the layers differently.
    tensors = net.state_dict().values()
    return {f"{prefix}tensor {i}": tensor.clone().float() for i, tensor in enumerate(tensors)}


def _compare(mine: dict, theirs: dict, when: str) -> None:
    for (name, a), b in zip(mine.items(), theirs.values()):
        assert a.shape == b.shape, (
            f"{when}: {name} has shape {tuple(a.shape)}, the package's {tuple(b.shape)}"
        )
        gap = (a - b).abs().max().item()
        assert gap < 1e-5, f"{when}: {name} differs from the package's by {gap:.2g}"


def same_answers(yours: Callable, packages: Callable, *inputs: object) -> None:
    """Call both functions with the same inputs and compare their answers (numbers or arrays).

    Raises AssertionError that says how they differ.
    """
    mine = torch.as_tensor(np.array(yours(*inputs)))
    theirs = torch.as_tensor(np.array(packages(*inputs)))
    assert mine.dtype == theirs.dtype, f"yours returns {mine.dtype}, the package's {theirs.dtype}"
    _compare({"the answer": mine.float()}, {"the answer": theirs.float()}, "with the same inputs")
    print(
        f"Your {packages.__name__} matches the package's:"
        f" the same answers, of shape {tuple(mine.shape)}."
    )


def exercise(yours: object, truth: object, hint: str, on: tuple = ()) -> None:
    """Print whether an answer is right, or "Not yet" and a hint. Never raises, whatever `yours` is.

    `yours` and `truth` are values (numbers, shapes, tensors, strings), or functions that are called
    with the arguments `on`. `...` means "not tried yet".
    """
    if callable(truth):
        truth = truth(*on)
    try:
        answer = yours(*on) if callable(yours) else yours
        if answer is ...:
            reason = "put your answer in place of the dots"
        else:
            reason = f"yours is {_short(answer)}"
    except Exception as error:
        answer = ...
        reason = f"yours stopped with {type(error).__name__}: {error}"
    if answer is not ... and _equal(answer, truth):
        print("Right.")
    else:
        print(textwrap.fill(f"Not yet: {reason}. Hint: {hint}", 100))  # the width of a page


def predict(guess: object, look: Callable[[], object] | None = None) -> object:
    """Print a prediction, then call `look`, an experiment, and return what it returns.

    For open exercises: nothing is graded, and any prediction will do. `...` means "no prediction
    yet": then `look` is not called, so that a reader predicts first.
    """
    if guess is ...:
        text = "No prediction yet: put yours in place of the dots, then run this cell again."
        print(textwrap.fill(text, 100))
        return None
    try:
        text = _short(guess)
    except Exception as error:
        text = f"something that cannot be printed ({type(error).__name__})"
    print(textwrap.fill(f"You predicted: {text}. Compare it with the result.", 100))
    if look is None:
        return None
    return look()


def _equal(answer, truth) -> bool:
    """Whether an answer is right. One that can't be compared, such as None, is not."""
    if isinstance(truth, (str, bool)) or truth is None:
        return type(answer) is type(truth) and answer == truth
    truth = torch.as_tensor(truth).cpu()
    try:
        return _agree(torch.as_tensor(answer).cpu(), truth)
    except Exception:  # it is no number, and may fail in any way
        return False


def _agree(answer: torch.Tensor, truth: torch.Tensor) -> bool:
    """Whether numbers are of one kind, and equal: counts exactly, others within 1 %."""
    is_one_kind = (answer.dtype == torch.bool) == (truth.dtype == torch.bool)
    if answer.is_complex() or not is_one_kind:
        return False
    if not truth.is_floating_point():  # a count is right or wrong, never nearly right
        common = torch.promote_types(answer.dtype, truth.dtype)
        return torch.equal(answer.to(common), truth.to(common))
    if answer.shape != truth.shape:
        return False
    return torch.allclose(answer.double(), truth.double(), rtol=1e-2, atol=1e-4)


def _short(answer) -> str:
    if isinstance(answer, torch.Tensor) and answer.ndim:
        return f"a tensor of shape {tuple(answer.shape)}"
    text = repr(answer)
    if len(text) >= 80:
        return text[:77] + "..."
    return text
