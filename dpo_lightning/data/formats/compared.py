"""Rows with two completions, and a column that says which of them is the better one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Optional, cast

from dpo_lightning.batch import ColumnValue
from dpo_lightning.data.column_paths import has, missing, required
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.columns import read_columns
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.data.formats.verdict import Better, Verdicts
from dpo_lightning.errors import InputError


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
        verdicts: Values of it, as text in small letters, and what they say: `first`, `second` or `tie`. The name of
            one of the two columns says that one.
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
    verdicts: Optional[dict[str, Literal["first", "second", "tie"]]] = None
    boundary: Optional[float] = None
    scale: Optional[list[float]] = None
    ties: Literal["drop", "refuse"] = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.scale is not None and (self.boundary is None or len(self.scale) != 2 or self.scale[0] >= self.scale[1]):
            raise InputError(f"{name}.scale: give the smallest and the largest number of a scale with a boundary")

    @property
    def judges(self) -> bool:
        """True: the preference."""
        return True

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the better one and the other."""
        place = f"field `{self.preference}`"
        if not has(row, self.preference):
            raise InputError(missing(row, self.preference))
        better = self._reads.of(value_at(row, self.preference), place)
        if better is Better.TIE:
            if self.ties == "drop":
                raise NoPreference
            raise InputError(f"{place}: it prefers neither completion, and format.ties is refuse")
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
    def _reads(self) -> Verdicts:
        sides = {self.first.casefold(): Better.FIRST, self.second.casefold(): Better.SECOND}
        words = {word.strip().casefold(): Better(says) for word, says in (self.verdicts or {}).items()}
        return Verdicts({**sides, **words}, self.boundary, *(self.scale or ()))
