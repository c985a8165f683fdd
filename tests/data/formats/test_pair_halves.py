"""Pairs as labelled completions."""

from __future__ import annotations

import pytest

from dpo_lightning.data import Example
from dpo_lightning.data.formats import LabelledPairs, QuestionFormat, ShareGPTFormat, SHPFormat, UnpairedFormat
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.errors import InputError

SHP = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "source": "web"}


def test_a_pair_is_a_prompt_with_two_labelled_completions():
    read = LabelledPairs(SHPFormat(texts=["source"]))

    assert read.examples(SHP) == [Example("q", ["b", "a"], [True, False], {"source": "web"})]
    assert read.columns.keys() == {"source"}


def test_tools_go_along():
    message = {"from": "gpt", "value": "a"}
    row = {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": message,
        "rejected": message,
        "tools": '[{"x": 1}]',
    }
    assert [each.tools for each in LabelledPairs(ShareGPTFormat()).examples(row)] == [[{"x": 1}]]


def test_what_is_around_the_rows_is_that_of_the_pairs_unless_it_is_given():
    read = LabelledPairs(QuestionFormat(system="system", ignore=["id"]))

    assert (read.as_messages, read.system, read.ignore) == (True, "system", ["id"])
    assert LabelledPairs(QuestionFormat(), as_messages=False).as_messages is False
    row = {"system": "s", "question": "q", "chosen": "a", "rejected": "b"}
    (example,) = read_examples(read, row, str)
    assert example.prompt == [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert example.labels == [True, False]


@pytest.mark.parametrize("given", [UnpairedFormat(), None, "SHPFormat"])
def test_only_pairs_have_two_sides(given):
    with pytest.raises(InputError, match=r"^LabelledPairs\.pairs: give a format of pairs"):
        LabelledPairs(given)
