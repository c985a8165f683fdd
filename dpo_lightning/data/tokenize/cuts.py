"""Places at which a text can be cut in two whose tokens, put together, are those of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters, digits, punctuation
from typing import Any

# A letter, a digit or a mark of ASCII, then U+0020: no regular expression below matches across the two, or looks from
# one to the other, and no normalisation joins them.
_PLAIN = frozenset(ascii_letters + digits + punctuation)
_MARK = "\u2581"
_SPACES = f" \u0120{_MARK}"  # as text, ByteLevel and Metaspace write a space
_CROSSES = re.compile(f"([^{_SPACES}])[{_SPACES}]")
_WINDOW = 512  # characters before the end in which a cut is looked for

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPLITS = {
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
"""Expressions of Llama 3, Qwen 2, GPT-4o and GPT-2: in each of their branches a space can only come first."""


@dataclass(frozen=True)
class Cuts:
    """Places at which a tokenizer lets a text be cut: between one of these characters and a space.

    Attributes:
        before: The characters.
        starts: Characters that must not follow the space.
        drops_space: Whether the second part is tokenised without the space, which the tokenizer puts there itself.
    """

    before: frozenset[str]
    starts: frozenset[str]
    drops_space: bool

    def tail(self, prompt: str, completion: str) -> str:
        """Return the end of the prompt that has to be tokenised with the completion; without a cut the whole prompt."""
        if prompt[-1:] in self.before and completion[:1] == " " and completion[1:2] not in self.starts | {""}:
            return ""
        found = self._last.match(prompt, max(0, len(prompt) - _WINDOW))
        return prompt[found.end() :] if found else prompt

    def text(self, part: str) -> str:
        """Return the second part of a cut text as the tokenizer has to get it."""
        return part[1:] if self.drops_space else part

    @cached_property
    def _last(self) -> re.Pattern[str]:
        before, starts = _characters(self.before) or "(?!)", _characters(self.starts)
        return re.compile(f".*{before}(?= {starts and f'(?!{starts})'}.)", re.DOTALL)


def cuts_of(rules: Mapping[str, Any]) -> Cuts | None:
    """Find where a tokenizer lets a text be cut.

    Args:
        rules: The tokenizer, as `tokenizers` saves it.

    Returns:
        None where its rules are not among those of which it is known that they do not look across a space.
    """
    normalizers, splitters = (_steps(rules[name]) for name in ("normalizer", "pre_tokenizer"))
    prepends = any(each["type"] == "Prepend" for each in normalizers)
    marked = any(map(_marks_spaces, normalizers))
    if not all(map(_normalises_apart, normalizers)) or (prepends and not marked) or not _split_apart(splitters, marked):
        return None
    before = _PLAIN - _crossed(entry["content"] for entry in rules["added_tokens"])
    before -= {entry["content"][-1:] for entry in rules["added_tokens"] if entry["rstrip"] or prepends}
    if not any(map(_splits_at_spaces, splitters)):
        if not _merges_apart(rules["model"]):
            return None
        before -= _crossed(rules["model"]["vocab"])
    starts = frozenset(entry["content"][:1] for entry in rules["added_tokens"]) if prepends else frozenset()
    return None if starts & {*_SPACES} else Cuts(before, starts, drops_space=prepends)


def _steps(rule: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if rule is None:
        return []
    inner = rule.get("normalizers") or rule.get("pretokenizers")
    return [rule] if inner is None else [step for each in inner for step in _steps(each)]


def _normalises_apart(rule: Mapping[str, Any]) -> bool:
    if rule["type"] == "Prepend":
        return rule["prepend"] == _MARK
    return rule["type"] in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase") or _marks_spaces(rule)


def _marks_spaces(rule: Mapping[str, Any]) -> bool:
    return rule["type"] == "Replace" and rule["pattern"] == {"String": " "} and rule["content"] == _MARK


def _split_apart(splitters: Sequence[Mapping[str, Any]], marked: bool) -> bool:
    if marked or [each["type"] for each in splitters] == ["Metaspace"]:
        return not splitters or [_by_mark(each) for each in splitters] == [True]
    return all(map(_by_expression, splitters))


def _by_mark(rule: Mapping[str, Any]) -> bool:
    return rule.get("replacement") == _MARK if rule["type"] == "Metaspace" else rule.get("pattern") == {"String": " "}


def _by_expression(rule: Mapping[str, Any]) -> bool:
    if rule["type"] == "Split":
        return rule["pattern"].get("Regex") in _SPLITS and rule["behavior"] in ("Isolated", "Removed")
    return rule["type"] in ("ByteLevel", "Digits")


def _splits_at_spaces(rule: Mapping[str, Any]) -> bool:
    if rule["type"] == "Split":
        return "Regex" in rule["pattern"]
    return bool(rule.get("use_regex") or rule.get("split"))


def _merges_apart(model: Mapping[str, Any]) -> bool:
    """Merges on both sides do not see each other, where no piece has both and a space alone is a piece."""
    plain = not any(model.get(name) for name in ("dropout", "ignore_merges", "continuing_subword_prefix"))
    whole = model["type"] == "BPE" and not model["end_of_word_suffix"]
    return plain and whole and any(space in model["vocab"] for space in _SPACES)


def _crossed(pieces: Iterable[str]) -> frozenset[str]:
    """Return the characters that stand before a space inside a piece."""
    return frozenset(character for piece in pieces for character in _before_spaces(piece))


def _before_spaces(piece: str) -> Iterator[str]:
    return (found[1] for found in _CROSSES.finditer(piece))


def _characters(given: frozenset[str]) -> str:
    return f"[{re.escape(''.join(sorted(given)))}]" if given else ""
