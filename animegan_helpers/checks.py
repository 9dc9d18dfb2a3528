"""What the reader made meets what the package has: twins from one seed, and exercises that never raise."""

import textwrap

import numpy as np
import torch
from torch import nn


def same_network(yours, packages, x: torch.Tensor, **arguments) -> None:
    """Build both classes from one seed; compare start weights, answers to `x`, and batch-norm statistics.

    Raises AssertionError that names the first difference.
    """
    twins = []
    for network in (yours, packages):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            twins.append(network(**arguments))
    mine, theirs = twins
    before, after = _weights(mine), _weights(theirs)
    assert len(before) == len(after), f"yours has {len(before)} weight tensors, the package's {len(after)}"
    _compare(before, after, "start weights")
    with torch.no_grad():
        _compare({"answers": mine(x)}, {"answers": theirs(x)}, "while training")  # also moves the statistics
        _compare(_weights(mine), _weights(theirs), "batch-norm statistics")
        _compare({"answers": mine.eval()(x)}, {"answers": theirs.eval()(x)}, "in eval mode")
    numbers = sum(p.numel() for p in mine.parameters())
    print(f"Yours is the package's: {len(before)} tensors, {numbers:,} weights and all answers agree.")


def same_steps(yours, packages) -> None:
    """Run three seeded steps of both on small networks; compare the numbers returned and all weights afterwards.

    Raises AssertionError that names the first difference.
    """
    results = []
    for step in (yours, packages):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G = nn.Sequential(nn.Linear(4, 48), nn.BatchNorm1d(48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4)))
            D = nn.Sequential(
                nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0)
            )
            opt_g, opt_d = torch.optim.Adam(G.parameters(), 0.01), torch.optim.Adam(D.parameters(), 0.01)
            told = [
                torch.stack(step(G, D, opt_g, opt_d, torch.rand(8, 3, 4, 4), torch.randn(8, 4))).detach()
                for _ in range(3)
            ]
        results.append({"numbers told": torch.stack(told)} | _weights(G, "G.") | _weights(D, "D."))
    _compare(*results, "three steps")
    print("Your step is the package's: after three steps all losses, scores and weights agree.")


def _weights(net: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    # In order, not by name: the reader may have called the parts otherwise.
    return {f"{prefix}tensor {i}": tensor.clone().float() for i, tensor in enumerate(net.state_dict().values())}


def _compare(mine: dict, theirs: dict, when: str) -> None:
    for (name, a), b in zip(mine.items(), theirs.values()):
        assert a.shape == b.shape, f"{when}: {name} has shape {tuple(a.shape)}, the package's {tuple(b.shape)}"
        gap = (a - b).abs().max().item()
        assert gap < 1e-5, f"{when}: {name} differs from the package's by {gap:.2g}"


def same_answers(yours, packages, *given) -> None:
    """Call both functions with the same; compare what they give. Raises AssertionError that says how they differ."""
    mine, theirs = (torch.as_tensor(np.array(function(*given))) for function in (yours, packages))
    assert mine.dtype == theirs.dtype, f"yours gives {mine.dtype}, the package's {theirs.dtype}"
    _compare({"the answer": mine.float()}, {"the answer": theirs.float()}, "called with the same")
    print(f"Your {packages.__name__} is the package's: the same answers, of shape {tuple(mine.shape)}.")


def exercise(yours, truth, hint: str, on: tuple = ()) -> None:
    """Say whether an answer is right, or "not yet" and a hint; never raises, whatever `yours` is.

    `yours` and `truth` are values (numbers, shapes, tensors, texts), or functions that are called with `on`.
    `...` means "not tried".
    """
    truth = truth(*on) if callable(truth) else truth
    try:
        answer = yours(*on) if callable(yours) else yours
        told = "put your answer in place of the dots" if answer is ... else f"yours is {_short(answer)}"
        right = answer is not ... and _equal(answer, truth)
    except Exception as error:
        right, told = False, f"yours stopped with {type(error).__name__}: {error}"
    print("Right." if right else textwrap.fill(f"Not yet: {told}. Hint: {hint}", 100))  # as wide as a page


def _equal(answer, truth) -> bool:
    if isinstance(truth, (str, bool)) or truth is None:
        return type(answer) is type(truth) and answer == truth
    answer, truth = torch.as_tensor(answer), torch.as_tensor(truth)
    if not truth.is_floating_point():  # what can be counted is right or wrong, not nearly right
        return torch.equal(answer, truth.to(answer.dtype)) and not answer.is_complex()
    return answer.shape == truth.shape and torch.allclose(answer.double(), truth.double(), rtol=1e-2, atol=1e-4)


def _short(answer) -> str:
    if isinstance(answer, torch.Tensor) and answer.ndim:
        return f"a tensor of shape {tuple(answer.shape)}"
    text = repr(answer)
    return text if len(text) < 80 else text[:77] + "..."
