"""Settings that the formats of pairs share."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data import Example
from dpo_lightning.data.formats import PairFormat, QuestionFormat, ShareGPTFormat
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.pairs import Side
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, said, system, turns, user

ROW = {"conversations": [said("human", "q")], "chosen": said("gpt", "a"), "rejected": said("gpt", "b")}
TOOLS = [{"type": "function", "function": {"name": "add"}}]


def test_the_further_columns_go_along() -> None:
    read = ShareGPTFormat(margin=["good", "bad"], weight="times", texts=["source"])
    row = {**ROW, "good": "4.5", "bad": 1, "times": 2, "source": "web", "tools": TOOLS}
    (example,) = read.examples(row)

    assert example.columns == {"margin": 3.5, "weight": 2.0, "source": "web"}
    assert example.tools == TOOLS
    assert read.columns.keys() == example.columns.keys()


def test_a_system_text_is_a_message_and_is_there_once() -> None:
    wanted = Example.pair([system("s"), user("q")], [assistant("a")], [assistant("b")])
    within = {**ROW, "conversations": [said("system", "s"), said("human", "q")]}

    read = ShareGPTFormat(system="system")

    assert [read_examples(read, {**row, "system": "s"}, str) for row in (ROW, within)] == [[wanted]] * 2
    with pytest.raises(InputError, match=r"^field `system`: the messages of the prompt have a system message of their"):
        read_examples(read, {**within, "system": "other"}, str)
    with pytest.raises(InputError, match=r"^field `system`: int, not the text of a system prompt"):
        read_examples(read, {**ROW, "system": 3}, str)
    assert read_examples(read, {**ROW, "system": " "}, str)[0].prompt == [user("q")]


def test_texts_are_messages_where_that_is_said() -> None:
    row = {"question": "q", "chosen": "a", "rejected": "b", "system": "s"}

    assert read_examples(QuestionFormat(system="system"), row, str) == [
        Example.pair([system("s"), user("q")], [assistant("a")], [assistant("b")])
    ]
    with pytest.raises(InputError, match=r"^format\.system is for messages: set format\.as_messages to true"):
        read_examples(QuestionFormat(as_messages=False, system="system"), row, str)
    assert read_examples(QuestionFormat(as_messages=False), row, str) == [Example.pair("q", "a", "b")]


def test_a_named_prompt_that_is_not_there_is_no_implicit_one() -> None:
    whole = {name: [user("q"), assistant(name)] for name in ("chosen", "rejected")}

    assert ShareGPTFormat("prompt").examples(whole)[0].prompt == [user("q")]
    with pytest.raises(InputError, match=r"^no column `conversations`"):
        ShareGPTFormat().examples(whole)
    with pytest.raises(InputError, match=r"^no field `input\.messages`; the fields of `input` are `other`"):
        ShareGPTFormat("input.messages").examples({**whole, "input": {"other": 1}})


def test_the_prompt_is_put_before_its_input() -> None:
    read = QuestionFormat("instruction", input="more", as_messages=False)
    row = {"instruction": "Add.", "more": "2 2", "chosen": "a", "rejected": "b"}

    assert read.examples(row)[0].prompt == "Add.\n2 2"
    assert read.examples({**row, "more": None})[0].prompt == "Add."
    with pytest.raises(InputError, match=r"^field `more`: not text"):
        read.examples({**row, "more": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": None}, "field `chosen`: null"),
        ({"chosen": 4}, "field `chosen`: int, not text or a list of messages"),
        ({"conversations": [said("x", "q")]}, "field `conversations`, message 0: role 'x' is none of"),
    ],
)
def test_a_bad_row_is_named_by_its_own_column(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        ShareGPTFormat().examples({**ROW, **change})
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("settings", [{"margin": 3}, {"texts": "a"}, {"roles": ["a"]}, {"as_messages": "no"}])
def test_a_bad_setting_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^ShareGPTFormat\.{next(iter(settings))}"):
        ShareGPTFormat(**settings)


def test_a_format_of_ones_own_says_where_its_sides_are() -> None:
    class Mine(PairFormat):
        def sides(self, row: Any) -> list[tuple[Side, Side]]:
            return [(Side("answers[0]", row["answers"][0]), Side("answers[1]", row["answers"][1]))]

    row = {"prompt": [user("Two and two?")], "answers": ["four", "five"]}
    (example,) = Mine().examples(row)
    wanted = turns()
    assert example == Example.pair(wanted["prompt"], wanted["chosen"], wanted["rejected"])
