"""How a fit went, from what its Trainer has logged."""

from __future__ import annotations

import lightning.pytorch as pl

from dpo_lightning.callbacks.health_hints import HealthHints
from dpo_lightning.report.verdict import verdict


def verdict_of(trainer: pl.Trainer) -> list[str]:
    """Return the lines of `verdict` on a Trainer after its fit; every rank may call."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    watching = next((each for each in callbacks if isinstance(each, HealthHints)), None)
    validates = sum(getattr(trainer, "num_val_batches", ())) > 0
    seen = (None, None) if watching is None else (watching.held_out, watching.start)
    return verdict(metrics, *seen, validates=validates)
