"""Going on in the middle of an epoch, where that has a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.errors import InputError

ResumeMode: TypeAlias = Literal["exact", "next_epoch"]


class ResumedEpoch:
    """The epoch that a checkpoint was taken in.

    Args:
        mode: `exact` refuses an epoch of other batches; `next_epoch` leaves the rest of it out.
        state: What the checkpoint says: `batches_done` and `batches` of the epoch, and what decided on its order.
    """

    def __init__(self, mode: ResumeMode, state: Mapping[str, Any]) -> None:
        # A checkpoint that does not say how many completions it computed is of a version that computed all.
        self._order = {"completions": "all", **state} if mode == "exact" else {}
        self._rest_left_out = mode == "next_epoch" and 0 < state["batches_done"] < state["batches"]

    def check(self, order: Mapping[str, Any]) -> None:
        """Compare with the order of this run; what only one of the two knows is not compared.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        for name, now in order.items():
            if self._order.get(name, now) != now:
                raise InputError(
                    f"the checkpoint was written with {name} {self._order[name]}, this run has {now}: its position "
                    "in the epoch means nothing here. Resume with the same value, or leave the rest of the epoch out "
                    "with data.resume=next_epoch"
                )

    def done(self, batches_done: int, batches: int) -> int:
        """How many batches of the epoch are not to come: once, all of them where the rest is left out."""
        if not self._rest_left_out:
            return batches_done
        self._rest_left_out = False
        rank_zero_info("data.resume: going on with the next epoch")
        return batches


def accumulation(trainer: pl.Trainer | None) -> int | str:
    """Batches of an optimizer step, or by epoch where a callback changes them."""
    callbacks = getattr(trainer, "callbacks", [])
    schedules = [each.scheduling for each in callbacks if isinstance(each, GradientAccumulationScheduler)]
    return str(schedules[0]) if schedules else getattr(trainer, "accumulate_grad_batches", 1)
