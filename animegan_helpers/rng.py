"""A key such as (seed, "noise", step) becomes a random generator. Used from page 05 on."""

import hashlib
import operator
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def rng(*key: int | str) -> torch.Generator:
    """A key of numbers and strings -> a CPU generator whose stream no other key shares.

    Each use of a seed has its own stream, so drawing the labels never disturbs the noise, and
    step 1,000 draws the same numbers whether or not the steps before it were taken.
    Raises TypeError for a key that is neither an integer nor a string.
    """
    parts = tuple(part if isinstance(part, str) else operator.index(part) for part in key)
    digest = hashlib.sha256(repr(parts).encode()).digest()
    seed = int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Within it new networks get the weights of this seed; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng(seed, "weights").initial_seed())
        yield
