"""The contract of all scorers, and the scores of one as a command takes them: a finite number of each completion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates


class NoScoreError(InputError):
    """A completion that has no score.

    Args:
        reason: Text without a place.
        row: Number of its row among those that were given, from 0.
        completion: Its number in the row, from 0; null where the whole row has none.
    """

    def __init__(self, reason: str, row: int, completion: int | None = None) -> None:
        which = "" if completion is None else f", completion {completion}"
        super().__init__(f"row {row}{which}: {reason}")
        self.reason, self.row, self.which = reason, row, which

    def at(self, place: str) -> InputError:
        """Return the error with the place of the row, such as a line of a file."""
        return InputError(f"{place}{self.which}: {self.reason}")


class Scorer(ABC):
    """Gives each completion of a prompt a number, higher for a better one; a context manager that frees its model."""

    at_once: ClassVar[int] = 8
    """Rows that a command asks for together, and writes together."""

    @property
    @abstractmethod
    def made(self) -> Mapping[str, Any]:
        """The settings that decide on the scores, as JSON: a command goes on with its file where they are the same."""

    @property
    def continues_texts(self) -> bool:
        """True where a prompt that is a text is continued as it is, although the model has a chat template."""
        return False

    @abstractmethod
    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Return the scores of rows, one for each completion.

        Raises:
            NoScoreError: for a completion that cannot be scored.
            InputError: for what concerns all of them.
        """

    def columns(self) -> Sequence[Mapping[str, Any]]:
        """Return further columns of the rows that were scored last, such as a judge's counts; none as a rule."""
        return ()

    def lines(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return what there is to say at the end, of all rows of the file with their `columns`."""
        del rows
        return []

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Free what is held."""

    def __enter__(self) -> Scorer:
        """Return the scorer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def scored(scorer: Scorer, rows: Sequence[Candidates], places: Sequence[str]) -> list[list[float]]:
    """Return the scores of rows, each a finite number.

    Args:
        scorer: The scorer.
        rows: The rows.
        places: A text for each that names it in an error, such as `score samples.jsonl, line 3`.

    Raises:
        InputError: naming the row and the completion that has no score.
    """
    try:
        found = scorer.score(rows)
        return [_checked(values, row, number) for number, (values, row) in enumerate(zip(found, rows, strict=True))]
    except NoScoreError as error:
        raise error.at(places[error.row]) from error.__cause__


def _checked(values: Sequence[float], row: Candidates, number: int) -> list[float]:
    if len(values) != len(row.completions):
        raise NoScoreError(f"{len(values)} scores for {len(row.completions)} completions", number)
    for place, value in enumerate(values):
        if not math.isfinite(value):
            raise NoScoreError(f"its score is {value}, and no finite number", number, place)
    return [float(value) for value in values]
