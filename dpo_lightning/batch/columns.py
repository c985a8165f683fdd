"""Columns of numbers that data may have beside its texts: each is declared here, and nowhere else.

A further one is an entry here, an argument of the format that finds it in a row and, if a loss reads it, a flag of
`Reads` under its name in capitals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Column(NamedTuple):
    """A number that the data has for each example.

    Attributes:
        meaning: What the number says.
        fits: Whether a finite number is in the range.
        rule: The range in words, for a message.
    """

    meaning: str
    fits: Callable[[float], bool] = lambda value: True
    rule: str = ""


COLUMNS = {
    "margin": Column("True reward of the chosen completion minus that of the rejected one."),
    "probability": Column(
        "Probability that the chosen completion is the better one.",
        lambda value: 0 <= value <= 1,
        "a probability is between 0 and 1",
    ),
    "weight": Column("Factor of the example's loss.", lambda value: value >= 0, "a weight is 0 or greater"),
}
"""Columns by name, in the order in which content hashes take them: a new one goes to the end."""
