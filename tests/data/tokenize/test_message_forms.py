"""The forms of messages, and what a written dialogue lacks of them."""

from __future__ import annotations

import pytest

from dpo_lightning.data.tokenize.message_forms import forms, left_out, marked
from tests.helpers.tokenizers import turn


def call(arguments):
    return {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": arguments}}]}


def test_messages_without_calls_have_two_forms():
    first, second = forms([turn("user", "q")])
    assert first == [turn("user", "q")]
    assert second == [{"role": "user", "content": [{"type": "text", "text": "q"}]}]


@pytest.mark.parametrize("given", [{"x": "é"}, '{"x": "é"}'])
def test_arguments_are_a_mapping_first_and_then_text(given):
    usual, text, with_content, text_with_content, _ = forms([call(given)])
    assert usual == [call({"x": "é"})]
    assert text == [call('{"x": "é"}')]
    assert with_content == [{**call({"x": "é"}), "content": ""}]
    assert text_with_content == [{**call('{"x": "é"}'), "content": ""}]


@pytest.mark.parametrize("given", ["{x: 1", "[1]", "3", ""])
def test_text_that_is_no_mapping_stays_text(given):
    assert next(forms([call(given)])) == [call(given)]


def test_arguments_of_a_call_without_a_function_and_what_is_no_call():
    flat = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}, "odd"]}
    assert next(forms([flat]))[0]["tool_calls"] == [{"name": "f", "arguments": {}}, "odd"]
    assert next(forms([{"role": "assistant", "tool_calls": "odd"}])) == [{"role": "assistant", "tool_calls": "odd"}]
    assert left_out([{"role": "assistant", "tool_calls": "odd"}, flat], "f()") is None


def test_what_is_left_out():
    assert left_out([turn("user", " a\nb ")], "<a\nb>") is None
    assert left_out([turn("user", "a\nb")], "a\\nb") is None, "in the spelling of JSON"
    assert left_out([turn("user", "a c")], "a b") == "a message of role 'user'"
    assert left_out([turn("user", "?!")], "a b") is None, "nothing to look for"
    assert left_out([turn("assistant", "thought")], "") is None


def test_marks_stand_in_what_a_template_must_write():
    messages = [turn("user", "a"), call({}), turn("tool", "4"), turn("assistant", "b")]
    found, marks = marked(messages)
    assert [*marks.values()] == ["a message of role 'user'", "a tool call", "a message of role 'tool'"]
    one, two, three = marks
    assert [each.get("content") for each in found] == [f"a{one}", None, f"4{three}", "b"]
    assert found[1]["tool_calls"][0]["function"]["name"] == f"f{two}"
    assert marked(messages[:1]) == (messages[:1], {})
