"""The learning rate of a module, as Lightning's tuner reads and sets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.optim import Optimizer

from dpo_lightning.utils.trainers import attached_trainer


class TunedRate(pl.LightningModule):
    """The part of a run's module that has the attribute `lr`, which `Tuner.lr_find` and `LearningRateFinder` look for.

    An `lr` that a subclass gives itself before a Trainer runs it is its own, and changes no optimizer but the one that
    it makes of it.
    """

    _optimizer: Callable[[Any], Optimizer]
    _own_lr: Any = None
    tuned_lr: float | None = None

    @property
    def lr(self) -> Any:
        """The learning rate that the optimizer starts with.

        Raises:
            AttributeError: where the optimizer does not say.
        """
        if self.tuned_lr is not None:
            return self.tuned_lr
        return _rate_of(self._optimizer) if self._own_lr is None else self._own_lr

    @lr.setter
    def lr(self, value: Any) -> None:
        is_made = "_modules" in vars(self)  # by nn.Module's constructor
        is_of_a_subclass = TunedRate not in type(self).__bases__
        if is_of_a_subclass and not (is_made and attached_trainer(self) is not None):
            self._own_lr = value
        else:
            self.tuned_lr = value


def _rate_of(maker: Callable[[Any], Optimizer]) -> float:
    try:
        return maker([nn.Parameter(torch.zeros(1))]).defaults["lr"]
    except Exception as error:
        raise AttributeError(f"the optimizer has no learning rate that is known before the run: {error}") from error
