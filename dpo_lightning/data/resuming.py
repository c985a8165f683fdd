"""Going on in the middle of an epoch, where that has a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.mixing.parts import check_same
from dpo_lightning.errors import InputError

ResumeMode: TypeAlias = Literal["exact", "next_epoch"]


# What a checkpoint does not say is of a version that computed all completions, and knew no other order.
_OF_EARLIER = {"completions": "all", "order": "shuffled", "sources": None}


class ResumedEpoch:
    """The epoch that a checkpoint was taken in.

    Args:
        mode: `exact` refuses an epoch of other batches; `next_epoch` leaves the rest of it out.
        state: What the checkpoint says: `batches_done` and `batches` of the epoch, its number as `epoch`, and what
            decided on its order; with `next_rows` where other rows were waiting for a later epoch, see
            `TrainingEpoch.state`.
    """

    def __init__(self, mode: ResumeMode, state: Mapping[str, Any]) -> None:
        exact = mode == "exact"
        self._order = {**_OF_EARLIER, **state} if exact else {}
        self._next_rows: Mapping[str, Any] | None = state.get("next_rows") if exact else None
        # A checkpoint of an earlier version does not say its epoch.
        self._begun: int | None = state.get("epoch") if state["batches_done"] else None
        self._is_whole = state["batches_done"] == state["batches"]
        self._over = False
        self._left_out_in: int | None = None
        self._rest_left_out = mode == "next_epoch" and 0 < state["batches_done"] < state["batches"]

    @property
    def next_rows(self) -> dict[str, Any] | None:
        """The checkpoint's word on rows that were waiting, and that this run has not got."""
        return None if self._next_rows is None else _of_rows(self._next_rows)

    def check(self, order: Mapping[str, Any]) -> None:
        """Compare with the order of this run; what only one of the two knows is not compared.

        Where the epoch is over, and its run would have gone on with other rows, these are the ones to have.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        rows = self._next_rows
        if rows is not None and rows["due"] and order["content"] == rows["content"]:
            self._order |= _of_rows(rows)
            self._next_rows, self._over = None, True
        if self._order:
            check_same(self._order["sources"], order.get("sources"))
        for name, now in order.items():
            if self._order.get(name, now) != now:
                others = _other_columns(self._order.get("columns"), order["columns"]) if name == "content" else ""
                raise InputError(
                    f"the checkpoint was written with {name} {self._order[name]}, this run has {now}{others}: its "
                    "position in the epoch means nothing here. Resume with the same value, or leave the rest of the "
                    "epoch out with data.resume=next_epoch"
                )

    def check_next_rows(self, epoch: int | None) -> None:
        """Refuse to read an epoch's rows where others were waiting for it.

        Args:
            epoch: The epoch that a loader is built for; None where no other loader will be built.

        Raises:
            InputError: naming the rows that nobody has given.
        """
        rows = self._next_rows
        if rows is None or (epoch is not None and epoch <= rows["epoch"]):
            return
        remedy = "give them as data.dataset" if rows["due"] else "call it in this run, before the next epoch,"
        raise InputError(
            f"data.replace_dataset: the checkpoint's run had {rows['pairs']} pairs, content {rows['content']}, for the "
            f"epoch after {rows['epoch']}, and this run has not got them: {remedy} with "
            "reload_dataloaders_every_n_epochs=1, or go on with the first rows with data.resume=next_epoch"
        )

    def ahead(self, batches_done: int, epoch: int) -> int:
        """Return by how many epochs Lightning is ahead of the one that it goes on with.

        Where a limit of steps ends a fit, Lightning counts the epoch as a whole one, and once more when it goes on.
        """
        begun, self._begun = self._begun, None
        if begun is None or not (batches_done or self._is_whole):
            return 0
        return epoch - (begun if batches_done else begun + 1)

    def done(self, batches_done: int, batches: float, epoch: int | None = None) -> float:
        """How many batches of the epoch are not to come: all of them where the rest is left out, in that epoch.

        Lightning may ask more than once at the same place, where other loaders go on.
        """
        if epoch is not None and epoch == self._left_out_in:
            return batches
        if self._over:  # where Lightning counts steps, it runs the end of the epoch once more
            self._over = False
            return batches if batches_done else 0
        if not self._rest_left_out:
            return batches_done
        self._rest_left_out, self._left_out_in = False, epoch
        rank_zero_info("data.resume: going on with the next epoch")
        return batches


def _of_rows(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state.get(name) for name in ("pairs", "content", "columns", "sources")}


def _other_columns(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Say which columns are others; a checkpoint of an earlier version does not know their hashes."""
    if before is None:
        return ""
    said = [f"no column `{name}`" for name in before if name not in now]
    said += [f"a column `{name}`, which is new" for name in now if name not in before]
    said += [f"other values in the column `{name}`" for name in now if before.get(name, now[name]) != now[name]]
    return f" ({', '.join(said)})" if said else ""


def accumulation(trainer: pl.Trainer | None) -> int | str:
    """Batches of an optimizer step, or by epoch where a callback changes them."""
    callbacks = getattr(trainer, "callbacks", [])
    schedules = [each.scheduling for each in callbacks if isinstance(each, GradientAccumulationScheduler)]
    return str(schedules[0]) if schedules else getattr(trainer, "accumulate_grad_batches", 1)
