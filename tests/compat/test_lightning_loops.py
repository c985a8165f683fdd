"""Lightning's loops have the counters that an exact resume rewrites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loops.fit_loop import _FitLoop

from dpo_lightning import PreferenceModule
from dpo_lightning.compat.lightning_loops import (
    Moment,
    align_logged_step,
    all_batches_done,
    batches_begun,
    batches_done,
    epoch_is_done,
    forget_logged,
    hold_plateaus,
    logs_this_step,
    loop_state,
    move_plateaus,
    resume_epoch,
    schedule_steps,
    step_is_done,
)
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama


class Looks(pl.Callback):
    """Calls a function at the end of each micro-batch, and keeps what it returns."""

    def __init__(self, look: Any) -> None:
        self.look = look
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen.append(self.look(trainer))


def seen(path: Path, look: Any, **settings: Any) -> list[Any]:
    """What is seen in an epoch of six batches."""
    looks = Looks(look)
    run = trainer(callbacks=[looks], **{"max_steps": -1, "max_epochs": 1, **settings})
    run.fit(module(), data(path))
    return looks.seen


@pytest.mark.parametrize("progress", ["epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"])
@pytest.mark.parametrize("tracker", ["total", "current"])
def test_the_fit_loop_counts_batches(progress: str, tracker: str) -> None:
    counters = pl.Trainer(accelerator="cpu", logger=False).fit_loop.state_dict()[progress][tracker]
    assert counters == {"ready": 0, "completed": 0, "started": 0, "processed": 0}


@pytest.mark.parametrize("tracker", ["total", "current"])
def test_the_fit_loop_counts_epochs(tracker: str) -> None:
    counters = pl.Trainer(accelerator="cpu", logger=False).fit_loop.state_dict()["epoch_progress"][tracker]
    assert {"ready", "started", "processed", "completed"} == counters.keys()


def test_the_loops_have_what_is_set(tmp_path: Path) -> None:
    fit = trainer()
    assert fit.fit_loop._restarting is False
    assert fit.fit_loop.epoch_loop._batches_that_stepped == 0
    assert isinstance(type(fit.fit_loop).restarting, property)
    fit.fit_loop.restarting = True
    resume_epoch(fit, {"val/loss": torch.tensor(2.0)})
    assert not fit.fit_loop.restarting
    assert fit.fit_loop.epoch_loop.restarting, "a loop inside still restarts"
    assert fit.callback_metrics["val/loss"] == 2
    assert fit.fit_loop.state_dict()["epoch_loop.state_dict"] == {"_batches_that_stepped": 0}
    assert isinstance(fit.fit_loop, _FitLoop)


def test_the_logged_step_is_that_of_the_batches(tmp_path: Path) -> None:
    def look(fit: pl.Trainer) -> int:
        state = loop_state(fit, Moment.STEP)
        align_logged_step(fit, state, Moment.STEP)
        aligned: int = fit.fit_loop.epoch_loop._batches_that_stepped
        fit.fit_loop.epoch_loop._batches_that_stepped = fit.global_step - 1  # as before; Lightning adds the step itself
        return aligned

    assert seen(tmp_path, look) == [1, 2, 3, 4, 5, 6]


def test_the_steps_that_loggers_get_are_those_of_the_interval(tmp_path: Path) -> None:
    assert seen(tmp_path, logs_this_step, log_every_n_steps=3) == [False, False, True, False, False, True]
    assert seen(tmp_path, logs_this_step, log_every_n_steps=0) == [False] * 6


def test_batches_of_the_run_are_counted(tmp_path: Path) -> None:
    assert seen(tmp_path, batches_begun) == [1, 2, 3, 4, 5, 6]
    assert seen(tmp_path, lambda fit: all_batches_done(loop_state(fit, Moment.STEP))) == [1, 2, 3, 4, 5, 6]


class _Plateaus(PreferenceModule):
    """With a schedule that watches a metric that never falls, after each step."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=1e9)
        scheduler = {"scheduler": plateau, "interval": "step", "monitor": "train/grad_norm"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


@pytest.mark.parametrize(("holds", "rates"), [(False, [1.0, 0.5, 0.25, 0.125]), (True, [1.0, 1.0, 0.5, 0.25])])
def test_a_schedule_that_watches_a_metric_can_be_held_and_moved(
    tmp_path: Path, holds: bool, rates: list[float]
) -> None:
    class Rates(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, *_: object) -> None:
            if holds:
                self.release = hold_plateaus(trainer)

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])
            moves.append(schedule_steps(trainer))
            if holds and trainer.global_step == 2:
                self.release()

    seen: list[float] = []
    moves: list[int] = []
    run = trainer(callbacks=[Rates()], max_steps=4)
    run.fit(_Plateaus(tiny_llama()), data(tmp_path))
    assert seen == rates
    assert moves == ([0, 0, 1, 2] if holds else [0, 1, 2, 3])
    before = run.optimizers[0].param_groups[0]["lr"]
    move_plateaus(run, "epoch", 1)
    assert run.optimizers[0].param_groups[0]["lr"] == before
    move_plateaus(run, "step", 1)
    assert run.optimizers[0].param_groups[0]["lr"] == before / 2


def test_a_step_is_done_at_the_end_of_its_window_and_of_the_epoch(tmp_path: Path) -> None:
    assert seen(tmp_path, step_is_done, accumulate_grad_batches=4) == [False, False, False, True, False, True]


def test_an_epoch_is_done_at_its_last_batch(tmp_path: Path) -> None:
    assert seen(tmp_path, epoch_is_done) == [False] * 5 + [True]
    assert seen(tmp_path, lambda fit: fit.fit_loop.epoch_loop._num_ready_batches_reached()) == [False] * 5 + [True]


def test_the_state_says_how_many_batches_are_done(tmp_path: Path) -> None:
    assert seen(tmp_path, lambda fit: batches_done(loop_state(fit, Moment.STEP))) == [1, 2, 3, 4, 5, 6]


def test_what_is_forgotten_is_not_logged_again(tmp_path: Path) -> None:
    class Logs(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            if trainer.global_step == 1:
                pl_module.log("train/rare", 1.0)
            else:
                forget_logged(trainer, ["train/rare"])
            results: Any = trainer._results
            present.append(any(key.endswith(".train/rare") for key in results))

    present: list[bool] = []
    trainer(callbacks=[Logs()], max_steps=3).fit(module(), data(tmp_path))
    assert present[0]
    assert not any(present[1:])
