"""Rows with two completions, and a column that says which of them is the better one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional, cast

from dpo_lightning.batch import ColumnValue
from dpo_lightning.batch.columns import checked_number
from dpo_lightning.data.column_paths import has, missing, required
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.columns import number_in, read_columns
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.data.formats.verdict import Better, Verdicts
from dpo_lightning.errors import InputError

_OF_PREFERENCES = ("preference", "names", "verdicts", "boundary", "scale")


@dataclass(frozen=True)
class ComparedFormat(PairFormat):
    """Two completions and a column that says which is better; rows in which none is are dropped and counted.

    `SHPFormat`, `SafeRLHFFormat`, `HelpSteerFormat`, `ArenaFormat` and `AlpacaEvalFormat` are this one with the columns
    of the data they are named after. The further settings are those of `PairFormat`. A `margin` of two columns is
    taken as the first completion's and the second one's, a margin of one as its size.

    Args:
        first: Column of one completion: a text, or messages.
        second: Column of the other.
        preference: Column that says which is better.
        scores: Two columns with a number of each, in place of a preference: the higher one is better, equal ones are a
            tie. The settings of a preference, which follow, mean nothing beside them and are refused.
        names: Two columns with the name of each, such as that of its model, by which the preference may call it.
        verdicts: Values of it, as text in small letters, and what they say: `first`, `second` or `tie`. The name of
            one of the two columns says that one, and so does the letter or the digit in which the two names differ.
        boundary: Instead, or beside: numbers below it say the first, numbers above it the second, itself a tie.
        scale: Smallest and largest number that is a verdict by the boundary; others are refused.
        ties: `drop` rows that prefer none, which are counted, or `refuse` them.

    Example:
        >>> row = {"prompt": "1 + 1?", "a": "3", "b": "2", "winner": "b"}
        >>> read = ComparedFormat(first="a", second="b", preference="winner", verdicts={"a": "first", "b": "second"})
        >>> read.examples(row)[0].completions
        ['2', '3']
    """

    first: str = "response_1"
    second: str = "response_2"
    preference: str = "preference"
    scores: Optional[list[str]] = None
    names: Optional[list[str]] = None
    verdicts: Optional[dict[str, Literal["first", "second", "tie"]]] = None
    boundary: Optional[float] = None
    scale: Optional[list[float]] = None
    ties: Literal["drop", "refuse"] = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.scale is not None and (self.boundary is None or len(self.scale) != 2 or self.scale[0] >= self.scale[1]):
            raise InputError(f"{name}.scale: give the smallest and the largest number of a scale with a boundary")
        for key in ("scores", "names"):
            if (given := getattr(self, key)) is not None and len(given) != 2:
                raise InputError(f"{name}.{key}: name two columns, that of `{self.first}` and that of `{self.second}`")
        for key in _OF_PREFERENCES if self.scores is not None else ():
            if getattr(self, key) != getattr(ComparedFormat, key):
                raise InputError(
                    f"{name}.scores: `{key}` means nothing beside scores: leave it out, or give the columns to "
                    "ComparedFormat"
                )

    @property
    def judges(self) -> bool:
        """True: the preference."""
        return True

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the better one and the other."""
        better = self._by_scores(row, self.scores) if self.scores else self._by_preference(row)
        if better is Better.TIE:
            if self.ties == "drop":
                raise NoPreference
            said = " and ".join(f"`{name}`" for name in self.scores or [self.preference])
            raise InputError(f"field {said}: it prefers neither completion, and format.ties is refuse")
        first, second = (Side(name, required(row, name)) for name in (self.first, self.second))
        return [(first, second) if better is Better.FIRST else (second, first)]

    def values(self, row: Mapping[str, Any], chosen: Side, rejected: Side) -> Mapping[str, ColumnValue]:
        """Return the values of the named columns, the margin as that of the chosen completion."""
        found = read_columns(self.columns_named, self.texts, row)
        if "margin" in found:
            margin = cast(float, found["margin"])
            signed = margin if chosen.name == self.first else -margin
            found["margin"] = signed if isinstance(self.margin, list) else abs(margin)
        return found

    @property
    def words(self) -> Mapping[str, Better]:
        """The words that the preference may have, and what each says."""
        sides = ((self.first, Better.FIRST), (self.second, Better.SECOND))
        named = {
            word: better for name, better in sides for word in (name.casefold(), name.casefold().replace("_", " "))
        }
        ends = {} if self.boundary is not None else dict(zip(_differing(self.first, self.second), Better, strict=False))
        words = {word.strip().casefold(): Better(says) for word, says in (self.verdicts or {}).items()}
        return {**ends, **named, **words}

    def _by_preference(self, row: Mapping[str, Any]) -> Better:
        if not has(row, self.preference):
            raise InputError(missing(row, self.preference))
        said = value_at(row, self.preference)
        called = [value_at(row, name) == said is not None for name in self.names or ()]
        if sum(called) == 1:
            return Better.FIRST if called[0] else Better.SECOND
        return Verdicts(self.words, self.boundary, *(self.scale or ())).of(said, f"field `{self.preference}`")

    def _by_scores(self, row: Mapping[str, Any], names: Sequence[str]) -> Better:
        first, second = (checked_number(number_in(required(row, name)), f"field `{name}`") for name in names)
        return Better.TIE if first == second else Better.FIRST if first > second else Better.SECOND


def _differing(first: str, second: str) -> tuple[str, ...]:
    """Return the one character in which two names differ, of each, in small letters; nothing where it is more."""
    found = [(a.casefold(), b.casefold()) for a, b in zip(first, second, strict=False) if a != b]
    return found[0] if len(found) == 1 and len(first) == len(second) and (found[0][0] + found[0][1]).isalnum() else ()
