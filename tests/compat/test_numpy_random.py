"""The state of numpy's random numbers is the one that numpy says, whatever was drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dpo_lightning.compat import numpy_random
from dpo_lightning.compat.numpy_random import global_state

DRAWS: list[Callable[[], Any]] = [
    lambda: None,
    np.random.random,
    np.random.normal,
    lambda: np.random.randn(3),
    lambda: np.random.permutation(5),
    lambda: np.random.random(700),
    lambda: np.random.seed(3),
    lambda: np.random.bytes(1),
]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave numpy's own generator as it was."""
    generator, state = np.random.get_bit_generator(), np.random.get_state()
    yield
    np.random.set_bit_generator(generator)
    np.random.set_state(state)


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_state_is_numpys_whatever_is_drawn() -> None:
    rng = random.Random(0)
    kept: list[tuple[Any, Any]] = []
    for _ in range(300):
        rng.choice(DRAWS)()
        kept.append((global_state(), np.random.get_state()))
        if rng.random() < 0.2:
            np.random.set_state(rng.choice(kept)[1])
        assert same(global_state(), np.random.get_state())
    assert all(same(found, said) for found, said in kept)  # no later draw has changed it
    assert len({said[2] for _, said in kept}) > 20


def test_a_normal_number_that_is_left_is_seen() -> None:
    np.random.seed(0)
    np.random.normal()
    first = global_state()
    np.random.normal()  # moves no number of the generator
    assert first[3:] != global_state()[3:] == (0, 0.0)


def test_a_normal_number_that_is_put_back_is_seen() -> None:
    np.random.seed(0)
    np.random.normal()
    before = np.random.get_state()
    np.random.normal()
    global_state()
    np.random.set_state(before)
    assert same(global_state(), before)


def test_nothing_is_made_where_nothing_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    np.random.seed(1)
    state = global_state()
    monkeypatch.setattr(np.random, "get_state", lambda **_: pytest.fail("made anew"))
    assert global_state() is state


def test_another_generator_is_asked_as_numpy_asks_it() -> None:
    np.random.set_bit_generator(np.random.PCG64(1))
    with pytest.warns(RuntimeWarning, match="legacy"):
        assert global_state()["bit_generator"] == "PCG64"


def test_a_state_is_made_in_each_call_where_its_layout_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    np.random.seed(1)
    before = global_state()
    monkeypatch.setattr(numpy_random, "_place_of_gauss", lambda: None)
    assert global_state() is not before
    assert same(global_state(), before)
