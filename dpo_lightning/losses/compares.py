"""Completions that an objective compares, and so the examples that it needs."""

from __future__ import annotations

from enum import Enum


class Compares(Enum):
    """The completions of an example that a loss compares.

    An objective says it of its loss, and a data format of the examples that its rows give: this is the one place that
    tells pairs, labelled completions and lists from each other.

    Attributes:
        PAIRS: The chosen and the rejected completion of a prompt.
        LABELLED: Each completion of a prompt with its label.
        LISTS: All completions of a prompt, two or more, each with a score.
        CHOSEN: The chosen completion of a pair alone: in training, the rejected one is not computed.
    """

    PAIRS = "pairs"
    LABELLED = "labelled"
    LISTS = "lists"
    CHOSEN = "chosen"

    @property
    def given_by(self) -> Compares:
        """The examples that a format must give."""
        return Compares.PAIRS if self is Compares.CHOSEN else self

    @property
    def completions(self) -> int | None:
        """How many completions of an example the loss compares; None for any number."""
        return {Compares.PAIRS: 2, Compares.CHOSEN: 1}.get(self)

    @property
    def usual_completions(self) -> int:
        """How many that are in most data, for an estimate that has seen no row."""
        return self.completions or {Compares.LISTS: 4}.get(self, 1)

    @property
    def has_loss_of_completion(self) -> bool:
        """True where each completion has a loss of its own, and not each example."""
        return self is Compares.LABELLED

    @property
    def most_completions(self) -> int | None:
        """How many of the first completions of an example the loss reads; None for all."""
        return 1 if self is Compares.CHOSEN else None
