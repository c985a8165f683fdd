"""The recipe of the starting policy is checked before anything is made."""

from __future__ import annotations

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.lab import PolicyRecipe


def test_a_width_that_its_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 2 x heads"):
        PolicyRecipe(hidden_size=6, heads=2)
    assert PolicyRecipe(hidden_size=8, heads=2).hidden_size == 8


@pytest.mark.parametrize("name", ["hidden_size", "layers", "heads", "texts", "batch_size"])
def test_nothing_is_less_than_1(name: str) -> None:
    with pytest.raises(InputError, match=rf"recipe\.{name} must be at least 1, got 0"):
        PolicyRecipe(**{name: 0})
