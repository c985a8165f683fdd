"""How far back a model's mask rule lets a query look, read from the rule itself and not from a table of booleans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""`rule(batch, head, query position, key position) -> visible`, the form that transformers builds masks from."""


def reach_of(rule: Rule) -> float | None:
    """Return how many keys back a query sees, itself included: a window's size, infinity for the causal rule.

    The rule is called once, with symbols in place of positions. They do what integers do as far as comparisons of two
    positions go, and refuse everything else. So an answer holds at every pair of positions, and a rule that looks up a
    tensor, rounds to chunks or branches has none. Costs a few microseconds, whatever the lengths.

    Returns:
        The number, from 1 on; None for a rule that is neither causal nor a causal window, or that cannot be read.
    """
    symbolic: Any = rule
    try:
        seen = symbolic(_Unread(), _Unread(), _Linear(1, 0, 0), _Linear(0, 1, 0))
    except Exception:  # a rule that was made for tensors may raise anything
        return None
    if not isinstance(seen, _Distances) or seen.least != 0 or seen.most < 0:
        return None
    return seen.most + 1


class _Unread:
    """A value of which a rule may ask nothing, not even whether it is true or equals another."""

    def __bool__(self) -> bool:
        raise TypeError

    def __eq__(self, other: object) -> bool:
        raise TypeError

    def __hash__(self) -> int:
        raise TypeError


class _Distances(_Unread):
    """Truth of `least <= query - key <= most`, with as much of a tensor as transformers' `and_masks` touches."""

    device = None

    def __init__(self, least: float = -math.inf, most: float = math.inf) -> None:
        self.least, self.most = least, most

    def __and__(self, other: object) -> _Distances:
        if not isinstance(other, _Distances):
            raise TypeError
        return _Distances(max(self.least, other.least), min(self.most, other.most))

    def to(self, device: object) -> _Distances:
        """Return the same: it is on no device."""
        if device is not None:
            raise TypeError
        return self


class _Linear(_Unread):
    """The integer `a x query + b x key + c` of two positions that are not known."""

    def __init__(self, query: int, key: int, offset: int) -> None:
        self._terms = query, key, offset

    def new_ones(self, size: object, dtype: object) -> _Distances:
        """Return the truth that holds everywhere, from which `and_masks` starts."""
        return _Distances()

    def __add__(self, other: object) -> _Linear:
        return _Linear(*(one + two for one, two in zip(self._terms, _terms(other), strict=True)))

    def __sub__(self, other: object) -> _Linear:
        return _Linear(*(one - two for one, two in zip(self._terms, _terms(other), strict=True)))

    __radd__ = __add__

    def __neg__(self) -> _Linear:
        return _Linear(*(-term for term in self._terms))

    def __rsub__(self, other: object) -> _Linear:
        return -(self - other)

    def __ge__(self, other: object) -> _Distances:
        return (self - other)._is_not_negative()

    def __le__(self, other: object) -> _Distances:
        return (-(self - other))._is_not_negative()

    def __gt__(self, other: object) -> _Distances:
        return (self - other - 1)._is_not_negative()

    def __lt__(self, other: object) -> _Distances:
        return (-(self - other + 1))._is_not_negative()

    def _is_not_negative(self) -> _Distances:
        """Return where `distance + c >= 0`, or `c - distance >= 0`; other combinations are no bound of a distance."""
        query, key, offset = self._terms
        if (query, key) == (1, -1):
            return _Distances(least=float(-offset))
        if (query, key) == (-1, 1):
            return _Distances(most=float(offset))
        raise TypeError


def _terms(value: object) -> tuple[int, int, int]:
    if isinstance(value, _Linear):
        return value._terms
    if isinstance(value, int):
        return 0, 0, value
    raise TypeError
