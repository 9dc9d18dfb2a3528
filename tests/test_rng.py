"""rng: a key becomes a random generator."""

import random
from itertools import combinations

import numpy as np
import pytest
import torch

from animegan_helpers.rng import rng

KEYS = [
    (),
    (0,),
    ("0",),
    (1, "a"),
    ("1", "a"),
    ("1a",),
    (0, 12),
    (0, 1, 2),
    (0, "noise", 1),
    (0, "labels", 1),
    (0, "noise", 2),
    (1, "noise", 1),
    ("noise", 0, 1),
    (-1,),
    (2**70,),
]


def numbers(*key, count=3):
    return torch.randint(0, 1_000_000, (count,), generator=rng(*key)).tolist()


@pytest.mark.parametrize("key", KEYS)
def test_equal_keys_give_equal_streams(key):
    assert numbers(*key, count=100) == numbers(*key, count=100)


def test_different_keys_give_different_streams():
    for one, other in combinations(KEYS, 2):
        assert numbers(*one) != numbers(*other), f"{one} and {other}"


def test_two_generators_of_one_key_do_not_share_their_position():
    first = rng(3)
    second = rng(3)
    torch.rand(5, generator=first)
    assert torch.rand(1, generator=second) == torch.rand(1, generator=rng(3))


def test_a_numpy_integer_is_the_same_key_as_a_python_integer():
    assert numbers(np.int64(7), "rows") == numbers(7, "rows")


@pytest.mark.parametrize("part", [0.5, None, (1, 2)])
def test_a_key_of_anything_else_is_refused(part):
    with pytest.raises(TypeError):
        rng(0, part)


def test_no_global_randomness_is_touched():
    def global_states():
        return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())

    before = global_states()
    torch.rand(10, generator=rng(0, "noise"))
    assert global_states() == before


def test_streams_stay_what_they_have_always_been():
    assert numbers() == [314525, 27754, 630713]
    assert numbers(0) == [817156, 80930, 841023]
    assert numbers(0, "noise", 1000) == [585167, 166170, 208434]
