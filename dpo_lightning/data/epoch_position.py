"""The epoch that a run is in: what decides which examples are in which batch, and how many batches are done."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning.pytorch as pl

from dpo_lightning.compat.lightning_loops import fetching_of
from dpo_lightning.data.batching import Batching, Layout
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.data.loader import EpochProgress
from dpo_lightning.data.mixing.order import Order
from dpo_lightning.data.resuming import ResumedEpoch, ResumeMode, accumulation
from dpo_lightning.data.splits import Splits
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import data_ranks
from dpo_lightning.utils.trainers import is_running


class TrainingEpoch:
    """The position in an epoch, for the loader and for checkpoints.

    Args:
        splits: The rows.
        batching: How they are put into batches.
        resume: What a checkpoint of an epoch of other batches means.
        curriculum: The order of the rows; null for a shuffled one.
    """

    def __init__(self, splits: Splits, batching: Batching, resume: ResumeMode, curriculum: Order | None = None) -> None:
        self.curriculum = curriculum
        self._splits = splits
        self.batching = batching
        self._resume = resume
        self._layout: Layout | None = None
        self._completions: int | None = None
        self._resumed: ResumedEpoch | None = None
        self._rows_read: dict[str, Any] | None = None  # by the loader, where the splits have others by now
        self._epoch = self._ahead = 0  # the epoch that was begun, and by how many Lightning's own number is ahead of it

    def forget(self) -> None:
        """Begin anew: no loader was built, and nothing was restored."""
        self._layout = self._resumed = self._rows_read = None
        self._epoch = self._ahead = 0

    def before_other_rows(self, trainer: pl.Trainer | None, learner: PreferenceLearner | None) -> None:
        """Keep what checkpoints say of the rows that the loader reads, before the splits get others.

        Args:
            trainer: The run's.
            learner: The module of the run, which may have use for the first rows only; None where there is none to ask.

        Raises:
            InputError: in a run that has its training loader, and asks for no other one, or whose module cannot go on.
        """
        if self._layout is None:
            return
        run: Any = trainer
        if run is not None and is_running(run):
            if not run.reload_dataloaders_every_n_epochs:
                raise InputError(
                    "data.replace_dataset: the run keeps its training loader, so the rows would not be read: give the "
                    "Trainer reload_dataloaders_every_n_epochs=1"
                )
            if learner is not None and (problem := learner.other_rows_problem()) is not None:
                raise InputError(f"data.replace_dataset: {problem}")
        self._rows_read = self._rows()

    def settle(self, layout: Layout, completions: int | None, trainer: pl.Trainer | None) -> None:
        """Take note of what the training loader is built with.

        Args:
            layout: The layout in force.
            completions: How many completions of an example are computed; None for all.
            trainer: The run's.

        Raises:
            InputError: for other batches than those of the checkpoint that the run goes on from.
        """
        if self._rows_read is not None:  # an epoch of other rows is not the one that the run went on from
            self._rows_read = self._resumed = None
        self._layout, self._completions = layout, completions
        if self._resumed is not None:
            self._resumed.check(self.order(trainer))
            self._resumed.check_next_rows(0 if trainer is None else trainer.current_epoch)

    def progress(self, trainer: pl.Trainer | None, batches: float) -> EpochProgress:
        """Return where Lightning is when it asks for the first of a loader's batches.

        Args:
            trainer: The run's.
            batches: Batches of the loader; infinite where nobody knows.
        """
        accumulate = 1 if trainer is None else cast(Any, trainer).accumulate_grad_batches
        fetching = None if trainer is None else fetching_of(trainer)
        if trainer is None or fetching is None or not is_running(trainer):  # somebody looks at the batches
            return EpochProgress(0, accumulate, batches, resumed=False, looked_at=True)
        total = trainer.num_training_batches
        if not fetching.begins:
            again = fetching.cycled and fetching.asked < total and fetching.asked % batches == 0
            return EpochProgress(fetching.asked if again else 0, accumulate, total, fetching.cycled, resumed=False)
        done: float = fetching.asked
        if self._resumed is not None:
            self._ahead += self._resumed.ahead(fetching.asked, trainer.current_epoch - self._ahead)
            done = self._resumed.done(fetching.asked, total, trainer.current_epoch)
        self._epoch = trainer.current_epoch - self._ahead
        return EpochProgress(done, accumulate, total, fetching.cycled, epoch=self._epoch)

    def state(self, trainer: pl.Trainer | None) -> dict[str, Any]:
        """Return the position in the epoch, and what gives it its meaning."""
        position: dict[str, Any] = {"batches_done": 0, "batches": 0}
        if trainer is not None and self._layout is not None:
            progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
            position = {"batches_done": progress.processed, "batches": _whole(trainer.num_training_batches)}
            position["epoch"] = self._epoch
        if trainer is not None and trainer.fit_loop.epoch_loop.batch_progress.total.ready == 0:
            position["begun"] = False
        return {**position, **self.order(trainer), **self._waiting(trainer)}

    def _waiting(self, trainer: pl.Trainer | None) -> dict[str, Any]:
        """Return what is known of the rows that a later epoch has, where these are others.

        `epoch` is the last one that has begun; `due` says that it is over, and that the next one has those rows.
        """
        rows: Any = self._rows_of_splits() if self._rows_read else self._resumed and self._resumed.next_rows
        if trainer is None or rows in (None, self._rows_read):  # the others could not be read
            return {}
        run: Any = trainer
        epochs, batches = run.fit_loop.epoch_progress.current, run.fit_loop.epoch_loop.batch_progress.current
        over = epochs.ready == epochs.processed > 0 and batches.processed >= run.num_training_batches
        stays = is_running(run) and run.reload_dataloaders_every_n_epochs != 1
        due = over and not stays
        return {"next_rows": {**rows, "epoch": max(epochs.ready - 1, 0), "due": due}}

    def restore(self, state: dict[str, Any], trainer: pl.Trainer) -> None:
        """Go on from a checkpoint; what depends on the layout is compared once that is settled.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        if not state.get("begun", True):  # nothing is decided yet: a search for a batch size saves before it begins
            return
        self._resumed, self._ahead = ResumedEpoch(self._resume, state), 0
        self._resumed.check(self.order(trainer))
        if not cast(Any, trainer).reload_dataloaders_every_n_epochs:
            self._resumed.check_next_rows(None)

    def order(self, trainer: pl.Trainer | None) -> dict[str, Any]:
        """Return what decides which examples are in which batch, as far as it is settled."""
        ranks = data_ranks(trainer).world_size
        order: dict[str, Any] = {
            **self._rows(),
            "batch_pairs": self.batching.batch_pairs,
            "batch_tokens": self.batching.batch_tokens,
            "world_size": ranks,
            "accumulate_grad_batches": accumulation(trainer),
            "seed": self.batching.seed,
            "order": "shuffled" if self.curriculum is None else repr(self.curriculum),
        }
        if self._layout is None:
            return order
        order["length_grouped"] = self.batching.groups(self._layout.name)
        if self.batching.batch_tokens is not None:
            order["layout"] = self._layout.name
        by_tokens = self.batching.batch_tokens is not None or order["length_grouped"]
        if by_tokens or ranks > 1 or self._splits.parts or self.curriculum is not None:  # tokens are counted
            order["completions"] = "all" if self._completions is None else self._completions
        return order

    def _rows(self) -> dict[str, Any]:
        return self._rows_read or self._rows_of_splits()

    def _rows_of_splits(self) -> dict[str, Any]:
        return self._splits.state()


def _whole(batches: float) -> float:
    """Return a number of batches as an integer; infinity, where another loader has no end, as it is."""
    return batches if math.isinf(batches) else int(batches)
