"""Spans of characters that count, as columns of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_lightning.data.columns import required
from dpo_lightning.data.control_tokens import CLOSE, OPEN
from dpo_lightning.data.formats.example import Conversation, Example
from dpo_lightning.errors import InputError

Span = tuple[int, int]


def check_spans(names: object, completions: int, format_name: str) -> None:
    """Check what a format names as columns of spans.

    Raises:
        InputError: for other than a column for each completion.
    """
    if names is None:
        return
    if not isinstance(names, list | tuple) or len(names) != completions or not all(isinstance(n, str) for n in names):
        raise InputError(f"{format_name}.spans: name a column for each of {completions} completions, got {names!r:.80}")


def with_spans(example: Example, row: Mapping[str, Any], names: Sequence[str], template: str) -> Example:
    """Return an example with the spans of its completions, which a row has in these columns.

    A span that reaches the end of a completion covers what the template puts behind it.

    Args:
        example: As a format makes it, with its control tokens quoted.
        row: Columns by name; the spans count the characters of its own texts.
        names: A column for each completion.
        template: Text around a plain-text completion; `{completion}` stands for it.

    Raises:
        InputError: naming the field, for what are no spans, and for a completion of several messages.
    """
    before, behind = template.split("{completion}")
    spans = []
    for name, completion in zip(names, example.completions, strict=True):
        framed = isinstance(completion, str) and completion.strip() != ""
        text = _text(completion, name)
        own = text[len(before) : len(text) - len(behind)] if framed else text
        found = checked_spans(required(row, name), len(own) - own.count(OPEN) - own.count(CLOSE), f"field `{name}`")
        start = len(before) if framed else 0
        end = start + len(own)
        places = [(start + quoted_place(own, first), start + quoted_place(own, last)) for first, last in found]
        spans.append([(first, len(text) if last == end else last) for first, last in places])
    return example._replace(spans=spans)


def _text(completion: str | Conversation, name: str) -> str:
    if isinstance(completion, str):
        return completion
    if len(completion) > 1 or "content" not in completion[0]:
        raise InputError(
            f"field `{name}`: spans are of a text, or of the content of one message: a `weight` of 0 or 1 says which "
            "messages of several count"
        )
    return str(completion[0]["content"])


def quoted_place(text: str, place: int) -> int:
    """Return where a character of a text stands in the text with its control tokens quoted.

    Args:
        text: The quoted text.
        place: Characters before it, quotes not counted.
    """
    if OPEN not in text:
        return place
    positions = [number for number, character in enumerate(text) if character not in (OPEN, CLOSE)]
    return positions[place] if place < len(positions) else len(text)


def checked_spans(value: Any, length: int, place: str) -> list[Span]:
    """Return spans of characters as a row gives them.

    Raises:
        InputError: naming the place, for what is no list of `[start, end]` within the text, in order and apart.
    """
    if not isinstance(value, list | tuple):
        raise InputError(f"{place}: {type(value).__name__}, not a list of [start, end]")
    spans = [(each[0], each[1]) for each in value if _is_span(each)]
    ends = [0, *(end for _, end in spans)]
    if len(spans) < len(value) or any(start < before for (start, _), before in zip(spans, ends, strict=False)):
        raise InputError(f"{place}: not a list of [start, end] of whole numbers, in order and apart")
    if ends[-1] > length:
        raise InputError(f"{place}: character {ends[-1]} of a text of {length}")
    return spans


def _is_span(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(isinstance(each, int) and not isinstance(each, bool) for each in value) and 0 <= value[0] < value[1]
