"""Completions that an objective compares, and so the examples that it needs."""

from __future__ import annotations

from enum import Enum


class Compares(Enum):
    """The completions of an example that a loss compares.

    An objective says it of its loss, and a data format of the examples that its rows give: this is the one place that
    tells pairs from single completions. A loss of lists of completions would be a further member.

    Attributes:
        PAIRS: The chosen and the rejected completion of a prompt.
        LABELLED: One completion of a prompt with its label.
        CHOSEN: The chosen completion of a pair alone: in training, the rejected one is not computed.
    """

    PAIRS = "pairs"
    LABELLED = "labelled"
    CHOSEN = "chosen"

    @property
    def given_by(self) -> Compares:
        """The examples that a format must give."""
        return Compares.PAIRS if self is Compares.CHOSEN else self

    @property
    def completions(self) -> int:
        """How many completions of an example the loss compares."""
        return 2 if self is Compares.PAIRS else 1

    @property
    def most_completions(self) -> int | None:
        """How many of the first completions of an example the loss reads; None for all."""
        return 1 if self is Compares.CHOSEN else None
