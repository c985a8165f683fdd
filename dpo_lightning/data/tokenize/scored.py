"""The tokens of a completion that count, in its log-prob and in its length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

from dpo_lightning.data.formats import Conversation, Message
from dpo_lightning.data.formats.turns import answer
from dpo_lightning.data.special_tokens import special_tokens
from dpo_lightning.data.tokenize.chat_template import ChatTemplate
from dpo_lightning.data.tokenize.encoding import Continued, TextEncoder
from dpo_lightning.data.tokenize.prefill import continues, joined
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.data.tokenize.turns import WEIGHTS, Dialogue, Span
from dpo_lightning.errors import InputError

Scored: TypeAlias = Literal["completion", "assistant", "last_assistant"]
"""Turns of a completion that count: all of them, the assistant's, or its last one."""

_COUNTS: Mapping[Scored, Callable[[Message, bool], bool]] = {
    "completion": lambda message, is_last: True,
    "assistant": lambda message, is_last: message["role"] == "assistant",
    "last_assistant": lambda message, is_last: is_last,
}


def counted(rendered: RenderedExample, template: ChatTemplate, scored: Scored) -> list[Sequence[Span] | None]:
    """Return the characters of each completion that count, None for all of one; nothing where all of all do.

    What the data says of an example (`Example.spans`, weights of messages) comes before `scored`.

    Raises:
        InputError: for a choice among turns where the rows are text, a weight that is neither 0 nor 1, a turn of
            somebody else that shall count, and for a template in whose text the turns cannot be found.
    """
    example = rendered.source
    if example.spans is not None:
        parts = zip(rendered.completions, example.completions, example.spans, strict=True)
        return [_in_written(text, completion, spans) for text, completion, spans in parts]
    if isinstance(example.prompt, str):
        if scored == "last_assistant":
            raise InputError("data.scored: `last_assistant` is for rows of messages, and the rows are text")
        return []
    prompt = example.prompt
    found: list[Sequence[Span] | None] = []
    for completion, text in zip(example.completions, rendered.completions, strict=True):
        messages = answer(completion)
        says = [_counts(message, scored, message is messages[-1]) for message in messages]
        if rendered.ids is not None and not all(says):
            raise InputError(
                "the tokenizer writes conversations as tokens, in which turns are not found: set data.scored to "
                "`completion`, and take out weights of messages"
            )
        dialogue = _dialogue(rendered, joined(prompt, messages), text, template)
        first = len(prompt) - continues(prompt)
        found.append(_of_turns(dialogue, first, says, scored, partial(template.marked, example)))
    begin = len(rendered.prompt)
    return [spans and _behind(begin, spans) for spans in found] if any(each is not None for each in found) else []


def masks(rendered: RenderedExample, tokens: Continued, encoder: TextEncoder) -> list[list[bool]]:
    """Return whether each token of each completion counts: one that has a character that does; empty where all do.

    What is written behind a completion, such as its EOS, counts as its last character does.
    """
    return [
        [] if spans is None else _mask(spans, number, rendered, tokens, encoder)
        for number, spans in enumerate(rendered.counted)
    ]


def _mask(
    spans: Sequence[Span], number: int, rendered: RenderedExample, tokens: Continued, encoder: TextEncoder
) -> list[bool]:
    text, ids = rendered.completions[number], tokens.completions[number]
    places = iter(encoder.places(rendered, tokens, number, [place for span in spans for place in span]))
    mask = [False] * len(ids)
    for _, end in spans:
        first, last = next(places).ended, next(places).begun
        last = len(ids) if end == len(text) else last
        mask[first:last] = [True] * (last - first)
    return mask


def _dialogue(rendered: RenderedExample, messages: Conversation, text: str, template: ChatTemplate) -> Dialogue:
    def write(some: Conversation, answered: bool) -> str:
        return template.text(rendered.source, some, **({} if answered else {"add_generation_prompt": True}))

    special = tuple(filter(None, special_tokens(template.tokenizer).values()))
    return Dialogue(messages, rendered.prompt + text, write, special)


def _in_written(text: str, completion: str | Conversation, spans: Sequence[Span]) -> list[Span]:
    """Return spans of a completion's own text in what the template has written of it."""
    if isinstance(completion, str):
        return list(spans)
    content = completion[0]["content"]
    start = text.find(content)
    if start < 0:
        raise InputError("the chat template changes the text of a message, so spans of its characters have no place")
    end = len(content)
    return [(start + first, len(text) if last == end else start + last) for first, last in spans]


def _of_turns(
    dialogue: Dialogue,
    first: int,
    says: Sequence[bool],
    scored: Scored,
    marked_in: Callable[[Conversation], list[Span] | None],
) -> list[Span] | None:
    """Return the characters of a dialogue that count; None for all behind its prompt.

    Args:
        dialogue: Prompt and completion.
        first: Number of the message with which the completion begins.
        says: Whether each message of the completion counts.
        scored: The choice among turns.
        marked_in: Where the template marks what the assistant generates, if it does.
    """
    marked = None if scored == "completion" else marked_in(dialogue.messages)
    if marked is None and all(says):
        return None
    own = [message["role"] == "assistant" for message in dialogue.messages[first:]]
    if marked is not None and [*says] == own:
        return marked
    if scored == "completion":
        return _between([dialogue.turn(first + n) for n, counts in enumerate(says) if not counts], dialogue.text)
    turns = [dialogue.turn(first + number) for number, counts in enumerate(says) if counts]
    return turns if marked is None else _overlaps(turns, marked)


def _behind(begin: int, spans: Sequence[Span]) -> list[Span]:
    return [(max(0, start - begin), end - begin) for start, end in spans if end > begin]


def _between(turns: Sequence[Span], text: str) -> list[Span]:
    ends = [0, *(place for turn in turns for place in turn), len(text)]
    return [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True) if start < end]


def _overlaps(these: Sequence[Span], those: Sequence[Span]) -> list[Span]:
    pairs = [(max(a, c), min(b, d)) for a, b in these for c, d in those]
    return [(start, end) for start, end in pairs if start < end]


def _counts(message: Message, scored: Scored, is_last: bool) -> bool:
    given = {name: message[name] for name in WEIGHTS if message.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise InputError(f"`{name}` of a message: {value!r:.40}, and a message counts (1) or does not (0)")
    if not given:
        return _COUNTS[scored](message, is_last)
    if message["role"] != "assistant" and scored != "completion" and all(given.values()):
        raise InputError(
            f"a {message['role']} message has `{next(iter(given))}` 1, and only the assistant's turns count: set "
            "data.scored to `completion`, or take the field out"
        )
    return all(map(bool, given.values()))
