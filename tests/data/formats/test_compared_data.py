"""The comparisons that people hold: which value says which side, both ways."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats import ArenaFormat, NoPreference, SafeRLHFFormat, SHPFormat
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.errors import InputError


@pytest.mark.parametrize(
    ("read", "first", "second"),
    [
        (SHPFormat(), [1, "1", 1.0], [0, "0"]),
        (SafeRLHFFormat(), [0], [1]),
        (ArenaFormat(), ["model_a", "Model_A", "a", "[[A]]", "A>>B"], ["model_b", "response_b", "Response B"]),
        (ArenaFormat(first="output_1", second="output_2"), [1, "1"], [2, 2.0]),
        (SafeRLHFFormat(preference="safer_response_id"), [0], [1]),
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


def test_a_winner_may_be_called_by_the_name_of_its_model():
    row = {"prompt": "q", "response_a": "a", "response_b": "b", "model_a": "gpt", "model_b": "claude"}

    assert ArenaFormat().examples({**row, "winner": "claude"})[0].completions == ["b", "a"]
    with pytest.raises(InputError, match=r"^field `winner`: 'Claude 3' does not say"):
        ArenaFormat().examples({**row, "winner": "Claude 3"})


def test_the_better_one_of_safety_data_is_not_the_safer_one():
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}

    assert find_format([row]).format.examples(row)[0].completions == ["a", "b"]
    del row["better_response_id"]
    assert find_format([row]).format.examples(row)[0].completions == ["b", "a"]
