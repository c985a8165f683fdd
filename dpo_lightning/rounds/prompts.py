"""Prompts of `generate`: texts and conversations, from words and files to tokens."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from dpo_lightning.data.formats import Example, RowFormat
from dpo_lightning.data.formats.messages import text_or_messages
from dpo_lightning.data.formats.template_inputs import ARGUMENTS, TOOLS, template_inputs
from dpo_lightning.data.reading.packed import opened_text, suffix_of
from dpo_lightning.data.tokenize.chat_template import ChatTemplate
from dpo_lightning.data.tokenize.encoding import TextEncoder
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.errors import InputError, prefixed
from dpo_lightning.utils.text import one_line

Prompt = str | list[dict[str, Any]]
"""A text, or the messages of a conversation."""

ANSWERS = ("chosen", "rejected", "chosen_score", "rejected_score", "completions", "scores", "ended", "model")
"""Columns of what others answered: they are no part of a prompt."""

_OTHER_KINDS = (".parquet", ".csv", ".tsv", ".arrow", ".txt", ".xlsx", ".yaml")


class Asked(NamedTuple):
    """A prompt as somebody asks it.

    Attributes:
        prompt: A text, or messages.
        beside: Other columns of its row, without answers.
        tools: Definitions of tools, which a chat template reads.
        template_arguments: Further arguments of the chat template.
        left_out: Columns of the row that are answers.
    """

    prompt: Prompt
    beside: Mapping[str, Any] = {}
    tools: list[Any] | None = None
    template_arguments: Mapping[str, Any] = {}
    left_out: tuple[str, ...] = ()


def asked_of(texts: Sequence[str], file: Path | None, *, answers: bool = True) -> list[Asked]:
    """Return the prompts of the words of `generate`: its texts, and behind them the rows of its file.

    A row is a text, a list of messages, or an object with `prompt` or `messages`; one with `chosen` and `rejected` and
    no prompt gives what both have in common, as training reads it.

    Args:
        texts: Prompts.
        file: Rows of JSON, one a line or all in a list, which may be packed.
        answers: Take `messages` that end with an answer for a conversation to go on with; False refuses them.

    Raises:
        InputError: where there is none, and for a file that cannot be read, naming the line.
    """
    if not all(texts):
        raise InputError("generate --prompt: an empty text: write one")
    asked = [*map(Asked, texts), *([] if file is None else _rows(file, answers))]
    if not asked:
        raise InputError("generate: say what to continue: --prompt TEXT, or --prompts FILE")
    return asked


def _rows(file: Path, answers: bool) -> Iterator[Asked]:
    place = f"generate --prompts {file}"
    if suffix_of(file) in _OTHER_KINDS:
        raise InputError(f"{place}: rows of JSON are read, from .jsonl or .json, also as .gz: write it as one of these")
    with prefixed("generate --prompts "), opened_text(file, "utf-8-sig", "\n", lambda count: None) as opened:
        content = opened.read()
    found = False
    for line, row in _values(content, place):
        found = True
        yield _asked(row, line, answers)
    if not found:
        raise InputError(f"{place}: there is no row in it")


def _values(content: str, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of a text of JSON, a list of all or one a line, each behind its place."""
    whole = _list_of_rows(content)
    if whole is not None:
        yield from ((f"{place}, row {number} (from 0)", row) for number, row in enumerate(whole))
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            named = f"{place}, line {number}"
            try:
                yield named, json.loads(line)
            except ValueError as error:
                raise InputError(f"{named}: no prompt: no JSON: {one_line(error, 80)}: {_REMEDY}") from None


def _list_of_rows(content: str) -> list[Any] | None:
    if not content.lstrip().startswith("["):
        return None
    try:
        rows = json.loads(content)
    except ValueError:  # lines that are lists of messages each
        return None
    is_chat = bool(rows) and all(isinstance(each, dict) and "role" in each for each in rows)
    return [rows] if is_chat else rows


_REMEDY = 'write {"prompt": "a text"}, or {"messages": [...]}'


def _asked(row: Any, place: str, answers: bool) -> Asked:
    if not isinstance(row, Mapping):
        return Asked(_checked(row, place))
    _check_columns(row, place)
    name = next((each for each in ("prompt", "messages") if each in row), None)
    if name is None and "chosen" in row and "rejected" in row:
        with prefixed(f"{place}: "):
            prompt: Any = RowFormat().examples(row, str)[0].prompt
    else:
        prompt = row.get(name or "prompt")
    prompt = _checked(prompt, place)
    if name == "messages" and not answers and continues(prompt):
        raise InputError(
            f"{place}, messages: they end with an answer: leave it out, or call them `prompt` to have it continued"
        )
    with prefixed(f"{place}: "):
        inputs = template_inputs(row)
    answered = (*ANSWERS, *(("messages",) if name == "prompt" else ()))
    beside = {key: value for key, value in row.items() if key not in (name, *answered)}
    return Asked(prompt, beside, **inputs, left_out=tuple(each for each in answered if each in row))


def _check_columns(row: Mapping[str, Any], place: str) -> None:
    if row.get("system"):
        raise InputError(f"{place}, system: nothing reads it: write it as the first of the messages")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: it holds half of a character, \\ud800 to \\udfff, which no file can: mend it"
        ) from None


def _checked(prompt: Any, place: str) -> Prompt:
    is_chat = isinstance(prompt, list) and prompt and all(isinstance(each, dict) and "role" in each for each in prompt)
    if not (is_chat or (isinstance(prompt, str) and prompt)):
        raise InputError(f"{place}: no prompt: {_REMEDY}")
    with prefixed(f"{place}: "):
        return cast(Prompt, text_or_messages({"prompt": prompt}, "prompt"))


def writes_as_messages(prompts: Sequence[Prompt], tokenizer: Any) -> bool:
    """Return whether a text among the prompts becomes the message of a user, by the tokenizer's chat template."""
    return bool(tokenizer.chat_template) and any(isinstance(each, str) for each in prompts)


def as_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return a text as the message of a user, and messages as they are."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def continues(prompt: Prompt) -> bool:
    """Return whether a prompt ends with the beginning of an answer, as training reads it."""
    return not isinstance(prompt, str) and prompt[-1]["role"] == "assistant"


def prompt_ids(
    asked: Asked, tokenizer: Any, *, plain: bool, prefill: bool = False, date: datetime.date | None = None
) -> list[int]:
    """Return a prompt's tokens: a message of a user as the chat template writes it, or text.

    Args:
        asked: The prompt.
        tokenizer: That of the model.
        plain: Continue a text as it is, though there is a chat template.
        prefill: Continue a last message of the assistant, and do not begin another one behind it.
        date: What the chat template gets when it asks for the time; None for the clock.

    Raises:
        InputError: for messages that the chat template cannot write, and columns for a template where there is none.
    """
    prompt = asked.prompt
    if isinstance(prompt, str) and (plain or not tokenizer.chat_template):
        if asked.tools or asked.template_arguments:
            raise InputError(f"generate: `{TOOLS}` and `{ARGUMENTS}` are for a chat template, and a text is as it is")
        rendered = RenderedExample(0, Example(prompt, ["a"]), prompt, ["a"], templated=False)
        return TextEncoder(tokenizer).encode([rendered])[0].prompt
    end = {"continue_final_message" if prefill and continues(prompt) else "add_generation_prompt": True}
    try:
        with ChatTemplate(tokenizer, date=date).at_date():
            written = tokenizer.apply_chat_template(
                as_messages(prompt), tools=asked.tools, return_dict=False, **end, **asked.template_arguments
            )
    except Exception as error:  # a template's own, and that there is none
        raise InputError(f"generate: the chat template cannot write a prompt: {one_line(error, 200)}") from error
    return cast(list[int], written)
