"""The length of a gradient, against loops and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dpo_lightning.utils.gradients import gradient_norm
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
