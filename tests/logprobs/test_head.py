"""Heads of any kind: values, gradients, and what is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from dpo_lightning.logprobs import Statistic, chunked_logps, logps_from_logits
from dpo_lightning.logprobs.head import logps_through
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import HeadProbe, LogitTransform
from tests.helpers.watching import Tensors

TOKENS, WIDTH, VOCAB = 50, 4, 96
CHUNK = 7  # does not divide TOKENS


def head_inputs(dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, Tensor, Tensor]:
    head = nn.Linear(WIDTH, VOCAB, dtype=dtype)
    hidden = torch.randn(TOKENS, WIDTH, dtype=dtype, requires_grad=True)
    return head, hidden, torch.randint(VOCAB, (TOKENS,))


def score(to_logits: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, rows: int) -> Tensor:
    return chunked_logps(hidden, targets, to_logits, vocab_size=VOCAB, chunk_logits=rows * VOCAB).logps


def test_log_probs_by_hand() -> None:
    # Weights 1, 2 and 5: the probabilities are 1/8, 2/8 and 5/8.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(3, 3)

    logps = logps_from_logits(logits, torch.tensor([0, 1, 2]))

    assert logps.tolist() == pytest.approx([math.log(1 / 8), math.log(2 / 8), math.log(5 / 8)])


def test_large_logits_do_not_overflow() -> None:
    logps = logps_from_logits(torch.tensor([[1e4, 0.0], [-1e4, -2e4]]), torch.tensor([1, 0]))

    assert logps.tolist() == [-1e4, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_get_float32_statistics(dtype: torch.dtype) -> None:
    logits = 4 * torch.randn(40, 500)
    logits, targets = logits.to(dtype), torch.randint(500, (40,))
    exact = logits.double().log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    logps = logps_from_logits(logits, targets)
    in_low_precision = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double()

    assert logps.dtype == torch.float32
    assert (logps.double() - exact).abs().max() < 1e-5
    assert (in_low_precision - exact).abs().max() > 1e-3


def test_a_low_precision_head_keeps_float32_log_probs() -> None:
    head, hidden, targets = head_inputs(torch.bfloat16)
    exact = head(hidden).double().log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    logps = score(head, hidden, targets, rows=CHUNK)

    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, CHUNK, TOKENS - 1, TOKENS, TOKENS + 1])
def test_chunks_change_neither_values_nor_gradients(rows: int) -> None:
    head, hidden, targets = head_inputs()
    inputs = (hidden, head.weight, head.bias)
    weights = torch.randn(TOKENS, dtype=torch.float64)
    whole = head(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    logps = score(head, hidden, targets, rows)

    torch.testing.assert_close(logps, whole, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(
        torch.autograd.grad((logps * weights).sum(), inputs),
        torch.autograd.grad((whole * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_fewer_logits_than_one_row_still_score_row_by_row() -> None:
    head, hidden, targets = head_inputs()

    logps = chunked_logps(hidden, targets, head, vocab_size=VOCAB, chunk_logits=1).logps

    torch.testing.assert_close(logps, score(head, hidden, targets, TOKENS), rtol=1e-12, atol=1e-12)


def test_the_head_never_sees_more_than_a_chunk() -> None:
    head, hidden, targets = head_inputs()
    rows: list[int] = []
    head.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))

    logps = score(head, hidden, targets, CHUNK)
    seen_forward = list(rows)
    logps.sum().backward()

    assert seen_forward == [7] * 7 + [1]
    assert max(rows) == CHUNK
    assert sum(rows) == 2 * TOKENS  # once more for the backward


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_logits_of_all_tokens_never_exist(dtype: torch.dtype) -> None:
    head, hidden, targets = head_inputs(dtype)
    largest: dict[int, int] = {}
    for rows in (CHUNK, TOKENS):
        with Tensors() as tracker:
            score(head, hidden, targets, rows).sum().backward()
        largest[rows] = tracker.largest

    assert largest == {CHUNK: CHUNK * VOCAB, TOKENS: TOKENS * VOCAB}


def test_chunks_keep_no_logits_for_the_backward() -> None:
    head, hidden, targets = head_inputs()
    saved = {}
    for rows in (CHUNK, TOKENS):
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            score(head, hidden, targets, rows)
        saved[rows] = max(sizes, default=0)

    assert saved[TOKENS] == TOKENS * VOCAB
    assert saved[CHUNK] < VOCAB * CHUNK


def test_dropout_in_the_head_is_the_same_in_the_recomputation() -> None:
    head, hidden, targets = head_inputs()
    drawn: list[Tensor] = []

    def noisy(rows: Tensor) -> Tensor:
        drawn.append(torch.rand(3))
        return head(rows)

    score(noisy, hidden, targets, rows=25).sum().backward()

    assert len(drawn) == 4
    # The chunks are recomputed last first.
    assert torch.equal(torch.stack(drawn[:2]), torch.stack(drawn[:1:-1]))


def test_no_graph_where_none_is_wanted() -> None:
    head, hidden, targets = head_inputs()

    with torch.no_grad():
        logps = score(head, hidden, targets, CHUNK)

    assert logps.grad_fn is None
    assert torch.equal(logps, score(head, hidden, targets, CHUNK))


PROBE = HeadProbe(LogitTransform(0.5, 4.0), VOCAB)


class Sub(nn.Linear):
    """Not quite a linear layer."""

    def forward(self, rows: Tensor) -> Tensor:
        return 2 * super().forward(rows)


def adapted(linear: nn.Linear) -> nn.Module:
    layer = LoraLinear(linear, "default", config=LoraConfig(r=2, init_lora_weights=False), r=2)
    return layer.to(linear.weight.dtype)


@pytest.mark.parametrize("kind", [nn.Linear, Sub, adapted], ids=["linear", "subclass", "LoRA"])
@pytest.mark.parametrize("chunk_logits", [CHUNK * VOCAB, 2**20], ids=["chunks", "whole"])
def test_a_head_of_any_kind(kind: Any, chunk_logits: int) -> None:
    _, hidden, targets = head_inputs()
    module = adapted(head_inputs()[0]) if kind is adapted else kind(WIDTH, VOCAB, dtype=torch.float64)
    inputs = (hidden, *(parameter for parameter in module.parameters() if parameter.requires_grad))
    exact = PROBE.transform(module(hidden)).log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    logps = logps_through(module, PROBE, tiling=Tiling(logits=chunk_logits))(hidden, targets).logps

    torch.testing.assert_close(logps, exact, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(
        torch.autograd.grad(logps.square().sum(), inputs),
        torch.autograd.grad(exact.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.Linear, Sub, adapted], ids=["linear", "subclass", "LoRA"])
@pytest.mark.parametrize("chunk_logits", [CHUNK * VOCAB, 2**20], ids=["chunks", "whole"])
def test_collisions_through_a_head_of_any_kind(kind: Any, chunk_logits: int) -> None:
    _, hidden, targets = head_inputs()
    module = adapted(head_inputs()[0]) if kind is adapted else kind(WIDTH, VOCAB, dtype=torch.float64)
    inputs = (hidden, *(parameter for parameter in module.parameters() if parameter.requires_grad))
    exact = PROBE.transform(module(hidden)).softmax(-1).square().sum(-1).log()

    tiling = Tiling(logits=chunk_logits)
    plain, nothing = logps_through(module, PROBE, tiling=tiling)(hidden, targets)
    logps, statistics = logps_through(module, PROBE, [Statistic.LOG_COLLISIONS], tiling)(hidden, targets)
    log_collisions = statistics[Statistic.LOG_COLLISIONS]

    assert not nothing
    assert not log_collisions.requires_grad
    torch.testing.assert_close(log_collisions, exact.detach(), rtol=0, atol=1e-12)
    assert torch.equal(logps, plain)
    for one, other in zip(
        torch.autograd.grad(logps.square().sum(), inputs),
        torch.autograd.grad(plain.square().sum(), inputs),
        strict=True,
    ):
        assert torch.equal(one, other)
