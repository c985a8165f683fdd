"""Turns in the text of a template."""

from __future__ import annotations

import pytest

from dpo_lightning.data.tokenize.turns import Dialogue, without_weights
from dpo_lightning.errors import InputError
from tests.helpers.tokenizers import turn

MESSAGES = [turn("user", "a"), turn("assistant", "bb"), turn("user", "c"), turn("assistant", "dd")]


def tagged(messages, answered):
    text = "".join(f"<{each['role']}>{each['content']}<end>\n" for each in messages)
    return text if answered else f"{text}<assistant>"


def numbered(messages, answered):
    """Says in front how many messages there are."""
    return f"{len(messages)}{tagged(messages, answered)}"


@pytest.mark.parametrize("write", [tagged, numbered])
@pytest.mark.parametrize(("index", "found"), [(1, "bb<end>"), (3, "dd<end>\n")])
def test_a_turn_goes_from_its_header_to_the_token_that_closes_it(write, index, found):
    text = write(MESSAGES, True)
    start, end = Dialogue(MESSAGES, text, write, ["<end>"]).turn(index)
    assert text[start:end].strip() == found.strip()


def test_a_turn_that_is_not_written_is_refused():
    def last_only(messages, answered):
        return tagged(messages[-1:], answered)

    with pytest.raises(InputError, match="does not write message 1 of the dialogue"):
        Dialogue(MESSAGES, last_only(MESSAGES, True), last_only, ["<end>"]).turn(1)


def thinking(messages, answered):
    """Opens the last answer with a block that no earlier one has, and writes calls behind a text, as Qwen3's does."""
    text = ""
    for number, each in enumerate(messages, 1):
        block = "<think></think>" if each["role"] == "assistant" and number == len(messages) else ""
        calls = "".join(f"<call>{call}</call>" for call in each.get("tool_calls", ()))
        text += f"<{each['role']}>{block}{each.get('content', '')}{calls}<end>\n"
    return text if answered else f"{text}<assistant>"


def test_a_call_belongs_to_its_turn_where_the_turn_is_written_otherwise_alone():
    called = [turn("user", "a"), {"role": "assistant", "tool_calls": ["f"]}, turn("tool", "4"), turn("assistant", "d")]
    text = thinking(called, True)
    start, end = Dialogue(called, text, thinking, ["<end>"]).turn(1)
    assert text[start:end] == "<call>f</call><end>"


def test_turns_of_a_dialogue_that_ends_within_its_last_one():
    text = thinking(MESSAGES, True).removesuffix("<end>\n")
    spans = [Dialogue(MESSAGES, text, thinking, ["<end>"]).turn(index) for index in (1, 3)]
    assert [text[start:end] for start, end in spans] == ["bb<end>", "<think></think>dd"]


def test_weights_are_not_the_templates():
    assert without_weights([{**MESSAGES[0], "weight": 0, "train": 1, "name": "x"}]) == [{**MESSAGES[0], "name": "x"}]
