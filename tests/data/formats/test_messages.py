"""Messages as rows have them: every field is kept, and what is no message is refused."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats.messages import is_blank, message_of, quoted, without_nulls
from dpo_lightning.errors import InputError

CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}


def test_every_field_is_kept_but_null_ones():
    message = {"role": "tool", "content": "4", "tool_call_id": "c1", "name": None}
    assert message_of(message, "m") == {"role": "tool", "content": "4", "tool_call_id": "c1"}


def test_a_call_needs_no_content():
    assert message_of({**CALL, "content": None}, "m") == CALL


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message_of({"role": "user", "content": parts}, "m")["content"] == "ab"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user", "content": None}, "m: content is null"),
        ({"role": "user", "content": [{"type": "image", "text": "a"}]}, "m: content has a part of type 'image'"),
        ({"role": "user", "content": ["a"]}, "m: content has a part of type 'str'"),
        ({"role": "user", "content": "a", "name": "\ud800"}, "m: character 0 is U.D800"),
        ({"content": "a"}, "m: not a mapping"),
    ],
)
def test_what_is_no_message_is_refused(message, words):
    with pytest.raises(InputError, match=words):
        message_of(message, "m")


def test_every_text_is_quoted_but_roles():
    marked = quoted([{"role": "a", "content": "b", "tool_calls": [{"name": "c", "n": 1}]}], lambda text: f"<{text}>")
    assert marked == [{"role": "a", "content": "<b>", "tool_calls": [{"name": "<c>", "n": 1}]}]


def test_nulls_are_taken_out_of_mappings_alone():
    assert without_nulls([{"a": None, "b": [None, {"c": None}]}]) == [{"b": [None, {}]}]


def test_a_call_and_a_thought_say_something():
    assert not is_blank(CALL)
    assert not is_blank({"role": "assistant", "content": "", "thinking": "x"})
    assert is_blank({"role": "assistant", "content": " ", "thinking": "\n"})
