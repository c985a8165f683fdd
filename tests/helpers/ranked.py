"""Rows whose completions have scores: two to four of a prompt, by a format that gives lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dpo_lightning import Column, Compares, Example, Format
from dpo_lightning.batch import COLUMNS


@dataclass(frozen=True)
class RankedRows(Format):
    """Makes a list of the rows of `write_rows`: both completions, and none to two more of their words.

    Args:
        most: Completions of the longest lists.
    """

    gives: ClassVar[Compares] = Compares.LISTS
    columns: ClassVar[Mapping[str, Column]] = {"score": COLUMNS["score"], "asked": Column.of_text("The prompt.")}
    most: int = 4

    def examples(self, row: Mapping[str, Any], quote: Any = str) -> list[Example]:
        chosen, rejected = row["chosen"], row["rejected"]
        completions = [chosen, rejected, f"{rejected} {chosen}", f"{chosen}?"]
        count = max(2, self.most - len(row["prompt"]) % 3)
        score = [2.0, 0.5, 1.0, 1.0][:count]
        return [Example(row["prompt"], completions[:count], columns={"score": score, "asked": row["prompt"]})]
