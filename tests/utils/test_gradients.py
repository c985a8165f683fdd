"""The length of a gradient, against loops and by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from dpo_lightning.utils.gradients import gradient_norm
from tests.helpers.runs import fit, module
from tests.helpers.scaling import ScaledLoss
from tests.helpers.tiny import tiny_llama


def test_gradient_norm_against_a_loop() -> None:
    model = tiny_llama()
    model(input_ids=torch.arange(10)[None]).logits.square().mean().backward()
    model.model.norm.weight.grad = None
    squares = sum((p.grad.double() ** 2).sum().item() for p in model.parameters() if p.grad is not None)

    norm = gradient_norm(model)

    assert norm.item() == pytest.approx(math.sqrt(squares), rel=1e-5)
    assert norm.ndim == 0


def test_gradient_norm_by_hand() -> None:
    linear = nn.Linear(2, 1)
    linear.weight.grad, linear.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])

    assert gradient_norm(linear).item() == 7.0


def test_gradient_norm_of_none() -> None:
    assert gradient_norm(nn.Linear(2, 1)).item() == 0.0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_the_logged_norm_is_without_the_scale_of_the_loss(tmp_path: Path, fused: bool, scale: float) -> None:
    ours = module(optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=fused))
    plain = module(optimizer=partial(torch.optim.AdamW, lr=1e-3))

    found, _ = fit(tmp_path, ours, max_steps=1, plugins=[ScaledLoss(init_scale=scale)])
    expected, _ = fit(tmp_path, plain, max_steps=1)

    assert found.callback_metrics["train/grad_norm"] == pytest.approx(
        expected.callback_metrics["train/grad_norm"].item(), rel=1e-5
    )
