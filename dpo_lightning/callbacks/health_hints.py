"""Hints on the health of a run, given while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.callbacks.record_places import begins_anew, record_of, set_aside
from dpo_lightning.callbacks.sampled_lengths import SampledLengths
from dpo_lightning.callbacks.start_notes import StartNotes
from dpo_lightning.callbacks.step_zero import StepZeroCheck
from dpo_lightning.compat.lightning_loops import logs_this_step
from dpo_lightning.errors import InputError
from dpo_lightning.report.health import RULES, Curves, Hint, Watched, hints
from dpo_lightning.report.health.history import NAMES
from dpo_lightning.report.record import RunRecord, add_row, write_rows
from dpo_lightning.run import preference_batch_of
from dpo_lightning.training.schedules import optimizer_steps
from dpo_lightning.utils.files import spared
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.ranks import data_ranks, from_all_ranks
from dpo_lightning.utils.text import nearest
from dpo_lightning.utils.trainers import is_fitting

CallbackT = TypeVar("CallbackT", bound=pl.Callback)

_WORDS = {"warning": "warning", "info": "hint"}
_PAGE = "docs/reading-the-curves.md"


class HealthHints(pl.Callback):
    """Says, in one line each and once a run, what its curves show that is likely a fault; `PreferenceModule` adds it.

    Such as chosen completions that lose their likelihood, an accuracy that no preferences of people have, or a loss
    that stays where it began: `docs/reading-the-curves.md` shows each with what to do. Values are those that the run
    logs, read when it logs them, so that nothing waits for the device between two logs. A value that is not logged is
    not missed. A run that goes on knows what it has said, and the values of its beginning. The hints are also lines of
    `record/hints.jsonl` in the run's directory. None is given of fewer than 256 examples.

    Args:
        without: Names of hints that are not given, as the page has them.

    Attributes:
        held_out: Number of the examples of the last whole validation; None before one.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import HealthHints
        >>> trainer = Trainer(max_steps=100, logger=False, callbacks=[HealthHints(without=["length-drift"])])
        >>> HealthHints(without=["length_drift"])
        Traceback (most recent call last):
            ...
        dpo_lightning.errors.InputError: HealthHints.without: no hint `length_drift`; did you mean `length-drift`?
    """

    def __init__(self, without: Optional[list[str]] = None) -> None:
        check_arguments(HealthHints, locals(), "HealthHints.")
        self.without = _known(without or [])
        self.held_out: int | None = None
        self._scored = 0
        self._begin()

    def _begin(self) -> None:
        self._history = Curves()
        self._given: list[dict[str, Any]] = []
        self._seen = 0
        self._start_loss: float | None = None
        self._steps = math.inf
        self._record: RunRecord | None = None
        self._sampled: SampledLengths | None = None

    @property
    def start(self) -> dict[str, float]:
        """First values of the run, by name: of the training at its first log, of a validation before any step."""
        return self._history.start()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin anew; a run that goes on gets its state afterwards."""
        if stage == "fit":
            self._begin()
        self.held_out = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask on every rank, since they agree on it, for the run's directory; keep what an earlier run has left."""
        self._record = record_of(trainer)
        self._sampled = None if self._record is None else SampledLengths(self._record.samples)
        if begins_anew(trainer):
            set_aside(trainer, self._record)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask for the length of the run, and write what was said before a checkpoint that it goes on from."""
        self._steps = optimizer_steps(trainer) if pl_module.automatic_optimization else math.inf
        if self._record is not None and trainer.is_global_zero and (self._given or self._record.hints.exists()):
            with spared(self._record.hints):
                write_rows(self._record.hints, self._given)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the examples, and look at what is logged."""
        self._seen += _examples(pl_module, batch) * data_ranks(trainer).world_size
        if trainer.global_step > 0 and logs_this_step(trainer):
            self._look(trainer, "train/")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from the beginning."""
        self._scored = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count what is held out."""
        self._scored += _examples(pl_module, batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what the validation has logged."""
        if trainer.sanity_checking:
            return
        alike = trainer.world_size // data_ranks(trainer).world_size  # ranks that share a model have the same batches
        self.held_out = sum(from_all_ranks(self._scored)) // alike or None
        if is_fitting(trainer):
            self._look(trainer, "val/")

    def state_dict(self) -> dict[str, Any]:
        """Return what was said, and the values of which the rules still have to read."""
        return {
            "given": [dict(each) for each in self._given],
            "seen": self._seen,
            "start_loss": self._start_loss,
            "curves": self._history.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._given, self._seen = list(state_dict.get("given", [])), state_dict.get("seen", 0)
        self._start_loss = state_dict.get("start_loss")
        self._history = Curves.of(state_dict.get("curves", {}))

    def _look(self, trainer: pl.Trainer, stage: str) -> None:
        """Add the values of a stage that are logged now, and say what the rules find in all of them, on one rank."""
        if trainer.barebones or not trainer.is_global_zero:
            return
        logged: Mapping[str, Any] = trainer.callback_metrics
        values = {name: float(logged[name]) for name in NAMES & logged.keys() if name.startswith(stage)}
        self._history.add(trainer.global_step, values, self._seen)
        said = [each["name"] for each in self._given]
        for hint in hints(self._watched(trainer), [*said, *self.without]):
            self._given.append({"step": trainer.global_step, **hint._asdict()})
            self._say(hint)

    def _watched(self, trainer: pl.Trainer) -> Watched:
        check, notes = _of(trainer, StepZeroCheck), _of(trainer, StartNotes)
        if check is not None and check.known_loss is not None:
            self._start_loss = check.known_loss
        return Watched(
            self._history,
            trainer.global_step,
            self._steps,
            self._start_loss,
            clips=bool(trainer.gradient_clip_val),
            in_first_epoch=trainer.current_epoch == 0,
            sampled=None if self._sampled is None else self._sampled.read(),
            lost_updates=None if notes is None else notes.lost_updates,
        )

    def _say(self, hint: Hint) -> None:
        if hint.name != "updates-lost":  # StartNotes has said it
            # Not a Python warning: that is two lines, and one that is made an error would end the run.
            rank_zero_info(f"{_WORDS[hint.severity]} {hint.name}: {hint.text}; see {_PAGE}#{hint.name}")
        if self._record is not None:
            with spared(self._record.hints):
                add_row(self._record.hints, self._given[-1])


def _examples(pl_module: pl.LightningModule, batch: Any) -> int:
    """Return how many examples a batch has; 0 where the module finds none in it, or cannot say which it is."""
    try:
        found = preference_batch_of(pl_module, batch)
    except InputError:
        return 0
    return 0 if found is None else found.examples


def _of(trainer: pl.Trainer, kind: type[CallbackT]) -> CallbackT | None:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each for each in callbacks if isinstance(each, kind)), None)


def _known(names: list[str]) -> list[str]:
    known = [rule.name for rule in RULES]
    for name in names:
        if name not in known:
            close = nearest(name, known)
            said = f"did you mean `{close}`?" if close else f"there are {', '.join(known)}"
            raise InputError(f"HealthHints.without: no hint `{name}`; {said}")
    return names
