"""The comparisons that people hold: which value says which side, both ways."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats import ArenaFormat, NoPreference, SafeRLHFFormat, SHPFormat


@pytest.mark.parametrize(
    ("read", "first", "second"),
    [
        (SHPFormat(), [1, "1", 1.0], [0, "0"]),
        (SafeRLHFFormat(), [0], [1]),
        (ArenaFormat(), ["model_a", "Model_A", "a"], ["model_b", "response_b"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_either_side_may_be_the_better_one(read, first, second):
    row = {read.prompt: "q", read.first: "a", read.second: "b"}

    for value in first:
        assert read.examples({**row, read.preference: value})[0].completions == ["a", "b"]
    for value in second:
        assert read.examples({**row, read.preference: value})[0].completions == ["b", "a"]


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)", "both"])
def test_a_battle_without_a_winner(winner):
    with pytest.raises(NoPreference):
        ArenaFormat().examples({"prompt": "q", "response_a": "a", "response_b": "b", "winner": winner})
