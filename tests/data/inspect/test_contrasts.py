"""What is compared: the sides of pairs, labelled completions, the ends of lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dpo_lightning import UnpairedFormat
from dpo_lightning.data.inspect.contrasts import contrasts
from dpo_lightning.data.inspect.said import Fact, Said
from tests.data.inspect.common import clean_labelled, clean_rows, split


def test_the_sides_of_pairs():
    rows = clean_rows(5)
    rows[2]["chosen"] = ""
    found = contrasts(split(rows))
    lengths = [(len(row["chosen"]) + 1, len(row["rejected"]) + 1) for number, row in enumerate(rows) if number != 2]
    assert [(good.length, bad.length) for good, bad in found] == lengths, "with the EOS"
    good, _ = found[0]
    assert good.length == len(good.ids) == len(rows[0]["chosen"]) + 1


def test_labelled_completions_are_put_together_once_each():
    rows = clean_labelled(30)[:25]
    found = contrasts(split(rows), seed=1)
    assert len(found) == 12
    assert all([*good.seen.labels, *bad.seen.labels] == [True, False] for good, bad in found)
    assert len({good.seen.row for good, _ in found}) == len({bad.seen.row for _, bad in found}) == 12
    again = contrasts(split(rows), seed=1)
    assert [(a.seen.row, b.seen.row) for a, b in again] == [(a.seen.row, b.seen.row) for a, b in found]


@pytest.mark.parametrize("rows", [clean_rows(50), clean_labelled(50)], ids=["pairs", "labelled"])
def test_of_many_some_are_taken(rows):
    found = contrasts(split(rows), seed=1, most=7)
    assert len({good.seen.row for good, _ in found}) == 7
    assert {good.seen.row for good, _ in found} != {good.seen.row for good, _ in contrasts(split(rows), 2, most=7)}


def test_labels_of_one_prompt_are_compared_within_it():
    read = split(clean_rows(6), row_format=UnpairedFormat())
    swapped = [each._replace(labels=[False, True]) if each.row % 2 else each for each in read.examples]
    found = contrasts(replace(read, examples=swapped))
    assert all(good.seen is bad.seen for good, bad in found)
    assert [(good.place, bad.place) for good, bad in found] == [(0, 1), (1, 0)] * 3


def test_of_lists_the_first_and_the_last():
    read = split(clean_rows(2))
    example = read.examples[0]
    three = example._replace(
        said=Said.of("", ["the best", "", "the worst!"]),
        completion_ids=[*example.completion_ids, example.completion_ids[0]],
        whole=(*example.whole, 9),
    )
    ((good, bad),) = contrasts(replace(read, examples=[three]))
    assert (good.facts, bad.facts, bad.length) == (Fact.OPEN_END, Fact.EXCLAMATION, 9)
