"""Fields that the chat template does not read."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import Example
from dpo_lightning.data.tokenize.template_use import (
    reads_tools,
    unread_arguments,
    unread_keys,
    words_of,
)
from tests.helpers.tokenizers import CHATML, chat

WITH_NAMES = "{% for m in messages %}{{ m.role }}{% if m.name %}{{ m.name }}{% endif %}{{ m.content }}{% endfor %}"
WHOLE = "{% for m in messages %}{{ m | tojson }}{% endfor %}"
THINKS = WITH_NAMES + "{% if enable_thinking and tools %}{{ tools }}{% endif %}"


def example(**fields: Any) -> Example:
    prompt = [{"role": "user", "content": "q"}]
    answer = {"role": "assistant", "content": "a", **fields}
    return Example.pair(prompt, [answer], [{"role": "assistant", "content": "b"}])


@pytest.mark.parametrize(
    ("template", "expected"),
    [(CHATML, ["name", "reasoning_content"]), (WITH_NAMES, ["reasoning_content"]), (WHOLE, [])],
    ids=["role and content", "a name", "whole messages"],
)
def test_keys_count_where_the_template_writes_the_same_without_them(template: str, expected: list[str]) -> None:
    examples = [example(name="n", empty="", none=None), example(reasoning_content="r", tool_calls=[])]
    assert unread_keys(chat(template), examples) == expected


def test_a_template_that_raises_looks_at_the_key() -> None:
    template = (
        "{% for m in messages %}{% if m.items() | length > 2 %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    )
    assert unread_keys(chat(template), [example(name="n")]) == []


def test_arguments_and_tools() -> None:
    given = [example()._replace(template_arguments={"enable_thinking": False, "other": 1, "none": None})]
    assert unread_arguments(chat(THINKS), given) == ["other"]
    assert unread_arguments(chat(CHATML), given) == ["enable_thinking", "other"]
    assert reads_tools(chat(THINKS))
    assert not reads_tools(chat(CHATML))


def test_several_templates_count_together_and_none_is_not_guessed_at() -> None:
    tokenizer = chat(CHATML)
    tokenizer.chat_template = {"default": CHATML, "tool_use": THINKS}
    words = words_of(tokenizer)
    assert words is not None
    assert "tools" in words.variables
    assert words_of(chat(None)) is None
    assert unread_keys(chat(None), [example(name="n")]) == unread_arguments(chat(None), [example()]) == []
    assert reads_tools(chat(None))


def test_a_template_that_cannot_be_read_has_no_words():
    assert words_of(chat("{% for %}")) is None
