"""Kinds of values."""

from __future__ import annotations

import json

import pytest

from dpo_lightning.data.formats import shapes
from tests.data.formats.common import assistant, said, user


@pytest.mark.parametrize(
    ("kind", "of_it", "not_of_it"),
    [
        (shapes.TEXT, ["", "a"], [None, 3, ["a"]]),
        (shapes.NUMBER, [1, 2.5, "8"], [True, "a", None]),
        (shapes.PLAIN, [[user("q")]], ["q", [], [said("human", "q")], [{"role": "Human", "content": "q"}], [3]]),
        (shapes.DIALOGUE, [[user("q")], [said("human", "q"), said("gpt", "a")]], [[assistant("a")], user("q")]),
        (shapes.ANSWERED, [[user("q"), assistant("a")]], [[user("q")], [assistant("a")]]),
        (shapes.ANSWER, [assistant("a"), [assistant("a")], said("gpt", "a")], [[user("q")], "a", {}]),
        (shapes.RESPELLED, [[said("human", "q")]], [[user("q")]]),
        (shapes.NUMBERS, [[1, "2"]], [[], [None], 3, ["a"]]),
        (shapes.items(a__b=shapes.TEXT), [[{"a": {"b": "x"}}]], [[{"a": "x"}], [], ["x"], {"a": {"b": "x"}}]),
        (shapes.TEXT | shapes.NUMBER, ["a", 3], [None, []]),
    ],
)
def test_a_kind(kind, of_it, not_of_it):
    assert [kind.holds(value) for value in of_it] == [True] * len(of_it)
    assert [kind.holds(value) for value in not_of_it] == [False] * len(not_of_it)


def test_columns_of_json_hold_messages_or_mappings():
    row = {
        "messages": json.dumps([user("q")]),
        "message": json.dumps(assistant("a")),
        "nested": json.dumps({"messages": [user("q")]}),
        "items": json.dumps([{"response": "a"}], indent=1),
        "text": '{"a": 1}',
        "numbers": "[1]",
        "broken": '[{"a"',
        "list": [user("q")],
    }
    assert shapes.json_columns([{**dict.fromkeys(row), "n": 1}, row]) == ["messages", "message", "nested", "items"]
