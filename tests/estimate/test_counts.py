"""What batches held, against loops over their examples."""

from __future__ import annotations

import pytest

from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.estimate import Workload
from dpo_lightning.estimate.counts import Counts
from tests.helpers.tiny import PAIRS, labelled_of

BOTH = pytest.mark.parametrize("collate", [collate_tree, collate_padded])
RAGGED = [*PAIRS[:1], TokenizedExample(3, [1, 2, 3], [[4], [5, 6], [7, 8, 9]])]


@BOTH
@pytest.mark.parametrize(
    "examples", [PAIRS, RAGGED, [labelled_of(each) for each in PAIRS]], ids=["pairs", "lists", "labelled"]
)
def test_it_counts_tokens_and_what_they_attend_to(collate, examples):
    tokens, attended, scored = 0, 0.0, 0
    for each in examples:
        prompt, lengths = len(each.prompt_ids), [len(ids) for ids in each.branches]
        if collate is collate_tree:
            tokens += prompt + sum(lengths)
            attended += prompt**2 / 2 + sum(length * prompt + length**2 / 2 for length in lengths)
        else:
            tokens += sum(prompt + length for length in lengths)
            attended += sum((prompt + length) ** 2 / 2 for length in lengths)
        scored += sum(lengths)

    found = Counts.of(collate(examples))

    assert (found.examples, float(found.tokens), found.scored, float(found.attended)) == (
        *(len(examples), tokens, scored, attended),
    )


@BOTH
def test_equal_pairs_are_those_of_a_workload(collate):
    pairs = [TokenizedExample.pair(n, [1] * 5, [2] * 3, [3] * 3) for n in range(4)]
    work = Workload(4, prompt=5, completion=3, tree=collate is collate_tree)

    found = Counts.of(collate(pairs))

    assert (found.tokens, found.scored, found.attended) == (work.tokens, work.scored, work.attended)
    assert found.accumulate == 1


def test_rows_of_another_collate_function_count_whole():
    found = Counts.of(collate_padded(PAIRS)._replace(row_ends=None))
    assert (found.tokens, found.attended) == (6 * 10, 6 * 50)


def test_they_add_up():
    one, both = Counts.of(collate_padded(PAIRS[:1])), Counts.of(collate_padded(PAIRS[:2]))
    other = Counts.of(collate_padded(PAIRS[1:2]))
    assert one.plus(other) == both == Counts().plus(both)
