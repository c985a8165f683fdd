"""Notes on the splits of a DataModule: what was said of them, and how much of them was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning.pytorch.utilities import rank_zero_info


@dataclass
class ReadingNotes:
    """Notes that stay with a DataModule, however often and by whichever stage its splits are read.

    Attributes:
        told: Lines that were said.
        dropped: Examples that were dropped, by the reason, of each split by the name that messages have for it.
    """

    told: set[str] = field(default_factory=set)
    dropped: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def tell(self, line: str) -> None:
        """Say a line, once."""
        if line not in self.told:
            self.told.add(line)
            rank_zero_info(line)

    def all_dropped(self) -> Mapping[str, int]:
        """Return the examples that were dropped of all splits, by the reason."""
        return sum((Counter(each) for each in self.dropped.values()), Counter[str]())
