"""Causal attention in blocks against one masked softmax over the row, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpo_lightning.attention.kernels import Softmax, blocked
from dpo_lightning.attention.kernels.blocked import blocked_attention
from tests.attention.rows import (
    ONE_SIDED,
    RAGGED,
    SHORT,
    Heads,
    Segments,
    assert_same,
    dense,
    heads,
    mask_of,
    relative,
    visible,
)
from tests.helpers.watching import Tensors

SCALE = 0.3
LONG = ((150, 140, 300),)
"""Prompt and completions beyond a block of 128."""


def attention(rows: Heads, segments: Segments = SHORT) -> Tensor:
    return blocked_attention(*rows, mask_of(segments), Softmax(SCALE))


@pytest.mark.parametrize("segments", [SHORT, RAGGED], ids=["pairs", "ragged"])
@pytest.mark.parametrize("block", [1, 3, 4, 128])
@pytest.mark.parametrize(("query_heads", "groups"), [(4, 4), (4, 2), (6, 2), (3, 1)])
def test_short_runs(
    query_heads: int, groups: int, block: int, segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "_BLOCK", block)
    monkeypatch.setattr(blocked, "_future", blocked._future.__wrapped__)
    rows = heads(segments, query_heads, groups)

    assert_same(attention(rows, segments), dense(rows, visible(segments), SCALE), rows, 1e-13)


@pytest.mark.parametrize(
    "segments",
    [
        LONG,
        ((128, 128, 1),),
        ((300, 1, 1),),
        ((1, 129, 127),),
        ((1, 1, 1), (130, 2, 260)),
        ((100, 50, 0),),
        ONE_SIDED,
        RAGGED,
        ((90, 20, 10, 30, 200, 3), (2, 1, 126, 1)),
    ],
    ids=[
        "beyond a block",
        "a block",
        "long prompt",
        "one token's prompt",
        "two pairs",
        "long, one-sided",
        "one-sided",
        "ragged",
        "branches that join",
    ],
)
def test_runs_of_several_blocks(segments: Segments) -> None:
    rows = heads(segments, query_heads=2, groups=1, width=4)

    assert_same(attention(rows, segments), dense(rows, visible(segments), SCALE), rows, 1e-13)


@pytest.mark.parametrize("value_width", [2, 12])
def test_values_of_another_width(value_width: int) -> None:
    rows = heads(SHORT, width=6, value_width=value_width)

    assert_same(attention(rows), dense(rows, visible(SHORT), SCALE), rows, 1e-13)


def test_rows_in_memory_as_models_have_them() -> None:
    """``[1, L, H, D]`` transposed, which projections are, and expanded gradients, which sums have."""
    rows = Heads(*(tensor.detach().transpose(1, 2).contiguous().transpose(1, 2) for tensor in heads(SHORT)))
    for tensor in rows:
        tensor.requires_grad_()
    expected = torch.autograd.grad(dense(rows, visible(SHORT), SCALE).sum(), rows)

    for one, other in zip(torch.autograd.grad(attention(rows).sum(), rows), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_only_some_inputs_need_gradients() -> None:
    rows = heads(SHORT)
    fixed = Heads(rows.query, rows.key.detach(), rows.value)

    assert_same(attention(fixed), dense(fixed, visible(SHORT), SCALE), (rows.query, rows.value), 1e-13)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2.0**-6), (torch.float16, 2.0**-9)], ids=str
)
@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_other_dtypes(segments: Segments, dtype: torch.dtype, bound: float) -> None:
    """Of the same rounded inputs; half precision rounds the probabilities, the products and the sums over blocks."""
    rows = heads(segments).to(dtype)
    doubles = rows.to(torch.float64)
    found = attention(rows, segments)

    assert found.dtype == dtype
    assert_same(found.double(), dense(doubles, visible(segments), SCALE), rows, bound, doubles)


def test_large_scores_do_not_overflow() -> None:
    rows = Heads(*(1e2 * tensor for tensor in heads(SHORT)))
    narrow = rows.to(torch.float32)

    found = attention(narrow)

    assert relative(found, dense(rows, visible(SHORT), SCALE)) < 1e-4
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), narrow))


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_scores_of_half_precision_inputs_are_float32(autocast: bool) -> None:
    """Scores of up to 100 rounded to bfloat16 are off by 0.4: their softmax is another one. Autocast would do that."""
    rows = Heads(*(3 * tensor for tensor in heads(SHORT))).to(torch.bfloat16)
    exact = dense(rows, visible(SHORT), SCALE)
    scores = (rows.query[0] * SCALE) @ rows.key[0].repeat_interleave(2, 0).transpose(1, 2)
    rounded = scores.masked_fill(~visible(SHORT), -torch.inf).double().softmax(-1)
    with_rounded_scores = (rounded @ rows.value[0].double().repeat_interleave(2, 0)).transpose(0, 1)[None]

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = attention(rows)

    assert relative(found, exact) < 2.0**-8
    assert relative(with_rounded_scores, exact) > 8 * relative(found, exact)


def test_a_backward_inside_autocast_is_the_same() -> None:
    rows = heads(SHORT).to(torch.bfloat16)
    expected = torch.autograd.grad(attention(rows).sum(), rows)

    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(attention(rows).sum(), rows)

    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_inference_first_does_not_spoil_training() -> None:
    """What the block's size alone decides is made once, perhaps in inference mode."""
    blocked._future.cache_clear()
    with torch.inference_mode():
        rows = heads(SHORT)
        attention(rows)

    rows = heads(SHORT)
    assert_same(attention(rows), dense(rows, visible(SHORT), SCALE), rows, 1e-13)


@pytest.mark.parametrize("length", [256, 1024])
def test_memory_is_that_of_one_block(length: int) -> None:
    segments = ((length, length, length),)
    rows = heads(segments, query_heads=2, groups=1, width=4).to(torch.float32)
    with Tensors() as seen:
        attention(rows, segments).sum().backward()

    # Two heads of 128 queries; or the row of queries and its gradient.
    assert seen.largest <= max(2 * 128 * 2 * length, 2 * 3 * length * 4)
