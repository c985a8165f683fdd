"""Triton kernels that turn a tile of raw logits into what the next product of a head wants, one program a row.

A row of a tile is one block, held in registers: it is read once and written once. Both kernels are operators of torch,
`dpo_lightning::fold_tile` and `dpo_lightning::coefficients_of_tile`, so that profilers, fake tensors and counters of
traffic see them with their tensors.
"""
# ruff: noqa: ANN001, ANN202, N803, PLR0913, PLR0917, SIM102 - a kernel is given pointers, sizes, and constants in capitals
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SHIFT, TOTAL, SQUARES, TARGET = range(4)
"""Rows of `state [4, N]`: the largest logit so far, `sum e` and `sum e^2` of `e = exp(z - shift)`, and `z_y`."""

_LOGITS_A_WARP = 512
_WIDTH_BLOCK = 1024


def _kernel(function: Callable[..., None]) -> Any:
    """Compile a function: the one that was written, where a checker of types has wrapped it."""
    return triton.jit(inspect.unwrap(function), do_not_specialize=["count"])


@_kernel
def _logits_of_row(raw, bias, inside, scale, softcap, BIASED: tl.constexpr, CAPPED: tl.constexpr):
    logits = tl.load(raw, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        logits += tl.load(bias, mask=inside, other=0.0).to(tl.float32)
    logits *= scale
    if CAPPED:
        # tanh(x) = 2 sigmoid(2 x) - 1 overflows on neither side.
        logits = softcap * (2 * tl.sigmoid(2 * logits / softcap) - 1)
    return tl.where(inside, logits, -float("inf"))


@_kernel
def _sloped(values, logits, softcap, CAPPED: tl.constexpr):
    if CAPPED:
        ratio = logits / softcap
        values *= 1 - ratio * ratio
    return values


@_kernel
def _fold(
    raw,
    bias,
    targets,
    state,
    weighted,
    shifts,
    start,
    width,
    count,
    stride,
    scale,
    softcap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    SQUARED: tl.constexpr,
    WRITTEN: tl.constexpr,
    KEPT: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    inside = place < width
    line = raw + row.to(tl.int64) * stride + place
    logits = _logits_of_row(line, bias + start + place, inside, scale, softcap, BIASED, CAPPED)
    before = tl.load(state + row)
    shift = tl.maximum(before, tl.max(logits, 0))
    decay = tl.exp(before - shift)
    exponentials = tl.exp(logits - shift)
    tl.store(state + row, shift)
    total = state + count + row
    tl.store(total, tl.load(total) * decay + tl.sum(exponentials, 0))
    if SQUARED:
        squares = state + 2 * count + row
        tl.store(squares, tl.load(squares) * decay * decay + tl.sum(exponentials * exponentials, 0))
    target = tl.load(targets + row) - start
    if (target >= 0) & (target < width):
        tl.store(state + 3 * count + row, tl.sum(tl.where(place == target, logits, 0.0), 0))
    if KEPT:
        tl.store(shifts + row, shift)
    if WRITTEN:
        exponentials = _sloped(exponentials, logits, softcap, CAPPED)
        tl.store(line, exponentials.to(raw.dtype.element_ty), mask=inside)
    # A shift moves in the first few tiles and seldom after: the sum of all tiles before is not read for the others.
    if HIDDEN > 0:
        if (decay < 1.0) & (start > 0):
            columns = tl.arange(0, WIDTH_BLOCK)
            sums = weighted + row.to(tl.int64) * HIDDEN + columns
            for first in range(0, HIDDEN, WIDTH_BLOCK):
                known = first + columns < HIDDEN
                tl.store(sums + first, tl.load(sums + first, mask=known, other=0.0) * decay, mask=known)


@_kernel
def _coefficients(
    source,
    bias,
    targets,
    log_total,
    target_slope,
    shifts,
    written,
    start,
    width,
    stride,
    written_stride,
    scale,
    softcap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    KEPT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    inside = place < width
    line = source + row.to(tl.int64) * stride + place
    total = tl.load(log_total + row)
    if KEPT:
        exponentials = tl.load(line, mask=inside, other=0.0).to(tl.float32)
        probabilities = exponentials * tl.exp(tl.load(shifts + row) - total)
    else:
        logits = _logits_of_row(line, bias + start + place, inside, scale, softcap, BIASED, CAPPED)
        probabilities = _sloped(tl.exp(logits - total), logits, softcap, CAPPED)
    is_target = place == tl.load(targets + row) - start
    coefficients = tl.where(is_target, tl.load(target_slope + row), 0.0) - probabilities
    place_written = written + row.to(tl.int64) * written_stride + place
    tl.store(place_written, coefficients.to(written.dtype.element_ty), mask=inside)


_OPERATORS = torch.library.Library("dpo_lightning", "FRAGMENT")
_OPERATORS.define(
    "fold_tile(Tensor(a!) raw, Tensor? bias, Tensor targets, Tensor(b!) state, Tensor(c!)? weighted, "
    "Tensor(d!)? shifts, int start, float scale, float? softcap, bool squared, bool written) -> ()"
)
_OPERATORS.define(
    "coefficients_of_tile(Tensor source, Tensor? bias, Tensor targets, Tensor log_total, Tensor target_slope, "
    "Tensor? shifts, Tensor(a!) written, int start, float scale, float? softcap) -> ()"
)


def fold_tile(
    raw: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    state: Tensor,
    weighted: Tensor | None,
    shifts: Tensor | None,
    start: int,
    scale: float,
    softcap: float | None,
    squared: bool,
    written: bool,
) -> None:
    """Add a tile to the sums of its rows.

    Args:
        raw: The tile `hidden @ weight.T`, `[n, T]` with rows of a power of two of elements, all of which may be
            overwritten; becomes `exp(z - shift)` times the slope of the soft-cap where `written`.
        bias: `[V]`.
        targets: `[n]`.
        state: `[4, n]` in float32, rows as named above; a view of the columns of a larger one.
        weighted: `[n, D]` in float32, sums of the tiles before, which take on the new shift.
        shifts: `[n]` in float32, where the shift of this tile is kept.
        start: The token of the tile's first column.
        scale: Factor of the logits.
        softcap: Of the logits.
        squared: Whether `sum e^2` is wanted.
        written: Whether `raw` is.
    """
    rows, width = raw.shape
    block = raw.stride(0)
    with torch.cuda.device_of(raw):
        _fold[(rows,)](
            raw,
            raw if bias is None else bias,
            targets,
            state,
            state if weighted is None else weighted,
            state if shifts is None else shifts,
            start,
            width,
            state.stride(0),
            block,
            scale,
            softcap or 1.0,
            BIASED=bias is not None,
            CAPPED=softcap is not None,
            SQUARED=squared,
            WRITTEN=written,
            KEPT=shifts is not None,
            HIDDEN=0 if weighted is None else weighted.shape[1],
            BLOCK=block,
            WIDTH_BLOCK=_WIDTH_BLOCK,
            num_warps=_warps(block),
        )


def coefficients_of_tile(
    source: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    log_total: Tensor,
    target_slope: Tensor,
    shifts: Tensor | None,
    written: Tensor,
    start: int,
    scale: float,
    softcap: float | None,
) -> None:
    """Write `(1[v = y] - p_v)` times the slope of the soft-cap: the weights of the rows in the head's gradient.

    The difference is rounded, not its parts, which a token that is nearly certain would not survive.

    Args:
        source: Raw logits `[n, T]` where `shifts` is None, else what `fold_tile` has written.
        bias: `[V]`.
        targets: `[n]`.
        log_total: `log sum exp z`, `[n]` in float32.
        target_slope: The slope of the soft-cap at the target's logit, `[n]` in float32.
        shifts: Shift of each row when its tile was folded, `[n]` in float32.
        written: Memory like `source`, which it may be.
        start: The token of the tile's first column.
        scale: Factor of the logits.
        softcap: Of the logits.
    """
    rows, width = source.shape
    block = source.stride(0)
    with torch.cuda.device_of(source):
        _coefficients[(rows,)](
            source,
            source if bias is None else bias,
            targets,
            log_total,
            target_slope,
            log_total if shifts is None else shifts,
            written,
            start,
            width,
            block,
            written.stride(0),
            scale,
            softcap or 1.0,
            BIASED=bias is not None,
            CAPPED=softcap is not None,
            KEPT=shifts is not None,
            BLOCK=block,
            num_warps=_warps(block),
        )


def _warps(block: int) -> int:
    """Return warps of a program: enough that a thread holds 16 logits."""
    return min(max(block // _LOGITS_A_WARP, 1), 16)


for _operator in (fold_tile, coefficients_of_tile):
    _OPERATORS.impl(_operator.__name__, _operator, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dpo_lightning::{_operator.__name__}", lambda *_: None, lib=_OPERATORS)
