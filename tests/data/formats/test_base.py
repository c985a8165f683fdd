"""The interface of formats."""

from __future__ import annotations

from dpo_lightning.data import Example, Format
from dpo_lightning.losses import Compares


class Reversed(Format):
    """Rows whose answers stand backwards."""

    gives = Compares.PAIRS

    def examples(self, row, quote=str):
        return [Example.pair(row["q"], row["a"][::-1], row["b"][::-1])]


def test_a_format_reads_the_rows_by_itself_and_has_no_columns_unless_it_says_so():
    reversed_ = Reversed()
    assert reversed_.found_in([{"q": "x"}]) is reversed_
    assert reversed_.columns == {}
