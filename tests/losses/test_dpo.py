"""Where the minimum of the conservative loss is."""

import math

import pytest
import torch

from dpo_lightning.losses import dpo


def test_smoothed_labels_put_the_minimum_where_the_model_is_as_sure_as_the_labels() -> None:
    # sigma(beta margin) = 1 - 0.1 at margin = ln 9 / beta: the gradient vanishes there.
    margin = torch.tensor([math.log(9) / 0.5], dtype=torch.float64, requires_grad=True)

    dpo(margin, torch.zeros_like(margin), beta=0.5, label_smoothing=0.1).sum().backward()

    assert margin.grad is not None
    assert margin.grad.item() == pytest.approx(0, abs=1e-15)
