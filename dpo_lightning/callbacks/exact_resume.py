"""Checkpoints from which a run goes on bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from dpo_lightning.callbacks.moments import FirstCallback, UpdateWatch, callback_states
from dpo_lightning.callbacks.running_values import OF_RANK, Snapshot, running_values, set_metric_states
from dpo_lightning.checkpoints.random_state import random_state, run_seed, set_random_state
from dpo_lightning.checkpoints.settings import Difference, refuse_or_tell
from dpo_lightning.compat.lightning_checkpoints import datamodule_key, save_again, save_nothing
from dpo_lightning.compat.lightning_loops import (
    BETWEEN_EPOCHS,
    Moment,
    align_logged_step,
    all_batches_done,
    batches_begun,
    batches_done,
    begin_epoch_anew,
    epoch_has_begun,
    epoch_is_done,
    hold_plateaus,
    loop_state,
    move_plateaus,
    resume_epoch,
    schedule_steps,
    step_is_done,
)
from dpo_lightning.compat.lightning_results import log_on
from dpo_lightning.compat.modules import forget_walk
from dpo_lightning.data.loaders_beside import have_states, resume_loaders
from dpo_lightning.errors import RunError
from dpo_lightning.run import resume_mode
from dpo_lightning.utils.ranks import from_all_ranks, from_rank_zero, this_rank
from dpo_lightning.utils.trainers import check_averaging, is_fitting


class ExactResume(pl.Callback):
    """Makes every checkpoint one of the end of the last optimizer step; `PreferenceModule` adds it.

    Weights change in the optimizer step only. Whoever saves between two of them (a callback or a hook of the module, an
    exception, a signal, a time limit, in the middle of an accumulation window or of a validation) gets, with these
    weights, the loop counters, random states and running metrics of the last step's end: what was computed since is
    computed again. Random states and metrics are those of every rank. The position in the data is the loop counter,
    whose meaning the DataModule checks.

    A validation, or the end of an epoch, that some callbacks have seen and some have not is run again, with the
    callbacks' states from before it. Lightning's checkpoint callbacks come last and save what is after it.
    """

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._restored: dict[str, Any] | None = None
        self._states: dict[str, Any] | None = None
        self._watch = UpdateWatch()
        self._put_back: Callable[[], None] | None = None

    @property
    def _moment(self) -> Moment | None:
        if self._restored is not None:
            return Moment(self._restored["moment"])
        return None if self._snapshot is None else self._snapshot.moment

    @property
    def can_save(self) -> bool:
        """True where the weights are those at the end of a step, or those of the start."""
        return self._snapshot is not None and not self._watch.updating

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Be told of each moment before other callbacks are."""
        save_again(trainer)
        if stage == "fit":
            FirstCallback.stand_first(trainer, self)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what a validation or a test from a checkpoint has restored: this fit begins, or restores its own."""
        self._snapshot, self._states = None, None
        if trainer.ckpt_path is None:
            self._restored = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers and the running metrics of the checkpoint."""
        self._watch.begin(trainer.optimizers)
        if self._restored is not None:
            self._put_back = resume_loaders(trainer)
            self._resume(trainer, pl_module, self._restored)
        elif trainer.ckpt_path is None:
            self._take(trainer, pl_module, Moment.START)

    def _resume(self, trainer: pl.Trainer, pl_module: pl.LightningModule, restored: dict[str, Any]) -> None:
        moment, loops = Moment(restored["moment"]), restored["loops"]
        self._resume_random()
        set_metric_states(pl_module, restored["metrics"])
        if moment not in BETWEEN_EPOCHS:
            check_averaging(trainer)
            log_on(trainer, restored["logged"])
        resume_epoch(trainer, restored["reported"])
        restored["release"] = hold_plateaus(trainer)
        if moment is Moment.EPOCH and restored["plateaus_due"]:
            move_plateaus(trainer, "epoch", trainer.current_epoch)
        if "random" in restored:
            numbers = restored["random"]
            of_rank = {**{name: restored[name] for name in OF_RANK}, "random": lambda: numbers}
            steps = schedule_steps(trainer) - (not restored["plateaus_due"])
            self._snapshot = Snapshot(moment, loops, **of_rank, schedule_steps=steps)
        else:
            self._take(trainer, pl_module, Moment.START)

    def epoch_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what hooks have done between the epochs: those of the epoch's start are called again after a restart."""
        if self._restored is not None:
            self._resume_random()
        elif self._snapshot is not None and self._snapshot.moment in BETWEEN_EPOCHS:
            self._snapshot = self._snapshot._replace(**running_values(trainer, pl_module, self._snapshot.moment))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the epoch after a checkpoint of an epoch's end."""
        self._put_loaders_back()
        if self._restored is not None and Moment(self._restored["moment"]) in BETWEEN_EPOCHS:
            begin_epoch_anew(trainer, iterates=not have_states(trainer))

    def batch_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Random numbers once more: a loader that starts may have drawn some."""
        self._put_loaders_back()
        between = self._moment in BETWEEN_EPOCHS
        if self._restored is not None:
            if not between:
                self._resume_random()
            self._end_restart(trainer)
        elif self._snapshot is not None and batches_begun(trainer) == all_batches_done(self._snapshot.loops) + 1:
            now = running_values(trainer, pl_module, self._snapshot.moment)
            self._snapshot = self._snapshot._replace(**({"reported": now["reported"]} if between else now))

    def _end_restart(self, trainer: pl.Trainer) -> None:
        """Log at the step again, let schedules that watch a metric move where they had not, and forget the restart."""
        if self._restored is None:
            return
        moment, loops = Moment(self._restored["moment"]), self._restored["loops"]
        align_logged_step(trainer, loops, moment)
        self._restored["release"]()
        if self._restored["plateaus_due"] and moment not in BETWEEN_EPOCHS:
            move_plateaus(trainer, "step", batches_done(loops))
        self._restored = None

    def batch_ended(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of an optimizer step."""
        self._end_restart(trainer)  # a batch that is None has no start
        # Who optimizes by hand has a step where an optimizer made one: until then, gradients may add up.
        if step_is_done(trainer) and (pl_module.automatic_optimization or self._watch.updating):
            self._take(trainer, pl_module, Moment.STEP)

    def validation_begins(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what is reported and the callbacks' states: until all have seen the end of the validation, it is due."""
        if self._restored is not None:  # a validation after a restart goes on with the random numbers itself
            self._restored.pop("random", None)
        elif self._snapshot is not None:
            now = running_values(trainer, pl_module, self._snapshot.moment)
            now["random"] = self._snapshot.random  # a loader that begins a validation may draw some, and does so again
            within = self._snapshot.is_behind(trainer)
            self._snapshot = self._snapshot._replace(**({"reported": now["reported"]} if within else now))
        self._states = self._states_of_others(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of a validation within a fit."""
        if trainer.sanity_checking:
            return
        self._states = None
        # In the middle of an accumulation window the end of the last step stays: the validation is run again.
        if self.can_save and self._snapshot is not None and not self._snapshot.is_behind(trainer):
            self._take(trainer, pl_module, Moment.VALIDATION)

    def epoch_ends(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the callbacks' states: until all have seen the end of the epoch, it is due."""
        self._end_restart(trainer)
        if self._snapshot is not None:
            self._snapshot = self._now(trainer, pl_module, self._snapshot)
        self._states = self._states_of_others(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of an epoch that ran to its end."""
        self._states = None
        if self.can_save and epoch_is_done(trainer):
            self._take(trainer, pl_module, Moment.EPOCH)

    def _states_of_others(self, trainer: pl.Trainer) -> dict[str, Any]:
        return callback_states(each for each in trainer.callbacks if each is not self)  # type: ignore[attr-defined]

    def _take(self, trainer: pl.Trainer, pl_module: pl.LightningModule, moment: Moment) -> None:
        steps = schedule_steps(trainer)
        if moment is Moment.VALIDATION and self._snapshot is not None:
            steps = self._snapshot.schedule_steps
        running = running_values(trainer, pl_module, moment)
        self._snapshot = Snapshot(moment, loop_state(trainer, moment), **running, schedule_steps=steps)
        self._watch.updating = False

    def _now(self, trainer: pl.Trainer, pl_module: pl.LightningModule, noted: Snapshot) -> Snapshot:
        """Return what was noted, with what hooks have drawn, added and reported since, unless a batch has begun."""
        waits = self._restored is None and self._states is None and trainer.training
        if not waits or noted.is_behind(trainer) or epoch_has_begun(trainer, noted.loops):
            return noted
        return noted._replace(**running_values(trainer, pl_module, noted.moment))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the loop counters, and what belongs to them, of the last step's end in place of those of this moment.

        Raises:
            RunError: while an optimizer is at the weights.
        """
        if self._watch.updating:
            raise RunError(
                f"a checkpoint within optimizer step {trainer.global_step}: the weights, the schedule and the counters "
                "belong together again in on_train_batch_end; save there"
            )
        if self._snapshot is None:
            self._save_start(trainer, checkpoint)
            return
        now = self._now(trainer, pl_module, self._snapshot)
        checkpoint["loops"]["fit_loop"] = now.loops
        ranks = from_all_ranks(now.of_rank)
        due = schedule_steps(trainer) == now.schedule_steps
        state = {"moment": now.moment.value, "plateaus_due": due, "ranks": ranks, "seed": run_seed()}
        states = {**checkpoint["callbacks"], **(self._states or {}), self.state_key: state}
        checkpoint["callbacks"] = {name: content for name, content in states.items() if content}
        self._set_position(trainer, checkpoint, now.loops)

    def _save_start(self, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
        """Make what is saved before the first step a run that begins."""
        if not is_fitting(trainer) or trainer.ckpt_path is not None:
            return
        checkpoint["loops"]["fit_loop"] = loop_state(trainer, Moment.START)
        checkpoint["callbacks"][self.state_key] = {"moment": Moment.START.value, "plateaus_due": False, "ranks": []}
        self._set_position(trainer, checkpoint, checkpoint["loops"]["fit_loop"])

    def _set_position(self, trainer: pl.Trainer, checkpoint: dict[str, Any], loops: dict[str, Any]) -> None:
        position = checkpoint.get(datamodule_key(trainer.datamodule), {})  # type: ignore[attr-defined]
        if "batches_done" in position:
            position["batches_done"] = batches_done(loops)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is this rank's until training starts.

        Raises:
            RunError: where training has started.
            InputError: for another `seed_everything`, unless it is to be applied: the random numbers then begin anew.
        """
        if self._snapshot is not None:
            raise RunError(
                "a checkpoint is loaded within a fit, as a search for a rate or a batch size at an epoch's start does: "
                "the run would lose its place; search before the fit"
            )
        state = checkpoint["callbacks"].get(self.state_key, {})
        ranks = state.get("ranks", [])
        begins = state.get("moment") == Moment.START.value and not ranks
        if begins or this_rank() < len(ranks):
            own = {} if begins else ranks[this_rank()]
            # One of an earlier version does not say; what it had saved is taken as it is.
            common = {"moment": state["moment"], "plateaus_due": state.get("plateaus_due", False)}
            nothing: dict[str, Any] = {"metrics": {}, "logged": {}, "reported": {}}
            self._restored = {**common, **nothing, **own, "loops": checkpoint["loops"]["fit_loop"]}
            if is_fitting(trainer) and _another_seed(state.get("seed"), pl_module):
                self._restored["random"] = random_state()

    def failed(self, trainer: pl.Trainer) -> None:
        """Let nobody save where there is no step, or half of one: the user's own error is the one to see."""
        if is_fitting(trainer) and not self.can_save:
            save_nothing(trainer, f"the exception came {'within a' if self._snapshot else 'before the first'} step")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say the same of an exception that came before other callbacks could be told."""
        self.failed(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the optimizers, and of what was found below the module."""
        self._watch.end()
        forget_walk(pl_module)

    def _put_loaders_back(self) -> None:
        put_back, self._put_back = self._put_back, None
        if put_back is not None:
            put_back()

    def _resume_random(self) -> None:
        if self._restored is not None and "random" in self._restored:
            set_random_state(self._restored["random"])


def _another_seed(before: int | None, pl_module: pl.LightningModule) -> bool:
    """Return whether the random numbers are to be those of another seed; refuse it, unless settings may change."""
    now = from_rank_zero(run_seed())
    if None in (before, now) or before == now:
        return False
    refuse_or_tell([Difference("seed_everything", before, now)], resume_mode(pl_module))
    return True
