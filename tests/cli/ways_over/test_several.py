"""Fields of one fate, named together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dpo_lightning.cli.ways_over.fields import Fate
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread


@pytest.mark.parametrize(
    ("made", "fate"),
    [(unread, Fate.NO_EFFECT_THERE), (unneeded, Fate.NO_EFFECT_HERE), (unequal, Fate.REFUSED)],
)
def test_names_share_a_fate_and_a_reason(made: Callable[..., Any], fate: Fate) -> None:
    fields = made("since it is so", "a b")
    assert [(each.name, each.fate, each.said) for each in fields] == [(n, fate, "since it is so") for n in ("a", "b")]
    assert [each.asks(value) for each in fields[:1] for value in (None, False, 0, "", "none", True, 2)] == [
        False
    ] * 5 + [True] * 2


def test_a_default_of_the_tool_asks_for_nothing() -> None:
    (field,) = unequal("since it is so", "a", (1,))
    assert not field.asks(1)
    assert field.asks(True)
