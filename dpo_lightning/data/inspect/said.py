"""Facts about texts, taken as rows are read: the texts themselves are not kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from typing import Any, NamedTuple, TypeAlias

from dpo_lightning.data.cleaning.words import squeezed, words_key
from dpo_lightning.data.inspect.refusals import is_refusal

# All of Cc but tabs and line breaks, and what turns or hides text: marks of direction, zero width, tags, private use.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ue000-\uf8ff"
    "\U000e0000-\U000e007f]"
)
_MARKUP = re.compile(
    r"<\|(?:im_start|im_end|start_header_id|end_header_id|eot_id|endoftext|assistant|user|system|end)\|>|\[/?INST\]"
    r"|<</?SYS>>|<(?:start|end)_of_turn>|^### (?:Instruction|Response|Human|Assistant):",
    re.MULTILINE,
)
_LAST_MARK = re.compile(r"\w\Z")


class Fact(IntEnum):
    """A property of a text; what holds of one is the sum of them."""

    # No IntFlag, whose `&` takes 20 times as long: a check of many rows is little else.
    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> int:
        return 1 << count

    EMPTY = auto()
    BLANK = auto()
    """White space alone."""
    REFUSAL = auto()
    UNSEEN = auto()
    """It has a character that cannot be seen."""
    MARKUP = auto()
    """It has the markup of a chat template."""
    BULLETS = auto()
    NUMBERED = auto()
    CODE = auto()
    HEADINGS = auto()
    BOLD = auto()
    QUESTION = auto()
    EXCLAMATION = auto()
    OPEN_END = auto()
    """It ends in a letter or a digit."""
    PARAGRAPHS = auto()
    TABLE = auto()
    EMOJI = auto()


_Facts: TypeAlias = tuple[tuple[Fact, Callable[[str], Any]], ...]
_OF_PROMPTS: _Facts = ((Fact.UNSEEN, _UNSEEN.search), (Fact.MARKUP, _MARKUP.search))
# White space that a line begins with has no line breaks here: a run of them would be looked at once for each.
_OF_COMPLETIONS: _Facts = (
    *_OF_PROMPTS,
    (Fact.EMPTY, lambda text: not text),
    (Fact.BLANK, str.isspace),
    (Fact.REFUSAL, is_refusal),
    (Fact.BULLETS, re.compile(r"^[^\S\n]*[-*•] ", re.MULTILINE).search),
    (Fact.NUMBERED, re.compile(r"^[^\S\n]*\d+[.)] ", re.MULTILINE).search),
    (Fact.CODE, lambda text: "```" in text),
    (Fact.HEADINGS, lambda text: "# " in text and re.search(r"^#{1,6} ", text, re.MULTILINE)),
    (Fact.BOLD, lambda text: "**" in text and re.search(r"\*\*\S", text)),
    (Fact.EXCLAMATION, lambda text: "!" in text),
    (Fact.QUESTION, lambda text: text.rstrip().endswith("?")),
    (Fact.OPEN_END, lambda text: _LAST_MARK.search(text.rstrip()[-1:])),
    (Fact.TABLE, lambda text: "|" in text and re.search(r"^[^\S\n]*\|.*\|", text, re.MULTILINE)),
    (Fact.EMOJI, re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]").search),
    (Fact.PARAGRAPHS, re.compile(r"\n[^\S\n]*\n").search),
)


class Said(NamedTuple):
    """Facts about the texts of an example.

    Attributes:
        prompt: Sum of the facts of the prompt, as far as they are asked for: unseen characters and markup.
        completions: Sum of the facts of each completion.
        same: Whether there are several completions, all of the same text.
        same_words: Whether they are several different texts that differ in white space or in capital letters alone.
        key: See `words_key`.
    """

    prompt: int
    completions: tuple[int, ...]
    same: bool
    same_words: bool
    key: int

    @classmethod
    def of(cls, prompt: str, completions: Sequence[str], labels: Sequence[bool] | None = None) -> Said:
        """Take the facts of texts, as the model gets them."""
        differ = len(set(completions)) > 1
        return cls(
            _sum(prompt, _OF_PROMPTS),
            tuple(_sum(each, _OF_COMPLETIONS) for each in completions),
            len(completions) > 1 and not differ,
            differ and len(set(map(squeezed, completions))) == 1,
            words_key(prompt, completions, labels),
        )

    def any(self, fact: Fact) -> bool:
        """Return whether a fact holds of a completion."""
        return any(each & fact for each in self.completions)


def _sum(text: str, of: _Facts) -> int:
    return sum(fact for fact, holds in of if holds(text))
