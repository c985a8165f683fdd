"""Which examples are held out together."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value

from dpo_lightning import UnpairedFormat
from dpo_lightning.data.held_out import HeldOutBy, hold_out
from dpo_lightning.errors import InputError
from tests.data.common import data, ready, rows

FEATURES = Features({"row": Value("int64"), "prompt_ids": List(Value("int32"))})


def table(*examples: tuple[int, list[int]]) -> Dataset:
    return Dataset.from_list([{"row": row, "prompt_ids": ids} for row, ids in examples], features=FEATURES)


def drawn(seed: int, size: int = 60) -> Dataset:
    """Rows with one to three examples, some of equal prompts."""
    choice = random.Random(seed)
    made = [(row, [choice.randrange(20)] * choice.randrange(3)) for row in range(size) for _ in range(row % 3 + 1)]
    return table(*made)


def keys(part: Dataset, by: str) -> set[Any]:
    return {row["row"] if by == "row" else tuple(row["prompt_ids"]) for row in part}


@pytest.mark.parametrize("by", ["row", "prompt"])
@pytest.mark.parametrize("seed", range(4))
def test_a_group_is_on_one_side_and_nothing_is_lost(seed: int, by: HeldOutBy) -> None:
    whole = drawn(seed) if by == "row" else drawn(seed, 12)
    train, held = hold_out(whole, 0.25, seed, by)
    assert sorted(map(str, [*train, *held])) == sorted(map(str, whole))
    assert not keys(train, "row") & keys(held, "row")
    assert by == "row" or not keys(train, "prompt") & keys(held, "prompt")
    assert len(train) > 0 < len(held)
    if by == "row":
        assert len(keys(held, "row")) == 15


def test_a_split_is_that_of_its_seed() -> None:
    first, again, other = (hold_out(drawn(0), 0.25, seed, "row")[1] for seed in (1, 1, 2))
    assert [*first] == [*again]
    assert keys(first, "row") != keys(other, "row")


def test_rows_of_one_example_are_split_as_ever() -> None:
    whole = table(*((row, [row]) for row in range(40)))
    expected = whole.train_test_split(test_size=0.3, seed=5)
    for by in ("row", "prompt"):
        train, held = hold_out(whole, 0.3, 5, by)
        assert ([*train], [*held]) == ([*expected["train"]], [*expected["test"]])


def test_prompts_that_a_row_connects_are_one_group() -> None:
    chain = [(row, [row + side]) for row in range(10) for side in (0, 1)]
    whole = table(*chain, *((row, [row]) for row in range(100, 104)))
    train, held = hold_out(whole, 0.2, 0, "prompt")
    assert {len(train), len(held)} in ({23, 1}, {4, 20})


def test_examples_keep_their_order_within_a_row() -> None:
    whole = table(*((row, [row, side]) for row in range(20) for side in range(3)))
    for part in hold_out(whole, 0.5, 3, "row"):
        found = np.array(part["prompt_ids"][:])
        assert (found[:, 1].reshape(-1, 3) == [0, 1, 2]).all()


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(InputError, match=r"^data.val_split: 0.5 of 1 prompts leaves none to train on"):
        hold_out(table((0, [1]), (1, [1])), 0.5, 0, "prompt")


def test_no_prompt_of_pairs_in_two_completions_is_on_both_sides() -> None:
    module = ready(Dataset.from_list(rows(30)), format=UnpairedFormat(), val_split=0.5)
    sides = [{each.row for each in module.examples(split)} for split in ("train", "val")]
    assert not sides[0] & sides[1]
    assert [len(module.examples(split)) for split in ("train", "val")] == [15, 15]


def test_equal_prompts_of_several_rows_are_held_out_on_request() -> None:
    twice = Dataset.from_list([{**row, "chosen": f"{row['chosen']}{side}"} for row in rows(20) for side in "ab"])
    module = ready(twice, val_split=0.5, val_split_by="prompt")
    sides = [{tuple(each.prompt_ids) for each in module.examples(split)} for split in ("train", "val")]
    assert not sides[0] & sides[1]
    with pytest.raises(InputError, match=r"^data.val_split_by 'prompt': data.val_split holds no fraction out"):
        data(val_split="train", val_split_by="prompt")
