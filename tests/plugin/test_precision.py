"""Lightning's precisions on a preference run."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import AdamW

from tests.helpers import runs


@pytest.fixture
def scaled():
    """The precision 16-mixed, on a CPU."""
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
def test_a_precision(run, precision):
    fitted = run(precision=precision)
    assert fitted.losses[0] == pytest.approx(0.6931, abs=0.01)
    assert fitted.losses[-1] < fitted.losses[0]


def test_weights_of_float16(run):
    fitted = run(module=runs.module(optimizer=partial(AdamW, lr=1e-3, eps=1e-4)), precision="16-true")
    assert {weight.dtype for weight in fitted.module.parameters()} == {torch.float16}
    assert fitted.losses[0] == pytest.approx(0.6931, abs=0.01)
    assert fitted.losses[-1] < fitted.losses[0]


def test_a_scaled_loss(run, scaled):
    fitted = run(**scaled)
    assert fitted.losses[0] == pytest.approx(0.6931, abs=0.01)
    assert 0 < fitted.metrics["train/grad_norm"] < 100


def test_a_scaled_loss_under_a_fused_optimizer(run, scaled):
    fitted = run(module=runs.module(optimizer=partial(AdamW, lr=1e-3, fused=True)), **scaled)
    assert fitted.losses[-1] < fitted.losses[0]
    assert 0 < fitted.metrics["train/grad_norm"] < 100
