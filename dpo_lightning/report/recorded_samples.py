"""Values of held-out examples and samples that a run's record has of one of its checkpoints."""

from __future__ import annotations

from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.report.model_card import Card
from dpo_lightning.report.record import RunRecord, read_rows


def card_at(card: Card, record: RunRecord | None, step: int) -> Card:
    """Return the card of a run as that of the weights after a step: with the values that were measured at them alone.

    Args:
        card: That of the run.
        record: Its record; None where none is kept, so that no value is known.
        step: Optimizer steps of the checkpoint.
    """
    metrics: dict[str, float] = {}
    for point in _rows_at(record, "points", step):
        metrics |= {name: value for name, value in point.items() if isinstance(value, float)}
    return card._replace(facts={**card.facts, "step": step}, metrics=metrics)


def _rows_at(record: RunRecord | None, kind: str, step: int) -> list[dict[str, Any]]:
    return [row for row in _rows(record, kind) if row.get("step") == step]


def _rows(record: RunRecord | None, kind: str) -> list[dict[str, Any]]:
    """Return rows of a record; none where they cannot be read: a record is of help, and no part of the model."""
    try:
        return [] if record is None else read_rows(getattr(record, kind))
    except (InputError, RecursionError):
        return []


def shown_samples(record: RunRecord | None, most: int, step: int | None = None) -> list[dict[str, Any]]:
    """Return the first rows of the last time of sampling; none where they cannot be read.

    Args:
        record: The record of the run; None where none is kept.
        most: Prompts to return at most.
        step: Optimizer steps of the weights that they have to be of; None for those that were sampled last.
    """
    rows = _rows(record, "samples") if most else []
    last = step if step is not None or not rows else rows[-1].get("step")
    return [row for row in rows if row.get("step") == last][:most]
