"""Prompts of `generate`."""

from __future__ import annotations

import datetime
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.prompts import Asked, as_messages, asked_of, continues, prompt_ids, writes_as_messages
from tests.helpers.tiny import tiny_tokenizer

CHAT = [{"role": "user", "content": "hi"}]


def prompts_of(texts: list[str], file: Path | None, **settings: bool) -> list[Any]:
    return [each.prompt for each in asked_of(texts, file, **settings)]


def written(path: Path, *rows: Any) -> Path:
    path.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_texts_stand_before_the_rows_of_a_file(tmp_path: Path) -> None:
    file = written(tmp_path / "asked.jsonl", {"prompt": "b"}, {"messages": CHAT}, {"prompt": CHAT}, CHAT, "c")
    assert prompts_of(["a"], file) == ["a", "b", CHAT, CHAT, CHAT, "c"]
    assert prompts_of(["a"], None) == ["a"]
    with pytest.raises(InputError, match="generate --prompt: an empty text"):
        prompts_of(["a", ""], None)


@pytest.mark.parametrize("name", ["asked.json", "asked.jsonl", "asked.jsonl.gz", "asked"])
def test_a_list_of_rows_and_a_packed_file(tmp_path: Path, name: str) -> None:
    content = json.dumps([{"prompt": "ü", "id": 1}, {"messages": CHAT}]).encode()
    packed = gzip.compress(content) if name.endswith(".gz") else content
    (tmp_path / name).write_bytes(packed)
    assert prompts_of([], tmp_path / name) == ["ü", CHAT]
    (tmp_path / "chat.json").write_text(json.dumps(CHAT))  # one conversation, not rows
    assert prompts_of([], tmp_path / "chat.json") == [CHAT]


def test_other_columns_stay_and_answers_do_not(tmp_path: Path) -> None:
    answered = [*CHAT, {"role": "assistant", "content": "ho"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    file = written(
        tmp_path / "pairs.jsonl",
        {"prompt": "a", "chosen": "b", "rejected": "c", "source": "x"},
        {"chosen": answered, "rejected": [*CHAT, {"role": "assistant", "content": "no"}], "id": 3},
        {"chosen": "\n\nHuman: hi\n\nAssistant: ho", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
        {"prompt": "a", "messages": answered, "tools": tools, "chat_template_kwargs": {"short": True}},
    )
    first, second, third, last = asked_of([], file, answers=False)
    assert first == Asked("a", {"source": "x"}, left_out=("chosen", "rejected"))
    assert (second.prompt, second.beside) == (CHAT, {"id": 3})
    assert third.prompt == "\n\nHuman: hi\n\nAssistant:"
    assert (last.tools, last.template_arguments, last.left_out) == (tools, {"short": True}, ("messages",))
    assert last.beside == {"tools": tools, "chat_template_kwargs": {"short": True}}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"messages": [*CHAT, {"role": "assistant", "content": "ho"}]}, "messages: they end with an answer: leave it"),
        ({"prompt": "a", "system": "be kind"}, "system: nothing reads it: write it as the first of the messages"),
        ({"prompt": "a\ud800"}, "half of a character"),
        ({"messages": [{"role": "user"}]}, "field `prompt`, message 0"),
        ({"messages": [{"role": "user", "content": 3}]}, "field `prompt`, message 0"),
        ({"prompt": "a", "tools": 3}, "field `tools`: "),
        ({"chosen": "a", "rejected": "b"}, "no column `prompt`"),
        ({"chosen": "a"}, "no prompt: write"),
    ],
)
def test_a_row_that_is_not_understood_is_refused_with_its_line(tmp_path: Path, row: Any, line: str) -> None:
    file = written(tmp_path / "asked.jsonl", "a", row)
    with pytest.raises(InputError, match=rf"asked\.jsonl, line 3.*{re.escape(line)}"):
        asked_of([], file, answers=False)


def test_a_file_of_another_kind_and_an_empty_one(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.csv.gz"):
        with pytest.raises(InputError, match=r"rows of JSON are read, from \.jsonl or \.json"):
            asked_of([], tmp_path / name)
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(InputError, match="there is no row in it"):
        asked_of([], tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        asked_of([], tmp_path / "a.jsonl")


@pytest.mark.parametrize("line", ["{", "3", "[]", '""', '{"question": "b"}', '{"prompt": ["b"]}', '[{"content": "b"}]'])
def test_a_row_without_a_prompt_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text(f'"a"\n{line}\n')
    with pytest.raises(InputError, match=r"^generate --prompts .*asked\.jsonl, line 2: no prompt: "):
        prompts_of([], file)


def test_a_text_is_a_users_message_unless_it_is_to_be_continued() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] }}{% endfor %} so"
    written = tokenizer("user the sun so")["input_ids"]
    assert prompt_ids(Asked("the sun"), tokenizer, plain=False) == written
    assert prompt_ids(Asked([{"role": "user", "content": "the sun"}]), tokenizer, plain=True) == written
    assert prompt_ids(Asked("the sun"), tokenizer, plain=True) == tokenizer("the sun")["input_ids"]
    assert writes_as_messages([CHAT, "the sun"], tokenizer)
    assert not writes_as_messages([CHAT], tokenizer)
    tokenizer.chat_template = None
    assert not writes_as_messages(["the sun"], tokenizer)


def test_tools_and_arguments_reach_the_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ tools[0].function.name }}{{ tone }} {{ messages[0]['content'] }}"
    tools = [{"type": "function", "function": {"name": "look"}}]
    asked = Asked("sun", tools=tools, template_arguments={"tone": "kind"})
    assert prompt_ids(asked, tokenizer, plain=False) == tokenizer("lookkind sun")["input_ids"]
    with pytest.raises(InputError, match="`tools` and `chat_template_kwargs` are for a chat template"):
        prompt_ids(asked, tokenizer, plain=True)


def test_a_template_that_writes_the_date_gets_that_of_the_config() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%B') }} {{ messages[0]['content'] }}"
    ids = prompt_ids(Asked("sun"), tokenizer, plain=False, date=datetime.date(2001, 5, 3))
    assert ids == tokenizer("May sun")["input_ids"]


def test_a_begun_answer_is_continued_where_that_is_asked_for() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + '.' }}{% endfor %}"
        "{% if add_generation_prompt %}so{% endif %}"
    )
    asked = Asked([*CHAT, {"role": "assistant", "content": "ho"}])
    for prefill, text in ((True, "user hi.assistant ho"), (False, "user hi.assistant ho.so")):
        assert prompt_ids(asked, tokenizer, plain=False, prefill=prefill) == tokenizer(text)["input_ids"]
    assert continues(asked.prompt)
    assert not continues("assistant")
    assert as_messages("hi") == CHAT == as_messages(CHAT)
