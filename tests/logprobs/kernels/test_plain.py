"""The head in PyTorch, at its edges; its numbers are tested through `linear_logps`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpo_lightning.logprobs import Statistic
from dpo_lightning.logprobs.kernels import LinearHead, Wanted
from dpo_lightning.logprobs.kernels.plain import PLAIN
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.tiling import TILING
from dpo_lightning.logprobs.transform import LogitTransform


def leaves(tokens: int, vocabulary: int) -> list[Tensor]:
    shapes = ((tokens, 3), (vocabulary, 3), (vocabulary,))
    return [torch.randn(*shape).requires_grad_() for shape in shapes]


def test_no_token_has_no_log_prob_and_no_gradient() -> None:
    """As in a batch of which every completion was cut off."""
    tensors = leaves(0, 5)
    found = linear_logps(*tensors, torch.empty(0, dtype=torch.long), LogitTransform(), statistics=list(Statistic))
    found.logps.sum().backward()

    assert found.logps.shape == found.statistics[Statistic.LOG_COLLISIONS].shape == (0,)
    assert [tensor.grad.abs().sum() for tensor in tensors] == [0, 0, 0]


@pytest.mark.parametrize("wanted", [Wanted(True, False, ()), Wanted(True, True, ())], ids=["frozen", "trained"])
def test_what_a_scan_leaves_holds_none_of_its_results(wanted: Wanted) -> None:
    """Log-probs know the backward, which would keep them, and itself, for ever."""
    hidden, weight, bias = (tensor.detach() for tensor in leaves(4, 5))
    scan = PLAIN.scan(LinearHead(weight, bias, LogitTransform()), hidden, torch.arange(4), wanted, TILING)

    assert scan.gradient is not None
    held = [value for value in vars(scan.backward).values() if isinstance(value, Tensor)]
    assert not any(value is result for value in held for result in (scan.logps, scan.gradient))
    assert list(scan.backward.release()) == []
