"""What logs and checkpoints say of sources."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.data.mixing.parts import check_same, said_of, states
from dpo_lightning.errors import InputError

PARTS = (Part("a", 0, 2, 6), Part("b", 2, 3, 2))


def table(*prompts):
    return Dataset.from_list([{"row": 0, "prompt_ids": [n], "completion_ids": [[1], [2]]} for n in prompts])


def test_shares_are_said():
    assert said_of(PARTS) == "data.sources: 8 rows in each epoch: a 6 of 2 rows (75.0%), b 2 of 3 rows (25.0%)"


def test_a_source_is_known_by_its_own_rows():
    now, moved = states(PARTS, table(5, 6, 7, 8, 9)), states(PARTS, table(5, 6, 7, 8, 1))
    assert now["a"] == moved["a"] == {"content": now["a"]["content"], "size": 2, "taken": 6}
    assert now["b"]["content"] != moved["b"]["content"]
    check_same(now, states(PARTS, table(5, 6, 7, 8, 9)))
    check_same(None, None)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"a": {"content": "1", "size": 2, "taken": 3}, "b": {"content": "0", "size": 9, "taken": 5}}, "'b' has other"),
        ({"a": {"content": "1", "size": 2, "taken": 1}, "b": {"content": "2", "size": 5, "taken": 5}}, "'a' gives 3 "),
        ({"a": {"content": "1", "size": 2, "taken": 3}}, "'b' is new"),
        ({"b": {"content": "2", "size": 5, "taken": 5}, "a": {"content": "1", "size": 2, "taken": 3}}, "another order"),
        (None, "'a' is new; 'b' is new"),
    ],
)
def test_what_has_changed_is_named(before, said):
    now = {"a": {"content": "1", "size": 2, "taken": 3}, "b": {"content": "2", "size": 5, "taken": 5}}
    with pytest.raises(InputError, match=said):
        check_same(before, now)
    if before is None:
        with pytest.raises(InputError, match="'a' is gone; 'b' is gone"):
            check_same(now, before)
