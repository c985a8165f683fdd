"""Messages that are written as text."""

from __future__ import annotations

import json

import pytest

from dpo_lightning.data.formats import ArenaFormat, RowFormat, UnpairedFormat
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, said, user

DIALOGUES = [
    [user("q"), assistant("a")],
    [said("human", "q"), said("gpt", "a")],
    [assistant("a")],
    assistant("a"),
]
ARRAY = "[{'content': 'q', 'role': 'user'}\n {'content': 'a', 'role': 'assistant'}]"  # as NumPy writes it


@pytest.mark.parametrize("text", [*map(json.dumps, DIALOGUES), *map(str, DIALOGUES), ARRAY])
def test_messages_as_text_are_refused_wherever_they_are(text):
    pair = {"prompt": "q", "chosen": text, "rejected": text}
    compared = {"prompt": "q", "response_a": text, "response_b": text, "winner": "a"}
    labelled = {"prompt": "q", "completion": text, "label": True}

    for row_format, row in ((RowFormat(), pair), (ArenaFormat(), compared), (UnpairedFormat(), labelled)):
        with pytest.raises(InputError, match=r"^field `\w+`: the text spells messages: .* json_columns"):
            row_format.examples(row)


def test_lists_of_turns_as_text_are_refused():
    row = {"prompt": '["q", "and?"]', "response_a": '["a", "b"]', "response_b": '["c", "d"]', "winner": "a"}

    with pytest.raises(InputError, match=r"^field `response_a`: this text and its prompt are JSON lists of turns"):
        ArenaFormat().examples(row)
    assert ArenaFormat().examples({**row, "prompt": "List two."})


@pytest.mark.parametrize(
    "text",
    [
        '{"value": 3}',
        '[{"from": "Berlin", "to": "Rome"}]',
        '{"role": "user"',
        "[{'a': 1}]",
        "[{'value': 3}]",
        "[{'content': 3}\n {'content': 4}]",
    ],
)
def test_other_json_is_text(text):
    assert RowFormat().examples({"prompt": "q", "chosen": text, "rejected": text})


def test_one_answer_that_spells_messages_is_text():
    assert RowFormat().examples({"prompt": "q", "chosen": json.dumps(DIALOGUES[0]), "rejected": "b"})
