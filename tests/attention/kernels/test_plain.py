"""Attention by any rule against one masked softmax over the row, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dpo_lightning.attention.kernels import Softmax
from dpo_lightning.attention.kernels.blocked import blocked_attention
from dpo_lightning.attention.kernels.plain import masked_attention
from dpo_lightning.attention.rules import Rule
from tests.attention.rows import (
    ONE_SIDED,
    SHORT,
    Heads,
    assert_same,
    causal,
    chunk,
    dense,
    heads,
    mask_of,
    relative,
    visible,
    window,
)

SCALE = 0.3
OPTIONS = [{}, {"softcap": 2.0}, {"sinks": True}, {"softcap": 2.0, "sinks": True}]


def drawn(options: dict[str, Any]) -> dict[str, Any]:
    """The sinks of four heads, where there are any."""
    if "sinks" not in options:
        return options
    return {**options, "sinks": torch.randn(4, dtype=torch.float64, requires_grad=True)}


def attention(rows: Heads, rule: Rule = causal, **options: Any) -> Tensor:
    return masked_attention(*rows, mask_of(SHORT, rule), Softmax(SCALE, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", [causal, window(2), window(3), chunk(2), chunk(4)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_rule_and_option(groups: int, rule: Rule, options: dict[str, Any]) -> None:
    rows, options = heads(SHORT, groups=groups), drawn(options)
    leaves = [*rows, *([options["sinks"]] if "sinks" in options else [])]

    assert_same(attention(rows, rule, **options), dense(rows, visible(SHORT, rule), SCALE, **options), leaves, 1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", [causal, window(2)])
def test_completions_without_tokens(rule: Rule, options: dict[str, Any]) -> None:
    rows, options = heads(ONE_SIDED), drawn(options)
    found = masked_attention(*rows, mask_of(ONE_SIDED, rule), Softmax(SCALE, **options))

    assert_same(found, dense(rows, visible(ONE_SIDED, rule), SCALE, **options), rows, 1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_of_another_width(options: dict[str, Any]) -> None:
    rows, options = heads(SHORT, width=6, value_width=10), drawn(options)

    assert_same(attention(rows, **options), dense(rows, visible(SHORT), SCALE, **options), rows, 1e-13)


def test_equals_the_blocks_on_a_causal_rule() -> None:
    rows = heads(SHORT)

    assert_same(attention(rows), blocked_attention(*rows, mask_of(SHORT), Softmax(SCALE)), rows, 1e-13)


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2.0**-4), (torch.float16, 2.0**-7)], ids=str
)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_other_dtypes(options: dict[str, Any], dtype: torch.dtype, bound: float, autocast: bool) -> None:
    """Of the same rounded inputs; half precision rounds the scores too where torch's own attention is not used."""
    if autocast and dtype == torch.float32:
        bound = 2.0**-4
    rows, options = heads(SHORT).to(dtype), drawn(options)
    doubles = rows.to(torch.float64)
    narrow = {name: value.to(dtype) if isinstance(value, Tensor) else value for name, value in options.items()}

    with torch.autocast("cpu", torch.float16 if dtype == torch.float16 else torch.bfloat16, enabled=autocast):
        found = attention(rows, window(3), **narrow)

    expected = dense(doubles, visible(SHORT, window(3)), SCALE, **options)
    assert_same(found.double(), expected, rows, bound, doubles)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_dropout_zeroes_probabilities_at_its_rate(options: dict[str, Any]) -> None:
    """Values that are unit vectors show the probabilities; those that stay grow by 1 / (1 - rate)."""
    segments, rate = ((0, 40),), 0.25
    rows = heads(segments, groups=4)
    rows = Heads(rows.query, rows.key, torch.eye(40, dtype=torch.float64).expand(1, 4, 40, 40))
    options = drawn(options)
    mask = mask_of([(39, 1)])

    found = masked_attention(*rows, mask, Softmax(SCALE, dropout=rate, **options)).detach()

    kept = dense(rows, visible(segments), SCALE, **options).detach() / (1 - rate)
    seen = visible(segments)[None, :, None, :].expand_as(found)
    dropped = seen & (found == 0)
    # 3280 draws: the standard error is 0.0076.
    assert dropped.sum() / seen.sum() == pytest.approx(rate, abs=0.03)
    assert relative(found[~dropped], kept[~dropped]) < 1e-12


def test_without_dropout_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    rows = heads(SHORT)
    torch.set_rng_state(before)

    for options in OPTIONS:
        attention(rows, **{**options, **({"sinks": torch.zeros(4).double()} if "sinks" in options else {})})

    assert torch.equal(torch.get_rng_state(), before)
