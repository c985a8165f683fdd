"""Optimizers, schedules and callbacks that change them, on a preference run."""

from __future__ import annotations

from functools import partial

import pytest
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import LBFGS

from dpo_lightning import Linear
from tests.helpers.runs import module


def test_a_gradient_accumulation_scheduler_is_known_to_the_schedule(run):
    model = module(schedule=Linear(warmup=0))
    fitted = run(GradientAccumulationScheduler({0: 1, 1: 4, 2: 5}), module=model, max_epochs=3)
    assert fitted.trainer.global_step == 6 + 2 + 2
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_lbfgs_evaluates_its_closure(run):
    fitted = run(module=module(optimizer=partial(LBFGS, lr=0.1, max_iter=3)), max_epochs=3)
    assert fitted.losses[-1] < fitted.losses[0]
    assert fitted.trainer.global_step == 18
