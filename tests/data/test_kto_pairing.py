"""Completions of other prompts, beside the own ones."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_lightning.data.kto_pairing import mismatched_partners, with_mismatched
from dpo_lightning.errors import InputError


def partners_of(prompts: list[int], seed: int) -> list[int] | None:
    places = np.random.default_rng(seed).permutation(len(prompts))
    found = mismatched_partners(np.array(prompts), places)
    return None if found is None else found.tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(0, 3))
def test_partners_have_another_prompt(prompts: list[int], seed: int) -> None:
    partners = partners_of(prompts, seed)

    if len({*prompts}) == 1:
        assert partners is None
    else:
        assert partners is not None
        assert all(prompts[partner] != prompt for prompt, partner in zip(prompts, partners, strict=True))


def test_of_different_prompts_each_row_is_the_partner_of_one() -> None:
    found = [partners_of([*range(8)], seed) for seed in range(60)]

    assert all(sorted(partners) == [*range(8)] for partners in found if partners is not None)
    assert {partners[0] for partners in found if partners is not None} == {*range(1, 8)}


def test_the_ring_by_hand() -> None:
    # In the order of their places: b (row 1), a (row 2), a (row 0), c (row 3), and b again.
    prompts, places = np.array(["a", "b", "a", "c"]), np.array([20, 0, 10, 30])

    assert mismatched_partners(prompts, places).tolist() == [3, 2, 3, 1]
    assert mismatched_partners(np.array(["a", "a"]), np.array([0, 1])) is None


def completions(count: int = 12, marked: int = 0) -> Dataset:
    """Of prompts with one token or two, in turn with the same token; of the first some, not every token counts."""
    ids, mask = List(Value("int32")), List(List(Value("bool")))
    return Dataset.from_list(
        [
            {
                "row": n,
                "prompt_ids": [5] * (1 + n % 2),
                "completion_ids": [[10 + n, 30, 31, 2]],
                "scored": [[True, False, True, n % 4 == 0]] if n < marked else [],
                "labels": [n % 3 == 0],
            }
            for n in range(count)
        ],
        features=Features(
            {
                "row": Value("int64"),
                "prompt_ids": ids,
                "completion_ids": List(ids),
                "scored": mask,
                "labels": List(Value("bool")),
            }
        ),
    )


def test_what_counts_of_a_completion_goes_along_and_is_cut_with_it() -> None:
    rows = completions(marked=6)
    masks = {tuple(ids): mask for (ids,), mask in zip(rows["completion_ids"], rows["scored"], strict=True)}

    found = with_mismatched(rows, max_length=5, seed=0, place="train rows")

    for row in found:
        whole = next(ids for ids in masks if [*ids[: len(row["mismatched_ids"])]] == row["mismatched_ids"])
        assert row["mismatched_scored"] == (masks[whole][0][: len(row["mismatched_ids"])] if masks[whole] else [])
    assert any(row["mismatched_scored"] for row in found)


def test_all_of_it_counts_where_the_cut_leaves_nothing_that_does() -> None:
    rows = completions(4).map(lambda row: {"scored": [[False, False, False, True]]})

    found = with_mismatched(rows, max_length=5, seed=0, place="train rows")

    assert [len(mask) for mask in found["mismatched_scored"]] == [
        4 if len(ids) == 4 else 0 for ids in found["mismatched_ids"]
    ]


def test_rows_keep_their_order_and_get_what_fits_of_another_ones() -> None:
    rows = completions()

    found = with_mismatched(rows, max_length=5, seed=0, place="train rows")

    assert found.remove_columns(["mismatched_ids", "mismatched_scored"])[:] == rows[:]
    others = {n % 2: [ids for (ids,) in rows["completion_ids"][1 - n % 2 :: 2]] for n in range(2)}
    for row in found:
        room = 5 - len(row["prompt_ids"])
        assert row["mismatched_ids"] in [ids[:room] for ids in others[row["row"] % 2]]
    assert {len(ids) for ids in found["mismatched_ids"]} == {3, 4}


def test_the_seed_makes_the_choice_and_neither_labels_nor_order_do() -> None:
    def choice(rows: Dataset, seed: int = 0) -> dict[int, list[int]]:
        found = with_mismatched(rows, max_length=9, seed=seed, place="train rows")
        return dict(zip(found["row"], found["mismatched_ids"], strict=True))

    rows = completions()
    flipped = rows.remove_columns("labels").add_column("labels", [[True]] * 12)

    assert choice(flipped) == choice(rows.select(range(11, -1, -1))) == choice(rows)
    assert choice(rows, seed=1) != choice(rows)


def test_one_prompt_is_refused_with_a_way_out() -> None:
    rows = completions().select(range(0, 12, 2))

    with pytest.raises(InputError, match=r"val rows: all prompts are equal, .* an objective without a KL"):
        with_mismatched(rows, max_length=9, seed=0, place="val rows")


def test_a_prompt_with_several_completions_gets_one_of_another_prompt() -> None:
    """Which one of the other prompt's completions it is, the hash says: all of them occur."""
    rows = Dataset.from_list(
        [
            {
                "row": n,
                "prompt_ids": [5, n],
                "completion_ids": [[n, 30, 2], [n, 31, 2], [n, 32, 2]][: 1 + n % 3],
                "scored": [[False, True, True]] * (1 + n % 3),
            }
            for n in range(90)
        ]
    )

    found = with_mismatched(rows, max_length=9, seed=0, place="train rows")["mismatched_ids"][:]

    assert all(ids[0] != n and len(ids) == 3 for n, ids in enumerate(found))
    of_three = [ids[1] for ids in found if ids[0] % 3 == 2]
    assert {of_three.count(token) > 3 for token in (30, 31, 32)} == {True}
    again = with_mismatched(rows.select(range(89, -1, -1)), max_length=9, seed=0, place="train rows")
    assert again["mismatched_ids"][:] == found[::-1]
