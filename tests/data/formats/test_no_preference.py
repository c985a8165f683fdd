"""Rows that a format drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dpo_lightning import Compares, Example, Format, PreferenceDataModule
from dpo_lightning.data.formats import NoPreference
from tests.data.common import write
from tests.helpers.tokenizers import words


@dataclass(frozen=True)
class Own(Format):
    """Raises for some rows, and gives nothing for others."""

    gives = Compares.PAIRS

    def examples(self, row: Any, quote: Any = str) -> list[Example]:
        if row["n"] == 0:
            raise NoPreference
        return [Example.pair("q", "a", f"b{row['n']}")] if row["n"] > 1 else []


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_they_are_counted_wherever_they_stand(tmp_path, said):
    rows = [{"n": n} for n in (0, 2, 1, 3, 0)]
    data = PreferenceDataModule(write(tmp_path / "rows.jsonl", rows), words(), format=Own())
    data.setup()

    assert data.splits["train"]["row"][:] == [1, 3]
    assert any("5 pairs, 2 kept (0 of them truncated); dropped 3 without a preference" in line for line in said)
