"""The arguments of a constructor, by signature and through keywords that are handed on."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.checkpoints.constructors import arguments_of, is_default, refuse_unknown
from dpo_lightning.errors import InputError


class Inner:
    def __init__(self, policy: str, beta: float = 0.1, judge: Any = len) -> None: ...


class Named(Inner):
    def __init__(self, policy: str, judge: Any = max) -> None:
        super().__init__(policy, judge=judge)


class HandsOn(Inner):
    def __init__(self, extra: int = 1, **rest: Any) -> None:
        super().__init__("fixed", **rest)


def test_arguments_are_those_of_the_class_itself() -> None:
    assert arguments_of(Inner) == {"policy", "beta", "judge"}
    assert arguments_of(Named) == {"policy", "judge"}


def test_keywords_that_are_handed_on_count_and_those_that_are_set_do_not() -> None:
    assert arguments_of(HandsOn) == {"extra", "beta", "judge"}


def test_without_its_source_a_class_takes_what_its_base_takes() -> None:
    made: dict[str, Any] = {"Inner": Inner, "__name__": "nowhere"}
    exec("class Typed(Inner):\n  def __init__(self, extra, **rest): super().__init__(**rest)", made)
    assert arguments_of(made["Typed"]) == {"extra", "policy", "beta", "judge"}
    assert arguments_of(object) == frozenset()


def test_the_outermost_default_counts() -> None:
    assert is_default(Inner, "judge", len)
    assert is_default(HandsOn, "judge", len)
    assert is_default(Named, "judge", max)
    assert not is_default(Named, "judge", len)
    assert not is_default(Inner, "other", len)


def test_an_unknown_argument_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="Named has no argument juge: did you mean judge"):
        refuse_unknown(Named, ["policy", "juge"])
    with pytest.raises(InputError, match=r"Named has no argument beta: it takes judge, policy$"):
        refuse_unknown(Named, ["beta"])
    refuse_unknown(HandsOn, ["anything"])
