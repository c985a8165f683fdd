"""Rows with several completions of a prompt, each with a score or a rank."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal, NamedTuple, Optional

import numpy as np

from dpo_lightning.batch import COLUMNS, Column, ColumnValue
from dpo_lightning.batch.columns import checked_number
from dpo_lightning.data.column_paths import required
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.columns import number_in, read_columns
from dpo_lightning.data.formats.decoded import decoded
from dpo_lightning.data.formats.example import Example
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares


class Scored(NamedTuple):
    """A completion and its score, higher for a better one."""

    side: Side
    score: float


def best_worst(ranked: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Return the best completion against the worst."""
    return [(ranked[0], ranked[-1])]


def best_random(ranked: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Return the best completion against a worse one, which the texts themselves draw."""
    worse = [each for each in ranked if each.score < ranked[0].score]
    seed = repr([(each.side.value, each.score) for each in ranked])
    return [(ranked[0], random.Random(seed).choice(worse))] if worse else []


def all_pairs(ranked: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Return each pair."""
    return list(combinations(ranked, 2))


TAKES: Mapping[str, Callable[[Sequence[Scored]], list[tuple[Scored, Scored]]]] = {
    "best_worst": best_worst,
    "best_random": best_random,
    "all_pairs": all_pairs,
}
"""Pairs of completions that are ranked, the best one first, by the name of the choice."""


@dataclass(frozen=True)
class RankedFormat(PairFormat):
    """A prompt and the list of its completions, each with a score, or with a rank of which the smallest is best.

    The further settings are those of `PairFormat`. The score of a completion stands in it; where the completions are
    texts, or lists of messages, scores are a list of their own beside them. They are taken as float32: two that are one
    number there are equal.

    Args:
        completions: Column of the list of completions.
        completion: Field of a completion with its text or messages; null where it is one itself.
        score: Field of a completion with its score, or the column of scores.
        rank: Instead of it, the field or the column of ranks.
    """

    completions: str = "completions"
    completion: Optional[str] = None
    score: Optional[str] = None
    rank: Optional[str] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.score is None) == (self.rank is None):
            raise InputError(f"{type(self).__name__}: name either a score or a rank of the completions")
        if isinstance(self.margin, list):
            raise InputError(
                f"{type(self).__name__}.margin: name one number of the completions; it is their difference"
            )

    @property
    def judges(self) -> bool:
        """True: the scores or ranks."""
        return True

    def ranked(self, row: Mapping[str, Any]) -> list[Scored]:
        """Return the completions of a row, the best one first.

        Raises:
            InputError: naming the field, for what is no list, and for a completion without its text or its number.
            NoPreference: where all have the same score, or there are fewer than two.
        """
        given = required(row, self.completions)
        if not isinstance(given, list):
            raise InputError(f"field `{self.completions}`: {type(given).__name__}, not a list of completions")
        found = [
            Scored(self._side(each, k), score)
            for k, (each, score) in enumerate(zip(given, self._scores(row, given), strict=True))
        ]
        if len({each.score for each in found}) < 2:
            raise NoPreference
        return sorted(found, key=lambda each: -each.score)

    def _side(self, completion: Any, k: int) -> Side:
        name = f"{self.completions}[{k}]"
        if self.completion is None:
            return Side(name, completion, k)
        if not isinstance(completion, Mapping) or value_at(completion, self.completion) is None:
            raise InputError(f"field `{name}`: no `{self.completion}` in it")
        return Side(name, value_at(completion, self.completion), k)

    def _scores(self, row: Mapping[str, Any], completions: Sequence[Any]) -> list[float]:
        """Return the scores as a batch holds them, so that what differs here does so in a loss."""
        name, sign = (self.score, 1.0) if self.rank is None else (self.rank, -1.0)
        return [sign * float(np.float32(number)) for number in self.numbers(row, completions, str(name))]

    def numbers(self, row: Mapping[str, Any], completions: Sequence[Any], name: str) -> list[float]:
        """Return a number of each completion: those of a column, or a field's of each.

        Raises:
            InputError: naming the field.
        """
        if self.completion is None:
            column = required(row, name)
            if not isinstance(column, list) or len(column) != len(completions):
                counted = f"{len(column)} numbers" if isinstance(column, list) else type(column).__name__
                raise InputError(f"field `{name}`: {counted} for {len(completions)} completions")
            return [checked_number(number_in(each), f"field `{name}[{k}]`") for k, each in enumerate(column)]
        return [
            checked_number(
                number_in(value_at(each, name) if isinstance(each, Mapping) else None),
                f"field `{self.completions}[{k}].{name}`",
            )
            for k, each in enumerate(completions)
        ]


@dataclass(frozen=True)
class ScoredPairsFormat(RankedFormat):
    """Pairs of a list of completions that have scores or ranks, such as UltraFeedback's, Nectar's and NeMo-RL's.

    Two completions of one score are no pair; a row without one is dropped and counted.

    A `margin` names the number of the completions whose difference it is, such as their score. The further settings are
    those of `RankedFormat`.

    Args:
        take: `best_worst`, `best_random`, where the row's own texts draw the other one, or `all_pairs`.

    Example:
        >>> row = {"prompt": "1 + 1?", "answers": [{"answer": "3", "rank": 2}, {"answer": "2", "rank": 1}]}
        >>> read = ScoredPairsFormat(completions="answers", completion="answer", rank="rank")
        >>> read.examples(row)[0].completions
        ['2', '3']
    """

    take: Literal["best_worst", "best_random", "all_pairs"] = "best_worst"

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the pairs that are taken."""
        taken = TAKES[self.take](self.ranked(row))
        return [(better.side, worse.side) for better, worse in taken if better.score > worse.score]

    def values(self, row: Mapping[str, Any], chosen: Side, rejected: Side) -> Mapping[str, ColumnValue]:
        """Return the values of the named columns, the margin as a difference of the two completions."""
        others = {name: source for name, source in self.columns_named.items() if name != "margin"}
        found = read_columns(others, self.texts, row)
        if self.margin is not None:
            numbers = self.numbers(row, required(row, self.completions), str(self.margin))
            found["margin"] = numbers[chosen.number] - numbers[rejected.number]
        return found


@dataclass(frozen=True)
class ScoredListFormat(RankedFormat):
    """A list of completions as it is, the best one first, with the `score` of each, for objectives on lists.

    A rank is taken as its negative. A row in which all have one score is dropped and counted.

    Args:
        quantile: Field of a completion, or column of numbers beside the completions, with the quantile of each one's
            reward, between 0 and 1, for `QRPO(quantiles="column")`.

    Example:
        >>> row = {"prompt": "1 + 1?", "completions": ["3", "2"], "scores": [0.5, 4]}
        >>> example = ScoredListFormat(score="scores").examples(row)[0]
        >>> example.completions, example.columns
        (['2', '3'], {'score': [4.0, 0.5]})
    """

    gives: ClassVar[Compares] = Compares.LISTS
    quantile: Optional[str] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("margin", "probability"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"ScoredListFormat.{name}: a list has a score of each completion instead: leave it out"
                )

    @property
    def columns(self) -> Mapping[str, Column]:
        """The scores, the quantiles where they are named, and the columns that are given."""
        named = ("score",) if self.quantile is None else ("score", "quantile")
        return {**{name: COLUMNS[name] for name in named}, **super().columns}

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the best completion beside each."""
        best, *others = self.ranked(row)
        return [(best.side, each.side) for each in others]

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the list of a row, with its scores and the values of the named columns.

        Raises:
            InputError: naming the field, and for dialogues that share other turns than all of them.
        """
        read = decoded(row, self.json_columns)
        ranked = self.ranked(read)
        best = ranked[0].side
        pairs = [self.pair(read, best, each.side, quote) for each in ranked[1:]]
        if any(pair.prompt != pairs[0].prompt for pair in pairs):
            raise InputError(
                f"field `{self.completions}`: its dialogues do not share one prompt: name the prompt's column"
            )
        completions = [pairs[0].completions[0], *(pair.completions[1] for pair in pairs)]
        columns = {"score": [each.score for each in ranked], **self.values(read, best, best)}
        if self.quantile is not None:
            numbers = self.numbers(read, required(read, self.completions), self.quantile)
            columns["quantile"] = [numbers[each.side.number] for each in ranked]
        return [pairs[0]._replace(completions=completions, columns=columns)]
