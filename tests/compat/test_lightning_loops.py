"""Lightning's loops have the counters that an exact resume rewrites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loops.fit_loop import _FitLoop

from dpo_lightning.compat.lightning_loops import (
    Moment,
    align_logged_step,
    batches_done,
    epoch_is_done,
    forget_logged,
    loop_state,
    resume_epoch,
    step_is_done,
)
from tests.helpers.runs import data, module, trainer


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
    align_logged_step(fit)
    assert isinstance(fit.fit_loop, _FitLoop)


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
