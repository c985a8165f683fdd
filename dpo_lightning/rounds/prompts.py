"""Prompts of `generate`: texts and conversations, from words and files to tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dpo_lightning.data.formats import Example
from dpo_lightning.data.tokenize.encoding import TextEncoder
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

Prompt = str | list[dict[str, Any]]
"""A text, or the messages of a conversation."""


def prompts_of(texts: Sequence[str], file: Path | None) -> list[Prompt]:
    """Return the prompts of the words of `generate`: its texts, and behind them the rows of its file.

    Raises:
        InputError: where there is none, and for a file that cannot be read, naming the line.
    """
    prompts: list[Prompt] = [*texts, *([] if file is None else _rows(file))]
    if not prompts:
        raise InputError("generate: say what to continue: --prompt TEXT, or --prompts FILE")
    return prompts


def _rows(file: Path) -> Iterator[Prompt]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"generate --prompts {file}: {one_line(error, 200)}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _prompt_of(line, f"generate --prompts {file}, line {number}")


def _prompt_of(line: str, place: str) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    prompt = row.get("prompt", row.get("messages")) if isinstance(row, Mapping) else row
    is_chat = isinstance(prompt, list) and prompt and all(isinstance(each, dict) and "role" in each for each in prompt)
    if not (is_chat or (isinstance(prompt, str) and prompt)):
        raise InputError(f'{place}: no prompt: write {{"prompt": "a text"}}, or {{"messages": [...]}}')
    return prompt


def writes_as_messages(prompts: Sequence[Prompt], tokenizer: Any) -> bool:
    """Return whether a text among the prompts becomes the message of a user, by the tokenizer's chat template."""
    return bool(tokenizer.chat_template) and any(isinstance(each, str) for each in prompts)


def prompt_ids(prompt: Prompt, tokenizer: Any, *, plain: bool) -> list[int]:
    """Return a prompt's tokens: a message of a user as the chat template writes it, or text.

    Args:
        prompt: The prompt.
        tokenizer: That of the model.
        plain: Continue a text as it is, though there is a chat template.

    Raises:
        InputError: for messages that the chat template cannot write.
    """
    if isinstance(prompt, str) and (plain or not tokenizer.chat_template):
        rendered = RenderedExample(0, Example(prompt, ["a"]), prompt, ["a"], templated=False)
        return TextEncoder(tokenizer).encode([rendered])[0].prompt
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    try:
        written = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    except Exception as error:  # a template's own, and that there is none
        raise InputError(f"generate: the chat template cannot write a prompt: {one_line(error, 200)}") from error
    return cast(list[int], written)
