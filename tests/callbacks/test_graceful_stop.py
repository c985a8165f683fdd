"""Signals wait for the end of an optimizer step; a second Ctrl-C does not."""

from __future__ import annotations

import os
import signal
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks import GracefulStop
from dpo_lightning.callbacks.graceful_stop import _requeue_signals
from tests.helpers.runs import data, module, trainer


class Signal(pl.Callback):
    """Sends itself signals in the middle of a micro-batch."""

    def __init__(self, *numbers: int, stage: str = "train") -> None:
        self.numbers, self.stage = numbers, stage
        self.batches = 0

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self.batches += 1
        if self.stage == "train" and self.batches == 3:
            self._send()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.stage == "validation" and trainer.global_step:
            self._send()

    def _send(self) -> None:
        for number in self.numbers:
            os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_optimizer_step_is_finished(tmp_path, number, status):
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    sender = Signal(number)
    runner = trainer(callbacks=[sender], accumulate_grad_batches=2, max_epochs=4, max_steps=-1)
    with pytest.raises(SIGTERMException) as stopped:
        runner.fit(module(), data(tmp_path))
    assert stopped.value.code == status
    assert sender.batches == 4  # the third was the first of its step
    assert runner.global_step == 2
    assert {n: signal.getsignal(n) for n in before} == before


def test_a_validation_is_not_waited_for(tmp_path):
    runner = trainer(callbacks=[Signal(signal.SIGTERM, stage="validation")], num_sanity_val_steps=0, max_steps=20)
    with pytest.raises(SIGTERMException):
        runner.fit(module(), data(tmp_path, val_split="train[:8]"))
    assert runner.fit_loop.epoch_loop.val_loop.batch_progress.current.completed == 0


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    sender = Signal(signal.SIGINT, signal.SIGINT)
    with pytest.raises(SystemExit) as stopped:
        trainer(callbacks=[sender], max_steps=20).fit(module(), data(tmp_path))
    assert stopped.value.code == 1  # as Lightning ends after Ctrl-C
    assert sender.batches == 3


def test_slurm_requeues_between_steps(tmp_path):
    class Slurm(LightningEnvironment):
        auto_requeue = True
        requeue_signal = signal.SIGUSR1

    sender = Signal(signal.SIGUSR1)
    runner = trainer(callbacks=[sender], plugins=[Slurm()], max_steps=5, accumulate_grad_batches=2)
    assert _requeue_signals(runner) == [signal.SIGUSR1]
    asked: list[tuple[int, int]] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: asked.append((number, sender.batches)))
    try:
        runner.fit(module(), data(tmp_path))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert asked == [(signal.SIGUSR1, 4)]
    assert runner.global_step == 5


def test_every_run_has_it(tmp_path):
    runner = trainer(max_steps=1)
    runner.fit(module(), data(tmp_path))
    assert sum(isinstance(callback, GracefulStop) for callback in runner.callbacks) == 1  # type: ignore[attr-defined]
