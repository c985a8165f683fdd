"""The Trainer of a module."""

from __future__ import annotations

import lightning.pytorch as pl


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """Return the Trainer that runs a module; None for a module by itself, or under Fabric, which has none."""
    if module.fabric is not None:
        return None
    try:
        return module.trainer
    except RuntimeError:  # Lightning's, for a module that no Trainer has
        return None
