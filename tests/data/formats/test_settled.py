"""The format of a split: found and said, or the config's own, unless another one is right."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning.data.formats import AutoFormat, RowFormat, ShareGPTFormat, SHPFormat, UnpairedFormat
from dpo_lightning.data.formats.settled import first_rows, settled_format
from dpo_lightning.errors import InputError
from tests.data.formats.common import as_json, turns
from tests.data.formats.test_found import FOUND


def settled(given: Any, *rows: dict[str, Any]) -> Any:
    return settled_format(given, [*rows], "pairs.jsonl")


def test_what_is_found_is_said_and_what_is_given_is_not(said: list[str]) -> None:
    row = FOUND["ShareGPT"][0]

    assert settled(AutoFormat(), row) == ShareGPTFormat() == settled(ShareGPTFormat(), row)
    assert said == ["pairs.jsonl: read as ShareGPT ranking: conversations, chosen, rejected"]


@pytest.mark.parametrize("name", ["ShareGPT", "OpenAI", "ms-swift", "UltraFeedback", "axolotl", "arena", "Orca"])
def test_a_format_that_does_not_read_the_first_row_names_the_one_that_does(name: str) -> None:
    row, _, words = FOUND[name]
    with pytest.raises(InputError) as raised:
        settled(RowFormat(), row)
    assert str(raised.value).startswith("pairs.jsonl, row 0 (from 0): ")
    assert f"Format reads such rows ({words})" in str(raised.value)


@pytest.mark.parametrize("name", ["SHP", "PKU-SafeRLHF", "HelpSteer2", "HelpSteer3", "AlpacaEval", "AlpacaFarm"])
def test_two_sides_without_their_verdict_are_refused(name: str) -> None:
    row = FOUND[name][0]
    read: Any = AutoFormat().found_in([row])
    for sides in ((read.first, read.second), (read.second, read.first)):
        with pytest.raises(InputError, match=rf"field `{read.preference}` says which of `{read.first}` and"):
            settled(RowFormat(read.prompt, *sides), row)
    without = {name: value for name, value in row.items() if name != read.preference}
    assert settled(RowFormat(read.prompt, read.first, read.second), without).chosen == read.first


def test_json_of_messages_is_not_taken_for_text() -> None:
    with pytest.raises(InputError, match=r"^pairs\.jsonl: field `(chosen|prompt)`: the text spells messages: "):
        settled(RowFormat(), as_json(turns()))
    assert settled(RowFormat(), {"prompt": "[1]", "chosen": "{}", "rejected": '[{"a": 1}'}) == RowFormat()
    assert settled(RowFormat(), {"prompt": "q", "chosen": '[{"a": 1}]', "rejected": "[{}]"}) == RowFormat()


def test_a_fault_of_one_row_is_left_to_the_reader() -> None:
    row = {"prompt": "q", "chosen": None, "rejected": "b"}
    assert settled(RowFormat(), row) == RowFormat()
    assert settled(SHPFormat(), {**FOUND["SHP"][0], "labels": 7}) == SHPFormat()
    assert settled(UnpairedFormat(), {"prompt": "q", "completion": "a", "label": 7}) == UnpairedFormat()


def test_a_hundred_rows_are_looked_at() -> None:
    assert first_rows(Dataset.from_list([{"n": n} for n in range(300)]), "x") == [{"n": n} for n in range(100)]
