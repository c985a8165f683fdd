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


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
def test_exponentials_of_logits_far_below_the_largest(dtype: torch.dtype, bound: float) -> None:
    """Spread over some hundred nats, and many of them near the largest, so that each sum has terms of all sizes."""
    logits = torch.cat([torch.linspace(-300, 0, 500), torch.linspace(-15, -5, 4000)]).to(dtype)
    weight = logits[:, None].requires_grad_()
    hidden, targets = torch.ones(3, 1, dtype=dtype), torch.tensor([0, 499, 4499])
    exact = logits.double().log_softmax(0)

    logps = linear_logps(hidden, weight, None, targets, LogitTransform()).logps
    (gradient,) = torch.autograd.grad(logps[0], weight)

    torch.testing.assert_close(logps.double(), exact[targets].detach(), rtol=bound, atol=bound)
    expected = -exact.exp()
    expected[0] += 1
    torch.testing.assert_close(gradient[:, 0].double(), expected.detach(), rtol=20 * bound, atol=1e-30)
