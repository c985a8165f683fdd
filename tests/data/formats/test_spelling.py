"""Messages in other spellings."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data.formats import AutoFormat
from dpo_lightning.data.formats.spelling import respelled, role_of
from dpo_lightning.errors import InputError

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}


@pytest.mark.parametrize("name", ["user", "Human", "human", " HUMAN ", "prompter"])
def test_names_of_the_user(name: str) -> None:
    assert respelled([{"role": name, "content": "q"}], "x") == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("role", "wanted"),
    [("gpt", "assistant"), ("model", "assistant"), ("bot", "assistant"), ("ipython", "tool"), ("observation", "tool")],
)
def test_names_of_the_others(role: str, wanted: str) -> None:
    message = {"from": role, "value": "text", "weight": 1, "role": None, "content": None}
    assert respelled([message], "x") == [{"role": wanted, "content": "text", "weight": 1}]
    assert role_of(message) == wanted


@pytest.mark.parametrize("text", ['{"name": "add", "arguments": {"a": 2}}', '[{"name": "add", "arguments": {"a": 2}}]'])
def test_a_call_is_one_of_the_assistant(text: str) -> None:
    assert respelled([{"from": "function_call", "value": text}], "x") == [
        {"role": "assistant", "content": "", "tool_calls": [CALL]}
    ]


def test_a_call_in_plain_text_is_refused_and_may_be_mapped() -> None:
    message = {"from": "function_call", "value": "add(2)"}
    with pytest.raises(InputError, match=r"^field `a`, message 0: the text of its calls is no JSON of a call"):
        respelled([message], "field `a`")
    assert respelled(message, "x", {"function_call": "assistant"}) == [{"role": "assistant", "content": "add(2)"}]


def test_a_role_that_is_not_known_is_refused_and_may_be_mapped() -> None:
    message = {"from": "customer", "value": "q"}
    with pytest.raises(InputError, match=r"^field `a`, message 1: role 'customer' is none of .*: say in format\.roles"):
        respelled([{"from": "human", "value": "q"}, message], "field `a`")
    assert respelled([message], "x", {"customer": "user"}) == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize("value", ["text", None, 3, [], ["text"], [{"content": "a"}], [{"role": "user"}]])
def test_what_is_no_message_stays_for_the_reader(value: Any) -> None:
    assert respelled(value, "x") == value
    assert role_of(value) is None


def test_content_may_be_called_text() -> None:
    assert respelled([{"role": "prompter", "text": "q"}], "x") == [{"role": "user", "content": "q"}]
    row = {"prompt": [{"role": "user", "text": "q"}], "chosen": "a", "rejected": "b"}
    assert AutoFormat().found_in([row]).examples(row)[0].prompt == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize("second", [{"text": "b"}, {"value": "b"}, {"from": "gpt"}])
def test_a_second_name_with_a_value_stays_to_be_named(second: dict[str, str]) -> None:
    message = {"role": "user", "content": "q", **second}
    assert respelled([message], "x") == [message]
    assert respelled([dict.fromkeys(("from", "value", "text")) | message], "x") == [message]
