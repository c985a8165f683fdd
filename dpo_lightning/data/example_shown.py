"""Example of a run as the model gets it, decoded, with what is scored marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WIDTH, _LINES, _INDENT = 80, 3, "    "
_CUT = " ... "


def example_shown(tokenizer: PreTrainedTokenizerBase, example: TokenizedExample) -> str:
    """Return the prompt and the completions of an example in lines of at most 80 columns, a few each.

    Args:
        tokenizer: Decodes the tokens.
        example: The example; tokens that count stand between `[[` and `]]`.
    """
    counts = example.scored_branches[: len(example.completion_ids)]
    parts = [("prompt", len(example.prompt_ids), _decoded(tokenizer, example.prompt_ids))]
    for name, ids, count in zip(_names(example), example.completion_ids, counts, strict=True):
        parts.append((name, len(ids), _marked(tokenizer, ids, count)))
    lines = [line for name, tokens, text in parts for line in (f"  {name}, {tokens} tokens:", *_wrapped(text))]
    return "\n".join(lines)


def _names(example: TokenizedExample) -> list[str]:
    if example.labels is not None:
        return [f"completion, {'desirable' if label else 'undesirable'}" for label in example.labels]
    number = len(example.completion_ids)
    return ["chosen", "rejected"] if number == 2 else [f"completion {each + 1}" for each in range(number)]


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    text = shown(tokenizer.decode(list(ids)))
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _marked(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], counts: Sequence[bool]) -> str:
    runs = groupby(zip(ids, counts, strict=True), key=lambda each: bool(each[1]))
    texts = [(counted, _decoded(tokenizer, [token for token, _ in run])) for counted, run in runs]
    return "".join(f"[[{text}]]" if counted else text for counted, text in texts)


def _wrapped(text: str) -> Iterator[str]:
    """Yield the first lines of a text and its last one, where it has more."""
    room = _WIDTH - len(_INDENT)
    if _columns(text) > room * _LINES:
        text = _first(text, room * (_LINES - 1)) + _CUT + _first(text[::-1], room - len(_CUT))[::-1]
    while text:
        line = _first(text, room)
        yield _INDENT + line
        text = text[len(line) :]


def _first(text: str, columns: int) -> str:
    """Return as many of a text's first characters as fit."""
    taken = 0
    for end, character in enumerate(text):
        taken += _columns(character)
        if taken > columns:
            return text[:end]
    return text


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
