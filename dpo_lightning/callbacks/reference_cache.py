"""A callback that fills the reference's cache before the first batch is asked for."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.errors import InputError
from dpo_lightning.reference import BoundPrecomputed
from dpo_lightning.reference.cache.scoring_run import ScoringRun
from dpo_lightning.run import run_of, source_of
from dpo_lightning.utils.ranks import data_ranks


class ReferenceCache(pl.Callback):
    """Scores the pairs that a `Precomputed` reference has not seen; `PreferenceModule` adds it with that reference.

    The pairs are those that the DataModule names in `examples_used(fn)`, and those given to `with_reference`.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score training and validation pairs."""
        _fill(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the pairs of `validate`; those of a fit were scored at its start."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            _fill(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the pairs of `test`."""
        _fill(trainer, pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the pairs of `predict`."""
        _fill(trainer, pl_module)


def _fill(trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
    run = run_of(pl_module, "ReferenceCache")
    reference = run.reference
    if not isinstance(reference, BoundPrecomputed):
        raise InputError("ReferenceCache: the module's reference is not Precomputed: leave the callback out")
    data = source_of(trainer)
    examples: list[Any] = [] if data is None else data.examples_used(trainer.state.fn)
    reference.fill([*examples, *run.examples_of_loaders], _scoring_run(trainer), run.policy_again)


def _scoring_run(trainer: pl.Trainer) -> ScoringRun:
    ranks = data_ranks(trainer)
    sharing = trainer.world_size // ranks.world_size  # processes of a data-parallel rank, neighbours
    return ScoringRun(
        precision=str(trainer.precision),
        rank=ranks.rank,
        ranks=ranks.world_size,
        is_first=trainer.is_global_zero,
        is_writer=trainer.global_rank % sharing == 0,
        broadcast=trainer.strategy.broadcast,
        barrier=trainer.strategy.barrier,
        context=trainer.precision_plugin.forward_context,
        progress=trainer.progress_bar_callback is not None,
    )
