"""Counts and shares in words."""

from __future__ import annotations

import pytest

from dpo_lightning.data.inspect.checks.words import how_many, of_rows, percent, share
from tests.data.inspect.common import clean_rows, survey


@pytest.mark.parametrize(
    ("count", "of", "said"),
    [(1, 3, "33.3 %"), (1, 2000, "0.05 %"), (5, 5, "100 %"), (0, 7, "0 %"), (9996, 10_000, "99.96 %"), (1, 0, "0 %")],
)
def test_percent(count, of, said):
    assert percent(count, of) == said


def test_rows_of_all_splits_count():
    read = survey(clean_rows(30), clean_rows(10, seed=1))
    rows = {"train": [1, 2], "val": [3]}
    assert how_many(rows) == 3
    assert share(rows, read) == 3 / 40
    assert of_rows(rows, read) == "3 of 40 rows (7.5 %)"
