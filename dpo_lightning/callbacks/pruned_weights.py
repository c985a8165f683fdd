"""Pruned weights of a run that goes on."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.checkpoints.contents import CALLBACKS
from dpo_lightning.checkpoints.pruned_weights import hidden_values, masks, prune_again
from dpo_lightning.compat.lightning_pruning import keep_first_values


class PrunedWeights(pl.Callback):
    """Keeps what a `ModelPruning` has pruned in a run that goes on; `PreferenceModule` adds it, after `ExactResume`.

    Lightning's callback saves the pruned weights, but not which they are: in a run that goes on they would grow again
    until it prunes once more. Where it sets weights back to their first values (`use_lottery_ticket_hypothesis`), those
    are kept apart from the weights that train.
    """

    def __init__(self) -> None:
        self._module: pl.LightningModule | None = None
        self._restored: dict[str, Any] = {}
        self._masks: dict[str, Any] = {}
        self._hidden: dict[str, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Look at the weights only where something prunes them."""
        prunes = any(isinstance(each, ModelPruning) for each in trainer.callbacks)  # type: ignore[attr-defined]
        self._module = pl_module if prunes and stage == "fit" else None
        self._restored = {}
        if stage == "fit":
            self._masks, self._hidden = {}, {}

    def training_ends(self) -> None:
        """Keep all for checkpoints of the end, before a `ModelPruning` makes what it has pruned permanent."""
        if self._module is not None:
            self._masks, self._hidden = masks(self._module), hidden_values(self._module)
        self._module = None

    def state_dict(self) -> dict[str, Any]:
        """Return the masks of this moment, which an epoch's end that is run again starts from."""
        found = self._masks if self._module is None else masks(self._module)
        return {"masks": found} if found else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until the weights and the optimizers are there."""
        self._restored = state_dict

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the values that the masks hide now."""
        hidden = self._hidden if self._module is None else hidden_values(self._module)
        if hidden and CALLBACKS in checkpoint:
            state = {"masks": {}, **checkpoint[CALLBACKS].get(self.state_key, {})}
            kept = {name: mask.detach().bool().cpu() for name, mask in state["masks"].items()}
            checkpoint[CALLBACKS][self.state_key] = {"masks": kept, "hidden": hidden}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prune what was pruned."""
        restored, self._restored = self._restored, {}
        if not restored:
            return
        if self._module is None:
            rank_zero_warn("the checkpoint's run had a ModelPruning, this one has none: what was pruned grows again")
            return
        prune_again(pl_module, restored["masks"], restored["hidden"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep first values apart, after a pruning at the end of an epoch."""
        self._keep_first_values(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep first values apart, after a pruning at the end of a validation."""
        self._keep_first_values(trainer)

    def _keep_first_values(self, trainer: pl.Trainer) -> None:
        if self._module is not None:
            for each in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(each, ModelPruning):
                    keep_first_values(each)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the module."""
        self._module = None
