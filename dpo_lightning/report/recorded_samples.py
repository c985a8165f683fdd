"""Samples of a run's record that are shown elsewhere."""

from __future__ import annotations

from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.report.record import RunRecord, read_rows


def shown_samples(record: RunRecord | None, most: int) -> list[dict[str, Any]]:
    """Return the first rows of the last step that was sampled at; none where they cannot be read.

    Args:
        record: The record of the run; None where none is kept.
        most: Prompts to return at most.
    """
    if record is None or not most:
        return []
    try:
        rows = read_rows(record.samples)
    except (InputError, RecursionError):  # a record is of help, and no part of the model
        return []
    last = rows[-1].get("step") if rows else None
    return [row for row in rows if row.get("step") == last][:most]
