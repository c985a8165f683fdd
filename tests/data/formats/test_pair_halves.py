"""Pairs as labelled completions."""

from __future__ import annotations

import pytest

from dpo_lightning.data import Example
from dpo_lightning.data.formats import LabelledPairs, ShareGPTFormat, SHPFormat, UnpairedFormat
from dpo_lightning.errors import InputError

SHP = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "source": "web"}


def test_a_pair_is_two_completions():
    read = LabelledPairs(SHPFormat(texts=["source"]))

    assert read.examples(SHP) == [
        Example.labelled("q", "b", True, source="web"),
        Example.labelled("q", "a", False, source="web"),
    ]
    assert read.columns.keys() == {"source"}


def test_tools_go_along():
    message = {"from": "gpt", "value": "a"}
    row = {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": message,
        "rejected": message,
        "tools": '[{"x": 1}]',
    }
    assert [each.tools for each in LabelledPairs(ShareGPTFormat()).examples(row)] == [[{"x": 1}]] * 2


@pytest.mark.parametrize("given", [UnpairedFormat(), None, "SHPFormat"])
def test_only_pairs_have_two_sides(given):
    with pytest.raises(InputError, match=r"^LabelledPairs\.pairs: give a format of pairs"):
        LabelledPairs(given)
