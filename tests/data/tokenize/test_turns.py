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


def test_weights_are_not_the_templates():
    assert without_weights([{**MESSAGES[0], "weight": 0, "train": 1, "name": "x"}]) == [{**MESSAGES[0], "name": "x"}]
