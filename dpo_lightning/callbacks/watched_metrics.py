"""Metrics that callbacks watch: that there will be such ones."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.text import nearest

_KNOWN_PACKAGES = ("lightning.", "pytorch_lightning.", "dpo_lightning.")
_ON_THE_BAR = ("loss", "margin", "accuracy")
_OF_TRAINING = ("grad_norm", "skipped_steps", "experts/max_share", "experts/entropy")


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
        if stage != "fit" or not isinstance(pl_module, PreferenceRun):
            return
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor is not None:
                self._check(callback.monitor, type(callback).__name__, trainer, pl_module)

    def _check(self, name: str, by: str, trainer: pl.Trainer, run: PreferenceRun) -> None:
        if name.startswith("val/") and not trainer.enable_validation:
            raise InputError(f"{by}.monitor: there is no {name} without a validation: set data.val_split")
        means: Any = run.step_metrics()["train_metrics"]
        known = {f"{stage}/{mean}" for stage in ("train", "val") for mean in means.names}
        known |= {f"train/{each}" for each in _OF_TRAINING} | {f"val_{each}" for each in _ON_THE_BAR}
        of_a_set = name.startswith("val/") and any(name.endswith(f"/{mean}") for mean in means.names)
        if not name.startswith(("train", "val")) or name in known or of_a_set or _may_log_more(trainer, run):
            return
        close = nearest(name, known)
        said = f"did you mean `{close}`?" if close else f"there are {', '.join(sorted(known))}"
        raise InputError(f"{by}.monitor: nothing logs {name}; {said}")


def _may_log_more(trainer: pl.Trainer, run: PreferenceRun) -> bool:
    others = [run, *trainer.callbacks]  # type: ignore[attr-defined]
    return any(not type(each).__module__.startswith(_KNOWN_PACKAGES) for each in others)
