"""Examples as pieces of text, with what is trained on told from what is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import groupby
from typing import NamedTuple

import numpy as np

from dpo_lightning.data.inspect.survey import Seen, Survey

_LONGEST = 600  # characters of a piece that are shown


class Kind(Enum):
    """Kinds of pieces of an example."""

    PROMPT = "prompt"
    SCORED = "trained"
    UNSCORED = "not trained"


class Piece(NamedTuple):
    """A piece of text of one kind."""

    kind: Kind
    text: str


class MarkedExample(NamedTuple):
    """An example in pieces.

    Attributes:
        split: Name of its split.
        row: Row of the source data, from 0.
        prompt: The prompt, whose end is shown where it is long.
        completions: Each completion in pieces, with its name: `chosen`, `rejected`, `desirable`, ...
        trained: Number of tokens of each completion that count.
    """

    split: str
    row: int
    prompt: Piece
    completions: list[tuple[str, list[Piece]]]
    trained: list[int]


def marked(seen: Seen, survey: Survey) -> MarkedExample:
    """Decode an example and mark which of its tokens count.

    Args:
        seen: The example.
        survey: Knows how tokens are decoded.
    """
    counts = [each.tolist() for each in seen.counts]
    completions = [
        (name, _pieces(ids, each, survey.decode))
        for name, ids, each in zip(names_of(seen), seen.completion_ids, counts, strict=True)
    ]
    prompt = survey.decode(seen.prompt_ids.tolist())
    if len(prompt) > _LONGEST:
        prompt = "[…] " + prompt[-_LONGEST:]
    return MarkedExample(seen.split, seen.row, Piece(Kind.PROMPT, prompt), completions, [sum(each) for each in counts])


def names_of(seen: Seen) -> list[str]:
    """Return what the completions of an example are called."""
    if seen.labels is not None:
        names = ["desirable" if label else "undesirable" for label in seen.labels]
        before = [names[:number].count(name) for number, name in enumerate(names)]
        return [
            f"{name} {number + 1}" if names.count(name) > 1 else name
            for name, number in zip(names, before, strict=True)
        ]
    if len(seen.completion_ids) == 2:
        return ["chosen", "rejected"]
    return [f"completion {number}" for number in range(1, len(seen.completion_ids) + 1)]


def _pieces(ids: np.ndarray, counts: Sequence[bool], decode: Callable[[Sequence[int]], str]) -> list[Piece]:
    pieces = []
    for counted, tokens in groupby(zip(ids.tolist(), counts, strict=True), key=lambda pair: bool(pair[1])):
        text = decode([token for token, _ in tokens])
        shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " […]"
        pieces.append(Piece(Kind.SCORED if counted else Kind.UNSCORED, shown))
    return pieces


def samples(survey: Survey, count: int = 5) -> list[Seen]:
    """Return training examples at random, in the order of their rows."""
    kept = survey.train.kept
    chosen = np.random.default_rng(survey.seed).permutation(len(kept))[:count]
    return [kept[place] for place in sorted(chosen.tolist())]
