"""The head in chunks: values, gradients, and what is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dpo_lightning.logprobs import chunked_logps, logps_from_logits

TOKENS, WIDTH, VOCAB = 50, 4, 96
CHUNK = 7  # does not divide TOKENS


class LargestTensor(TorchDispatchMode):
    """Remembers the largest floating tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.elements = max(self.elements, leaf.numel())
        return result


def head_inputs(dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, Tensor, Tensor]:
    head = nn.Linear(WIDTH, VOCAB, dtype=dtype)
    hidden = torch.randn(TOKENS, WIDTH, dtype=dtype, requires_grad=True)
    return head, hidden, torch.randint(VOCAB, (TOKENS,))


def score(to_logits: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, rows: int) -> Tensor:
    return chunked_logps(hidden, targets, to_logits, vocab_size=VOCAB, chunk_logits=rows * VOCAB)


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

    logps = chunked_logps(hidden, targets, head, vocab_size=VOCAB, chunk_logits=1)

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
        with LargestTensor() as tracker:
            score(head, hidden, targets, rows).sum().backward()
        largest[rows] = tracker.elements

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
