"""Prompts of `generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.prompts import prompt_ids, prompts_of, writes_as_messages
from tests.helpers.tiny import tiny_tokenizer

CHAT = [{"role": "user", "content": "hi"}]


def test_texts_stand_before_the_rows_of_a_file(tmp_path: Path) -> None:
    rows = [{"prompt": "b"}, {"messages": CHAT}, {"prompt": CHAT}, CHAT, "c"]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    assert prompts_of(["a"], file) == ["a", "b", CHAT, CHAT, CHAT, "c"]
    assert prompts_of(["a"], None) == ["a"]


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
    assert prompt_ids("the sun", tokenizer, plain=False) == written
    assert prompt_ids([{"role": "user", "content": "the sun"}], tokenizer, plain=True) == written
    assert prompt_ids("the sun", tokenizer, plain=True) == tokenizer("the sun")["input_ids"]
    assert writes_as_messages([CHAT, "the sun"], tokenizer)
    assert not writes_as_messages([CHAT], tokenizer)
    tokenizer.chat_template = None
    assert not writes_as_messages(["the sun"], tokenizer)
