"""The means over a stage in the log and on the progress bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl

from dpo_lightning.training.metrics import PairMean, UnpairedMean

_ON_THE_BAR = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


def log_means(module: pl.LightningModule, metrics: PairMean | UnpairedMean, stage: str) -> None:
    """Log the means, of all ranks, and begin them anew.

    Args:
        module: In a hook that may log.
        metrics: The metrics that the stage has added to.
        stage: `train`, `val` or `test`: the names begin with it.
    """
    means = metrics.compute()
    # The means are those of all ranks already; Lightning warns of each that it does not reduce once more.
    ranks: dict[str, Any] = {"rank_zero_only": True} if stage == "train" else {"sync_dist": True}
    for name, value in means.items():
        module.log(f"{stage}/{name}", value, **ranks)
    prefix = "" if stage == "train" else f"{stage}_"
    for label, name in _ON_THE_BAR.items():
        if name in means:
            module.log(prefix + label, means[name], prog_bar=True, logger=False, **ranks)
    _forget(module.trainer, (f"{stage}/{name}" for name in metrics.names - means.keys()))
    metrics.reset()


def _forget(trainer: pl.Trainer, names: Iterable[str]) -> None:
    """Leave these out of the next log, for means of which this interval has none.

    What is not logged anew, Lightning logs once more as if it were of now, and it has no public way to take a value
    back. In 2.6, `Trainer._results` is the running loop's dict of values, by the hook and the name.
    """
    results: Any = trainer._results
    ends = tuple(f".{name}" for name in names)
    for key in [key for key in results if key.endswith(ends)]:
        del results[key]
