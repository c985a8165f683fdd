"""The moments of a run at which weights, counters and the states of callbacks belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dpo_lightning.callbacks.pruned_weights import PrunedWeights
from dpo_lightning.reference import ReferenceMover
from dpo_lightning.utils.trainers import check_searches, is_fitting


class UpdateWatch:
    """Says whether an optimizer is at the weights, by torch's own hook.

    Weights change after the closure (forward, backward, `on_before_optimizer_step`, clipping) has returned, and belong
    to no step until the schedule has moved and the counters count. An optimizer that calls its closure again, as LBFGS
    does, has by then changed them.
    """

    def __init__(self) -> None:
        self.updating = False
        self._handles: list[RemovableHandle] = []

    def begin(self, optimizers: Iterable[Optimizer]) -> None:
        """Watch the optimizers of a fit."""
        self.end()
        self.updating = False
        self._handles = [optimizer.register_step_pre_hook(self._before) for optimizer in optimizers]

    def end(self) -> None:
        """Let go of the optimizers."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before(self, optimizer: Optimizer, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        closure = kwargs.get("closure")
        if closure is None:
            self.updating = True
            return None
        return args, {**kwargs, "closure": self._then_updating(closure)}

    def _then_updating(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def watched() -> Any:
            result = closure()
            self.updating = True
            return result

        return watched


class Moments(Protocol):
    """The bookkeeping that is told of moments before any other callback."""

    def epoch_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called before the hooks of an epoch's start."""

    def batch_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called before the hooks of a micro-batch's start."""

    def batch_ended(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called before the hooks of a micro-batch's end."""

    def validation_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called before the hooks of a validation's start, within the training."""

    def epoch_ends(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called before the hooks of an epoch's end."""

    def failed(self, trainer: pl.Trainer) -> None:
        """Called before the hooks of an exception."""


class FirstCallback(pl.Callback):
    """Stands before all other callbacks, so that what any of them saves is of a moment that is noted already.

    Args:
        moments: What is told.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._accumulation_due = False

    @staticmethod
    def stand_first(trainer: pl.Trainer, moments: Moments) -> None:
        """Put one before the callbacks of a Trainer, and after it what moves the reference with the weights.

        The list is another one: Lightning goes through the old one while it calls `setup`.
        """
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [callback for callback in callbacks if not isinstance(callback, FirstCallback)]
        movers = [callback for callback in others if isinstance(callback, ReferenceMover)]
        rest = [callback for callback in others if not isinstance(callback, ReferenceMover)]
        trainer.callbacks = [FirstCallback(moments), *movers, *rest]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a search that would forget the checkpoint; an InputError with what to do."""
        check_searches(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that a fit begins, perhaps in the middle of an epoch, whose start no callback is then told of."""
        self._accumulation_due = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass it on."""
        self._moments.epoch_begins(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Pass it on."""
        self._set_accumulation(trainer)
        self._moments.batch_begins(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass it on."""
        self._moments.batch_ended(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass it on, for validations of the training."""
        if is_fitting(trainer) and not trainer.sanity_checking:
            self._set_accumulation(trainer)
            self._moments.validation_begins(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass it on."""
        self._set_accumulation(trainer)
        self._moments.epoch_ends(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what is pruned, before others see the end."""
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, PrunedWeights):
                each.training_ends()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Pass it on."""
        self._moments.failed(trainer)

    def _set_accumulation(self, trainer: pl.Trainer) -> None:
        """Accumulate as the epoch's scheduler says: Lightning asks it at the start of an epoch only."""
        if not self._accumulation_due:
            return
        self._accumulation_due = False
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, GradientAccumulationScheduler):
                each.on_train_epoch_start(trainer)


def callback_states(callbacks: Iterable[pl.Callback]) -> dict[str, Any]:
    """Return the states of callbacks as they are now; dicts and lists are copied, tensors are not.

    What moves the reference is left out: it changes with the weights only.
    """
    kept = [each for each in callbacks if not isinstance(each, ReferenceMover)]
    return {each.state_key: _contents(each.state_dict()) for each in kept}


def _contents(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _contents(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_contents(item) for item in state]
    return state
