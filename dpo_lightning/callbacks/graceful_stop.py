"""SIGTERM and Ctrl-C wait for a moment at which all ranks can stop together."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Optional

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks.roll_call import RollCall
from dpo_lightning.compat.lightning import cluster_environment
from dpo_lightning.utils.ranks import max_over_ranks


class GracefulStop(RollCall):
    """Stops all ranks before the next batch when any of them is told to; `PreferenceModule` adds it.

    Lightning's own handler for SIGTERM starts a broadcast wherever a rank happens to be, and Ctrl-C can leave weights
    half updated. Here a handler only takes a note. Before each optimizer step and each validation batch the ranks
    agree, at the cost of one small reduction, and raise together, so that a checkpoint can be written by all. A second
    Ctrl-C stops at once. Signals that another handler works on (SLURM's requeue signal) wait for the same moment. A
    rank that does not come at all is named, and ends the run: see `RollCall`.

    Args:
        patience: Seconds that a rank may stay behind the others; null takes the strategy's timeout.

    Raises:
        SIGTERMException: with exit status 128 + the signal's number on rank 0, which reports for all.
    """

    def __init__(self, patience: Optional[float] = None) -> None:
        super().__init__(patience)
        self._requested = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over; only a main thread can."""
        super().on_train_start(trainer, pl_module)
        self._requested = 0
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, *_requeue_signals(trainer)):
            self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            # The next one does what Ctrl-C does elsewhere.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._requested = number

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Agree before the first micro-batch of an optimizer step."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._obey(trainer)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Agree before each validation batch: validations are long."""
        super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        if self._before:
            self._obey(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        super().on_train_end(trainer, pl_module)
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        super().on_exception(trainer, pl_module, exception)
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _obey(self, trainer: pl.Trainer) -> None:
        number = self._requested
        if trainer.world_size > 1:
            number = int(max_over_ranks(torch.tensor(number, device=trainer.strategy.root_device)))
        if not number:
            return
        self._requested = 0
        if number in (signal.SIGTERM, signal.SIGINT):
            rank_zero_info(f"{signal.Signals(number).name}: stopping after optimizer step {trainer.global_step}")
            raise SIGTERMException(128 + number if trainer.is_global_zero else 0)
        self._before[number](number, None)


def _requeue_signals(trainer: pl.Trainer) -> list[int]:
    """The signal at which Lightning saves and requeues a SLURM job: in the handler, wherever the rank may be."""
    environment = cluster_environment(trainer)
    if not getattr(environment, "auto_requeue", False):
        return []
    return [getattr(environment, "requeue_signal", None) or signal.SIGUSR1]
