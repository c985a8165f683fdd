"""The optimizer and the learning rate of a run that goes on: those that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS, LR_SCHEDULERS, OPTIMIZER_STATES, OPTIMIZERS
from dpo_lightning.checkpoints.optimizers import (
    Asked,
    apply_setting,
    asked,
    asked_before,
    begin_at_first_rates,
    begin_lacking_states_anew,
    begin_rates_anew,
    go_on_without_schedule,
    other_kind,
    other_schedules,
    other_settings,
    rates,
    rates_of_now,
)
from dpo_lightning.checkpoints.schedules import asked_state, depends_on_steps, steps_taken, take_steps
from dpo_lightning.checkpoints.settings import Difference, refuse_or_tell
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun, resume_mode
from dpo_lightning.utils.trainers import is_fitting


class ResumedSettings(pl.Callback):
    """Lets a fit that goes on run with the optimizer and the rate that it was asked for; `PreferenceModule` adds it.

    torch and Lightning take learning rate, weight decay, betas and the like from a checkpoint, whatever a config says.
    Here they are compared with those at the start of the checkpoint's fit, before a schedule or a callback moved them,
    and refused where they differ, or applied with `PreferenceModule(resume="changed")`. Another class of optimizer then
    begins with no state. The length of a run may always change, and with it the rate: that is said.
    """

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self._held: list[dict[str, Any]] = []
        self._saved: dict[str, Any] | None = None
        self._changed: list[tuple[Asked, int, Difference]] = []
        self._schedules: list[tuple[Any, dict[str, Any]]] = []
        self._other_schedule = False
        self._is_anew = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note what was asked for, before a checkpoint's states take its place."""
        if trainer.ckpt_path is None:
            self._saved = None
        self._asked = asked(trainer)
        self._held = [each.plain() for each in self._asked]
        if self._saved is not None and trainer.strategy.lightning_restore_optimizer:  # it does so after this
            self._compare(self._saved, pl_module)

    def takes_optimizers(self, pl_module: pl.LightningModule, checkpoint: Mapping[str, Any]) -> bool:
        """Compare before a strategy loads weights and optimizers by itself.

        Args:
            pl_module: The module that goes on.
            checkpoint: What is saved beside the weights.

        Returns:
            Whether the states of the optimizers are to be loaded; else they begin anew.

        Raises:
            InputError: for other settings, unless they are to be applied.
        """
        self._compare(dict(checkpoint), pl_module)
        return not self._is_anew

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the checkpoint until the optimizers are there; a strategy that loads them has done so before this."""
        if not is_fitting(trainer):
            return
        self._saved = checkpoint
        if not trainer.strategy.lightning_restore_optimizer and self._other_schedule:
            checkpoint[LR_SCHEDULERS] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Apply what differs, and say where the rate goes on."""
        saved, changed, now = self._saved, self._changed, self._asked
        self._saved, self._changed, self._asked = None, [], []
        if saved is None:
            return
        for one, place, difference in changed:
            apply_setting(one, place, difference.name.rpartition(".")[2])
        for scheduler, state in self._schedules:
            scheduler.load_state_dict(state)
        for one in now:
            _tell_lacking(begin_lacking_states_anew(one, {place for of, place, _ in changed if of is one}))
        for one, before in zip(now, asked_before(saved), strict=False):
            self._resume_rates(trainer, one, str(before.get("schedule", "")))
        if isinstance(pl_module, PreferenceRun) and _other_objective(pl_module, saved):
            for metric in pl_module.step_metrics().values():
                metric.reset()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say what the fit was asked for."""
        checkpoint[OPTIMIZERS] = self._held

    def _compare(self, saved: dict[str, Any], pl_module: pl.LightningModule) -> None:
        """Refuse other settings, or note those to apply; keep Lightning from loading a state that does not fit."""
        self._changed, self._schedules, self._other_schedule = [], [], False
        states, was = saved.get(OPTIMIZER_STATES, []), asked_before(saved)
        known = len(was) in (0, len(self._asked))  # none: saved before a fit began, as by a search for the rate
        other = [] if known else [Difference("the number of optimizers", len(was), len(self._asked))]
        for number, (now, before) in enumerate(zip(self._asked, was, strict=False)):
            kind = list(other_kind(now, before, states[number] if number < len(states) else None))
            other += kind
            if not kind:
                self._changed += [(now, place, each) for place, each in other_settings(now, before)]
            self._compare_schedules(now, before)
        refuse_or_tell([*other, *_once(each for _, _, each in self._changed)], resume_mode(pl_module))
        self._is_anew = bool(other)
        if other:
            _begin_optimizer_anew(saved, len(self._asked))
        if self._other_schedule:
            saved[LR_SCHEDULERS] = []

    def _compare_schedules(self, now: Asked, before: Mapping[str, Any]) -> None:
        """Note other schedules, which take their steps anew, and settings of one that waits for a metric."""
        other = other_schedules(now, before)
        for scheduler, each in other or ():
            rank_zero_info(f"{each.name} is {each.now}, and was {each.before} in the checkpoint's run")
            if not depends_on_steps(scheduler):
                self._schedules.append((scheduler, asked_state(scheduler, {each.name})))
        self._other_schedule |= other is None or any(depends_on_steps(scheduler) for scheduler, _ in other)

    def _resume_rates(self, trainer: pl.Trainer, now: Asked, schedule_before: str) -> None:
        come_to = rates(now)
        if self._is_anew:
            begin_rates_anew(now)
        if schedule_before and not now.schedules:
            go_on_without_schedule(now)
        if self._other_schedule:
            begin_at_first_rates(now)
        for scheduler in now.schedules:
            if self._other_schedule:
                take_steps(scheduler, steps_taken(trainer, scheduler))
            rates_of_now(scheduler)
        if changed := [pair for pair in zip(come_to, rates(now), strict=True) if pair[0] != pair[1]]:
            rank_zero_info(
                f"the schedule, or the length of the run, is not the checkpoint's: after {trainer.global_step} steps "
                f"the learning rate goes on at {changed[0][1]:.4g}, where that run had come to {changed[0][0]:.4g}"
            )


def _once(found: Iterable[Difference]) -> list[Difference]:
    """Leave out what several groups of parameters have alike."""
    return list({str(each): each for each in found}.values())


def _tell_lacking(names: set[str]) -> None:
    if names:
        rank_zero_info(
            f"model.resume=changed: the optimizer begins without a state, since the checkpoint's lacks "
            f"{', '.join(sorted(names))}"
        )


def _begin_optimizer_anew(saved: dict[str, Any], optimizers: int) -> None:
    if optimizers > 1:
        raise InputError("model.resume=changed: of several optimizers, none can be of another class: give the same")
    saved[OPTIMIZER_STATES] = []
    rank_zero_info("model.resume=changed: the optimizer begins without a state, since the checkpoint's does not fit it")


def _other_objective(run: PreferenceRun, saved: Mapping[str, Any]) -> bool:
    before = saved.get(HYPER_PARAMETERS, {}).get("objective")
    path = before.get("class_path", "") if isinstance(before, Mapping) else ""
    return bool(path) and path.rpartition(".")[2] != type(run.objective).__name__
