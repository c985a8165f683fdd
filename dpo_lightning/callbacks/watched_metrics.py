"""Metrics that callbacks watch: that there will be such ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from dpo_lightning.compat.lightning_loops import evaluated_loaders
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.set_names import names_of_sets
from dpo_lightning.utils.text import nearest

_KNOWN_PACKAGES = ("lightning.", "pytorch_lightning.", "dpo_lightning.")
_ON_THE_BAR = ("loss", "margin", "accuracy")
_OF_TRAINING = (
    *("grad_norm", "skipped_steps", "experts/max_share", "experts/entropy", "router_aux_loss"),
    *("lr", "seconds", "epoch_fraction", "pairs_per_second", "tokens_per_second", "memory_gib", "mfu"),
)


class WatchedMetrics(pl.Callback):
    """Refuses a fit that stops or saves by a metric that it will not have; `PreferenceModule` adds it.

    Asked of are names that begin as those of training and validation do. Where a module or a callback of one's own may
    log any name, only a validation metric without a validation is refused; the rest is left to Lightning.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare before anything is computed.

        Raises:
            InputError: naming the callback, the metric and the nearest that there will be.
        """
        if stage == "fit" and isinstance(pl_module, PreferenceRun):
            for by, name in _monitors(trainer):
                self._check(name, by, trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask the same of metrics of a set, where the loaders of the first validation are there.

        Raises:
            InputError: naming the callback, the metric and the nearest that there will be.
        """
        if trainer.val_dataloaders is None or not isinstance(pl_module, PreferenceRun):
            return
        names, known = _means(pl_module), known_metrics(pl_module)
        known |= {f"val/{one}/{mean}" for one in names_of_sets(*evaluated_loaders(trainer)) for mean in names}
        for by, name in _monitors(trainer):
            if _may_be_of_a_set(name, names) and name not in known and not _may_log_more(trainer, pl_module):
                _refuse(name, by, known)

    def _check(self, name: str, by: str, trainer: pl.Trainer, run: PreferenceRun) -> None:
        if name.startswith("val/") and not trainer.enable_validation:
            raise InputError(f"{by}.monitor: there is no {name} without a validation: set data.val_split")
        known = known_metrics(run)
        passes = not name.startswith(("train", "val")) or name in known or _may_be_of_a_set(name, _means(run))
        if not passes and not _may_log_more(trainer, run):
            _refuse(name, by, known)


def _monitors(trainer: pl.Trainer) -> list[tuple[str, str]]:
    """Return the kind of each callback that watches a metric, and the metric."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    watching = [each for each in callbacks if isinstance(each, EarlyStopping | ModelCheckpoint)]
    return [(type(each).__name__, each.monitor) for each in watching if each.monitor is not None]


def _means(run: PreferenceRun) -> frozenset[str]:
    means: Any = run.step_metrics()["train_metrics"]
    return frozenset(means.names)


def known_metrics(run: PreferenceRun) -> set[str]:
    """Return the metrics of every run."""
    known = {f"{stage}/{mean}" for stage in ("train", "val") for mean in _means(run)}
    return known | {f"train/{each}" for each in _OF_TRAINING} | {f"val_{each}" for each in _ON_THE_BAR}


def _may_be_of_a_set(name: str, means: Iterable[str]) -> bool:
    return name.startswith("val/") and any(name.endswith(f"/{mean}") for mean in means)


def _refuse(name: str, by: str, known: Iterable[str]) -> NoReturn:
    close = nearest(name, known)
    said = f"did you mean `{close}`?" if close else f"there are {', '.join(sorted(known))}"
    raise InputError(f"{by}.monitor: nothing logs {name}; {said}")


def _may_log_more(trainer: pl.Trainer, run: PreferenceRun) -> bool:
    others = [run, *trainer.callbacks]  # type: ignore[attr-defined]
    return any(not type(each).__module__.startswith(_KNOWN_PACKAGES) for each in others)
