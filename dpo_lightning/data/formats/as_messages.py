"""Rows of text as messages, and the system prompt before them: for whatever format has read the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dpo_lightning.data.column_paths import has, missing, value
from dpo_lightning.data.control_tokens import check_text
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Conversation, Example
from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.errors import InputError


def read_examples(row_format: Format, row: Mapping[str, Any], quote: Callable[[str], str]) -> list[Example]:
    """Return a row's examples, as messages and with their system prompt where the format says so.

    Raises:
        InputError: as `Format.examples` does, for what are messages already, and naming the column of the system
            prompt.
    """
    examples = row_format.examples(row, quote)
    if row_format.as_messages:
        examples = [_written(example)._replace(**template_inputs(row, quote)) for example in examples]
    if row_format.system is None:
        return examples
    system = _system(row, row_format.system, quote)
    return [_after(system, example, row_format.system) for example in examples]


def _written(example: Example) -> Example:
    if not isinstance(example.prompt, str) or not all(isinstance(each, str) for each in example.completions):
        raise InputError("format.as_messages is for rows of text: the rows are messages, so leave it out")
    answers: list[str | Conversation] = [[{"role": "assistant", "content": each}] for each in example.completions]
    return example._replace(prompt=[{"role": "user", "content": example.prompt}], completions=answers)


def _system(row: Mapping[str, Any], name: str, quote: Callable[[str], str]) -> str:
    if not has(row, name):
        raise InputError(f"{missing(row, name)}: name one in format.system")
    text = value(row, name)
    if text is not None and not isinstance(text, str):
        raise InputError(f"field `{name}`: {type(text).__name__}, not the text of a system prompt")
    return quote(check_text(text or "", f"field `{name}`"))


def _after(system: str, example: Example, name: str) -> Example:
    if isinstance(example.prompt, str):
        raise InputError("format.system is for messages: set format.as_messages to true, or name it in prompt_template")
    first = example.prompt[0] if example.prompt else {}
    if first.get("role") in ("system", "developer"):
        if system.strip() and first.get("content") != system:
            raise InputError(f"field `{name}`: the messages of the prompt have a system message of their own")
        return example
    opening = [{"role": "system", "content": system}] if system.strip() else []
    return example._replace(prompt=[*opening, *example.prompt])
