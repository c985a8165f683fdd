"""Near-duplicates, against the definition by sets of runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dpo_lightning.data.cleaning.near import SHARED, WIDTH, jaccard, near_duplicates
from tests.data.cleaning.common import Pair, pairs, tokens

RNG = np.random.default_rng(0)


def text(length: int) -> list[int]:
    return RNG.integers(0, 5000, size=length).tolist()


def edited(ids: list[int], places: int) -> list[int]:
    changed = list(ids)
    for place in RNG.choice(len(ids), places, replace=False):
        changed[place] = 9999
    return changed


def runs(ids: list[int]) -> set[tuple[int, ...]]:
    return {tuple(ids[start : start + WIDTH]) for start in range(max(len(ids) - WIDTH + 1, 1))} if ids else set()


def is_near(one: Pair, other: Pair) -> bool:
    def near(first: set, second: set) -> bool:
        return not first | second or len(first & second) / len(first | second) >= SHARED

    def sides(pair: Pair) -> set:
        return {(side, run) for side, ids in enumerate(pair[1:]) for run in runs(ids)}

    return near(runs(one[0]), runs(other[0])) and near(sides(one), sides(other))


def test_an_edited_copy_is_found_and_another_text_is_not():
    original = (text(30), text(80), text(60))
    copy = (original[0], edited(original[1], 2), original[2])
    other = (original[0], text(80), text(60))
    assert near_duplicates(pairs(original, other, copy)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_change_of_one_part_is_enough(part):
    original = [text(20), text(40), text(40)]
    changed = list(original)
    changed[part] = text(40)
    found = near_duplicates(pairs(tuple(original), tuple(changed)))  # type: ignore[arg-type]
    assert found.tolist() == [0, 1]


def test_sides_are_not_mixed_up():
    prompt, chosen, rejected = text(9), text(50), text(50)
    assert near_duplicates(pairs((prompt, chosen, rejected), (prompt, rejected, chosen))).tolist() == [0, 1]


def test_short_texts_are_near_where_they_are_equal():
    found = near_duplicates(pairs(([1], [2], [3]), ([1], [2], [3]), ([1], [2], [4]), ([], [2], [3])))
    assert found.tolist() == [0, 0, 2, 3]


def test_labels_tell_apart():
    one = (text(5), [text(30)])
    assert near_duplicates(tokens([one] * 4, [True, False, True, False])).tolist() == [0, 1, 0, 1]


def test_nearly_all_that_the_definition_finds_are_found():
    originals = [(text(12), text(30), text(30)) for _ in range(150)]
    copies = [(prompt, edited(chosen, 1 + n % 4), rejected) for n, (prompt, chosen, rejected) in enumerate(originals)]
    group = near_duplicates(pairs(*originals, *copies))
    close = [is_near(one, other) for one, other in zip(originals, copies, strict=True)]
    found = [group[n] == group[n + 150] for n in range(150)]
    assert sum(close) > 100
    assert not any(f and not c for f, c in zip(found, close, strict=True)), "more than the definition"
    assert sum(found) >= 0.97 * sum(close)


def test_a_group_is_what_is_linked():
    first = (text(10), text(40), text(40))
    second = (first[0], [*first[1][4:], *text(4)], first[2])
    third = (first[0], [*second[1][4:], *text(4)], [*first[2][6:], *text(6)])
    near = [is_near(*two) for two in itertools.combinations([first, second, third], 2)]
    assert near == [True, False, True]
    assert near_duplicates(pairs(first, second, third)).tolist() == [0, 0, 0]


def test_jaccard():
    assert jaccard(np.array([1, 2, 2, 3]), np.array([2, 3, 4])) == 0.5
    assert jaccard(np.array([]), np.array([])) == 1.0


def test_there_may_be_no_example():
    assert near_duplicates(tokens([])).tolist() == []
