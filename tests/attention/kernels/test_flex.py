"""FlexAttention over a packed row, on a CPU, where torch computes it densely; `tests/test_gpu.py` runs the kernel."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dpo_lightning.attention import interface
from dpo_lightning.attention.kernels import Kernel, Softmax, flex
from dpo_lightning.attention.kernels.flex import flex_attention, flex_fits
from dpo_lightning.attention.kernels.plain import masked_attention
from dpo_lightning.attention.rules import Rule
from dpo_lightning.batch import collate_tree
from dpo_lightning.compat.torch import compiled
from dpo_lightning.logprobs import TokenScorer
from tests.attention.rows import (
    ONE_SIDED,
    RAGGED,
    SHORT,
    Segments,
    assert_same,
    causal,
    chunk,
    dense,
    heads,
    mask_of,
    visible,
    window,
)
from tests.helpers.tiny import PAIRS
from tools.docs.architecture_models import tiny_model

SCALE = 0.3
LONG = ((150, 140, 300), (1, 1, 1), (20, 3, 0, 90))
"""More than two blocks of 128, and branches that begin and end inside one."""

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")


@pytest.fixture(autouse=True)
def _dense(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch refuses gradients on a CPU, for the sake of its compiler; the dense computation has them."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    with torch._dynamo.config.patch(specialize_float=True):
        yield


def drawn(options: dict[str, Any]) -> dict[str, Any]:
    """With sinks as many as heads."""
    count = options.get("sinks")
    sinks = {} if count is None else {"sinks": torch.randn(count, dtype=torch.float64, requires_grad=True)}
    return {**options, **sinks}


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (causal, {}),
        (window(3), {"softcap": 2.0}),
        (causal, {"sinks": 4}),
        (window(3), {"softcap": 2.0, "sinks": 4}),
    ],
    ids=["causal", "soft-cap, window", "sinks", "all"],
)
@pytest.mark.parametrize("segments", [ONE_SIDED, RAGGED], ids=["one-sided", "ragged"])
def test_against_a_masked_softmax(segments: Segments, rule: Rule, options: dict[str, Any]) -> None:
    rows, options = heads(segments, groups=2, width=12, value_width=20), drawn(options)
    leaves = [*rows, *([options["sinks"]] if "sinks" in options else [])]
    softmax, mask = Softmax(SCALE, **options), mask_of(segments, rule)
    expected = dense(rows, visible(segments, rule), SCALE, **options)

    assert_same(flex_attention(*rows, mask, softmax), expected, leaves, 1e-12)
    assert_same(flex_attention(*rows, mask, softmax), masked_attention(*rows, mask, softmax), leaves, 1e-12)


def test_in_float32_over_several_blocks() -> None:
    exact = heads(LONG, query_heads=8, groups=1, width=16)
    rows = exact.to(torch.float32)
    expected = dense(exact, visible(LONG, window(100)), SCALE)

    found = flex_attention(*rows, mask_of(LONG, window(100)), Softmax(SCALE))

    assert_same(found.double(), expected, rows, 2e-6, exact)


@pytest.mark.parametrize("rule", [causal, window(3), window(129), window(300)])
@pytest.mark.parametrize("segments", [RAGGED, LONG, ((384, 128),)], ids=["ragged", "long", "whole blocks"])
def test_blocks_are_those_of_the_whole_table(segments: Segments, rule: Rule) -> None:
    """A block is left out where no token of it is seen, and needs no rule where all of it is."""
    seen = visible(segments, rule)
    length = len(seen)
    count = -(-length // 128)
    tiles = nn.functional.pad(seen, (0, 128 * count - length) * 2).view(count, 128, count, 128)

    mask = mask_of(segments, rule)
    some, whole = flex._blocks(flex._sight(mask.tree, mask.reach or 0))
    blocks = flex._block_mask(mask.tree, mask.reach or 0)

    assert torch.equal(some, tiles.any(3).any(1))
    assert torch.equal(whole, tiles.all(3).all(1))
    assert torch.equal(blocks.to_dense()[0, 0].bool(), some)
    places = torch.arange(length)
    zero = torch.tensor(0)
    assert torch.equal(blocks.mask_mod(zero, zero, places[:, None], places), seen)


def test_one_list_of_blocks_for_the_layers_of_policy_and_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one more for layers of another rule; the next batch has its own."""
    made = []
    monkeypatch.setattr(flex, "_block_mask", lambda tree, reach: made.append(reach))
    monkeypatch.setattr(flex, "_attend", lambda query, key, value, *_: query)
    rows = heads(SHORT)
    first = mask_of(SHORT, window(3))
    policy = [interface.TreeMask(rule, first.tree, torch.device("cpu")) for rule in (window(3), causal)]
    reference = [interface.TreeMask(rule, first.tree, torch.device("cpu")) for rule in (window(3), causal)]

    for mask in [*policy, *policy, *reference]:
        flex_attention(*rows, mask, Softmax(SCALE))
    assert made == [3, float("inf")]
    flex_attention(*rows, mask_of(SHORT, window(3)), Softmax(SCALE))
    assert made == [3, float("inf"), 3]


def test_no_table_of_tokens_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor on the way to the list of blocks has a row for each token and a column for each block."""
    mask = mask_of([(3000, 300, 300)])
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            sizes.extend([result.numel()] if isinstance(result, Tensor) else [])
            return result

    with Sizes():
        flex._block_mask(mask.tree, 1000.0)

    assert max(sizes) == 29 * 128 * 29


@pytest.mark.parametrize(("name", "settings"), [("gemma2", {"sliding_window": 5}), ("gpt_oss", {})])
def test_a_model_with_a_soft_cap_or_sinks(name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny_model(name, **settings), collate_tree(PAIRS)
    score, parameters = TokenScorer(model), list(model.parameters())
    expected = score(batch).logps
    calls = []
    monkeypatch.setattr(flex, "_attend", lambda *args, attend=flex._attend: calls.append(args) or attend(*args))
    monkeypatch.setattr(interface, "_FASTEST_FIRST", (Kernel(lambda *_: True, flex_attention),))
    found = score(batch).logps

    assert len(calls) == 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    pairs = zip(*(torch.autograd.grad(each.sum(), parameters) for each in (found, expected)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_one_graph_for_all_lengths_and_one_for_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the attention that a compiled layer leaves out; two lengths make the graph of every length."""
    graphs = []
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend=lambda module, _: graphs.append(module) or module)
    )
    monkeypatch.setattr(flex, "_attend", compiled(flex._attend))
    torch._dynamo.reset()

    @torch.compiler.disable
    def graphs_after(prompt: int, softmax: Softmax) -> int:
        segments = ((prompt, 50, 60),)
        rows = heads(segments, width=16)
        expected = dense(rows, visible(segments), softmax.scale, softcap=softmax.softcap)
        assert_same(flex_attention(*rows, mask_of(segments), softmax), expected, rows, 1e-12)
        return len(graphs)

    plain, capped, other = (
        [graphs_after(prompt, softmax) for prompt in (20, 160, 290, 150)]
        for softmax in (Softmax(0.3), Softmax(0.3, softcap=2.0), Softmax(0.2, softcap=3.0))
    )

    assert plain == [1, 2, 2, 2]
    assert capped == [3] * 4
    assert other == [4] * 4


@pytest.mark.parametrize(
    ("dtype", "width", "softmax", "rule", "fits"),
    [
        (torch.float32, 64, Softmax(SCALE), causal, True),
        (torch.bfloat16, 256, Softmax(SCALE, softcap=50.0), window(3), True),
        (torch.float64, 64, Softmax(SCALE), causal, False),
        (torch.float32, 320, Softmax(SCALE), causal, False),
        (torch.float32, 64, Softmax(SCALE, dropout=0.1), causal, False),
        (torch.float32, 64, Softmax(SCALE), chunk(3), False),
    ],
    ids=["float32", "soft-cap, window", "float64", "wide", "dropout", "chunk"],
)
def test_what_the_kernel_takes(
    dtype: torch.dtype, width: int, softmax: Softmax, rule: Rule, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flex, "_runs", lambda heads: heads.softcap == softmax.softcap)
    with FakeTensorMode():
        query, value = (torch.empty(1, count, 10, width, device="cuda", dtype=dtype) for count in (4, 2))

    assert flex_fits(query, value, mask_of(SHORT, rule), softmax) is fits
    assert not flex_fits(torch.empty(1, 4, 10, 64), torch.empty(1, 2, 10, 64), mask_of(SHORT), Softmax(SCALE))


@pytest.mark.parametrize("problem", [None, "no C compiler"])
def test_the_kernel_is_tried_once_for_each_kind_of_heads(
    problem: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lengths = []

    def attend(query: Tensor, *_: Any) -> Tensor:
        lengths.append(query.shape[2])
        if problem:
            raise RuntimeError(problem)
        return query

    monkeypatch.setattr(flex, "_attend", attend)
    tried = flex._Heads(torch.device("cpu"), torch.float32, 4, 2, 16, 16, 2.0, torch.bfloat16)
    flex._runs.cache_clear()
    with caplog.at_level(logging.WARNING), torch.no_grad():
        answers = [flex._runs(tried), flex._runs(tried)]
    flex._runs.cache_clear()

    assert answers == [problem is None] * 2
    assert lengths == ([350] if problem else [350, 550])
    assert ("FlexAttention does not run here: no C compiler" in caplog.text) is (problem is not None)
