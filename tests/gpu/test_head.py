"""The head that is chosen on a device, against float64: Triton's on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from dpo_lightning.batch import collate_tree
from dpo_lightning.logprobs import Statistic, TokenScorer
from dpo_lightning.logprobs.kernels import choice
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform
from tests.attention.rows import relative
from tests.gpu.devices import moved
from tests.helpers.tiny import PAIRS, tiny_llama


class Case(NamedTuple):
    """A head, and how many rows it has."""

    rows: int = 300
    vocabulary: int = 5003
    dtype: torch.dtype = torch.bfloat16
    transform: LogitTransform = LogitTransform()
    bias: bool = False
    trained: bool = True
    tiling: Tiling = Tiling()


# Several tiles of rows and of columns, the last ones smaller.
MANY = Tiling(rows=256, cpu_logits=2**16, fused_rows=256, fused_columns=1024)

CASES = {
    "trained": Case(),
    "frozen": Case(trained=False),
    "float16": Case(dtype=torch.float16),
    "soft-cap, scale, bias": Case(transform=LogitTransform(0.5, 3.0), bias=True),
    "one row": Case(rows=1),
    "nothing kept": Case(rows=1500, tiling=Tiling(kept_bytes=0)),
    "small vocabulary": Case(vocabulary=17),
    "many tiles": Case(rows=700, tiling=MANY),
    "many tiles, float16, soft-cap, bias": Case(
        rows=700, dtype=torch.float16, transform=LogitTransform(2.0, 3.0), bias=True, tiling=MANY
    ),
    "many tiles, nothing kept, bias": Case(rows=700, bias=True, tiling=replace(MANY, kept_bytes=0)),
    "many tiles, nothing kept, frozen": Case(rows=700, trained=False, tiling=replace(MANY, kept_bytes=0)),
}


class Leaves(NamedTuple):
    """Inputs of a head."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


def leaves(case: Case, device: torch.device) -> tuple[Leaves, Leaves, Tensor]:
    """Rows on the device, the same in float64 on the CPU, and targets."""
    width = 256
    hidden, weight = torch.randn(case.rows, width), torch.randn(case.vocabulary, width) * 2 * width**-0.5
    bias = torch.randn(case.vocabulary) if case.bias else None
    narrow = [None if each is None else each.to(case.dtype) for each in (hidden, weight, bias)]
    wants = (True, case.trained, case.trained)
    on_device, exact = (
        Leaves(
            *(
                each if each is None else made(each).requires_grad_(want)
                for each, want in zip(narrow, wants, strict=True)
            )
        )
        for made in (lambda each: each.to(device), lambda each: each.double())
    )
    return on_device, exact, torch.randint(case.vocabulary, (case.rows,))


def trained(inputs: Leaves) -> list[Tensor]:
    return [each for each in inputs if each is not None and each.requires_grad]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_log_probs_statistics_and_gradients(case: Case, device: torch.device) -> None:
    inputs, exact, targets = leaves(case, device)
    scored = linear_logps(
        *inputs, targets.to(device), case.transform, statistics=[Statistic.LOG_COLLISIONS], tiling=case.tiling
    )
    logits = exact.hidden @ exact.weight.T + (0.0 if exact.bias is None else exact.bias)
    logits = logits * case.transform.scale
    if case.transform.softcap is not None:
        logits = case.transform.softcap * torch.tanh(logits / case.transform.softcap)
    probabilities = logits.log_softmax(-1)
    expected = probabilities.gather(1, targets[:, None]).squeeze(1)
    collisions = probabilities.mul(2).logsumexp(-1)

    weights = torch.randn(case.rows)
    ours = torch.autograd.grad((scored.logps * weights.to(device)).sum(), trained(inputs))
    theirs = torch.autograd.grad((expected * weights).sum(), trained(exact))

    assert relative(scored.logps.cpu(), expected) < 2e-3
    assert relative(scored.statistics[Statistic.LOG_COLLISIONS].cpu(), collisions) < 5e-3
    for found, right in zip(ours, theirs, strict=True):
        assert relative(found.cpu(), right) < 1e-2


def test_a_gpu_takes_triton_for_half_precision_alone(device: torch.device) -> None:
    from dpo_lightning.logprobs.kernels.fused import FUSED
    from dpo_lightning.logprobs.kernels.plain import PLAIN

    rows: dict[torch.dtype, Any] = {
        dtype: torch.ones(4, 16, dtype=dtype, device=device) for dtype in (torch.bfloat16, torch.float16, torch.float32)
    }
    fast = FUSED if device.type == "cuda" else PLAIN
    assert [choice.head_kernel(each, each) for each in rows.values()] == [fast, fast, PLAIN]


@pytest.mark.parametrize("kept", [0, None], ids=["computed again", "kept"])
def test_equal_calls_are_equal_bit_for_bit(kept: int | None, device: torch.device) -> None:
    inputs, _, targets = leaves(Case(rows=700, vocabulary=2051, bias=True), device)
    tiling = replace(MANY, kept_bytes=kept)

    def once() -> tuple[Tensor, ...]:
        found = linear_logps(*inputs, targets.to(device), LogitTransform(), statistics=list(Statistic), tiling=tiling)
        gradients = torch.autograd.grad(found.logps.sum(), trained(inputs))
        return found.logps, *found.statistics.values(), *gradients

    assert all(map(torch.equal, once(), once()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_gradient_of_a_models_head_is_the_same_each_time(dtype: torch.dtype, device: torch.device) -> None:
    """The head's gradient adds the rows of equal tokens in a fixed order; attention kernels may not."""
    model, batch = tiny_llama().to(device, dtype), moved(collate_tree(PAIRS), device)
    score, weight = TokenScorer(model), model.lm_head.weight
    first, second = (torch.autograd.grad(score(batch).logps.sum(), weight)[0] for _ in range(2))

    assert torch.equal(score(batch).logps, score(batch).logps)
    assert torch.equal(first, second)
