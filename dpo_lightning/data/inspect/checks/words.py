"""Phrases that checks share."""

from __future__ import annotations

import math

from dpo_lightning.data.inspect.finding import Rows
from dpo_lightning.data.inspect.survey import Survey


def how_many(rows: Rows) -> int:
    """Count rows."""
    return sum(map(len, rows.values()))


def of_rows(rows: Rows, survey: Survey) -> str:
    """Say how many of the rows that were looked at these are, with the share."""
    count, all_rows = how_many(rows), sum(split.looked_at for split in survey.splits.values())
    return f"{count:,} of {all_rows:,} rows ({percent(count, all_rows)})"


def percent(count: float, of: float) -> str:
    """Say a share in percent, with as many digits as it takes to tell it from none and from all."""
    value = 100 * count / of if of else 0.0
    digits = next((digits for digits in range(5) if round(value, digits) == value), 4)
    closest = min(value, 100 - value) or 1.0
    needed = max(1, 1 - math.floor(math.log10(closest)))
    return f"{round(value, min(digits, needed)):g} %"


def share(rows: Rows, survey: Survey) -> float:
    """Return the share of these rows among those that were looked at."""
    all_rows = sum(split.looked_at for split in survey.splits.values())
    return how_many(rows) / all_rows if all_rows else 0.0
