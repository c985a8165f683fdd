"""Types and shapes of calls are checked in tests, in each of the three ways of `tests/helpers/checked.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

beartype = pytest.importorskip("beartype").beartype
checked = jaxtyping.jaxtyped(typechecker=beartype)  # as tests/conftest.py has set it


@checked
def product(values: Float[Tensor, " n"], by: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return values[: len(by)] * by[: len(values)]


@checked
def half(number: int, *, of: str = "") -> int:
    return number / 2 if number % 2 else number // 2  # type: ignore[return-value]


def made(closed_over: int) -> Callable[..., Any]:
    @checked
    def half(number: int, of: str = "") -> int:
        return number / 2 if number % 2 else number // 2 + closed_over  # type: ignore[return-value]

    return half


def test_shapes_are_checked():
    assert product(torch.ones(2), torch.ones(2)).tolist() == [1, 1]
    with pytest.raises(jaxtyping.TypeCheckError):
        product(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("function", [half, made(0)], ids=["of a module", "inside of another"])
def test_types_of_arguments_and_results_are_checked(function, monkeypatch):
    assert function(4, of="x") == 2
    for wrong in ({"number": 4.0}, {"number": 3}, {"number": 4, "of": 1}):
        with pytest.raises(jaxtyping.TypeCheckError, match="violates type hint"):
            function(**wrong)
    with pytest.raises(jaxtyping.TypeCheckError, match="violates type hint"):
        function("x")
    with pytest.raises(TypeError, match="argument"):
        function(1, "x", 2)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert function(3) == 1.5


def test_each_closure_is_its_own():
    assert [made(number)(4) for number in (0, 1)] == [2, 3]


def test_functions_of_the_package_are_checked():
    from dpo_lightning.batch.parts import ranges
    from dpo_lightning.losses import dpo

    with pytest.raises(jaxtyping.TypeCheckError):
        dpo(torch.ones(2), torch.ones(3), beta=0.1)
    with pytest.raises(jaxtyping.TypeCheckError, match="violates type hint"):
        ranges("x", "y")
