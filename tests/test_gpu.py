"""Attention kernels of a GPU, each by itself. On a CPU, bodies run with torch's dense forms; `tests/gpu/` has the rest.

The rest is what a device chooses by itself: heads, whole runs, and what the host waits for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from dpo_lightning.attention import interface, tree_problem
from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.kernels.blocked import BLOCKED
from dpo_lightning.attention.kernels.flex import FLEX, flex_fits
from dpo_lightning.attention.kernels.plain import MASKED
from dpo_lightning.attention.kernels.varlen import VARLEN, varlen_fits
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.logprobs import TokenScorer
from tests.attention.kernels.test_varlen import Kernel as DenseRuns
from tests.attention.rows import (
    ONE_SIDED,
    RAGGED,
    SHORT,
    Heads,
    Segments,
    assert_same,
    causal,
    dense,
    heads,
    relative,
    tree_of,
    visible,
    window,
)
from tests.gpu.devices import every, moved
from tests.helpers.tiny import PAIRS
from tools.docs.architecture_models import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")

LONG = ((150, 140, 300), (1, 1, 1))
LONGEST = ((3000, 300, 280),)
SCALE = 0.05
BOUNDS = {torch.bfloat16: 2.0**-6, torch.float16: 2.0**-8, torch.float32: 1e-5}
SINKS = torch.tensor([0.5, -1.0, 2.0, 0.0])


@pytest.fixture(autouse=True)
def _dense_forms(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a CPU, which has no flash kernel, and whose FlexAttention has gradients where it is not asked about them."""
    if device.type == "cuda":
        yield
        return
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", DenseRuns())
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    with torch._dynamo.config.patch(specialize_float=True):
        yield


def assert_attends(
    device: torch.device,
    kernel: Kernel,
    segments: Segments,
    dtype: torch.dtype,
    rule: Any = causal,
    softmax: Any = (),
    **sizes: int,
) -> None:
    """Output and gradients of a kernel on the device are those of one masked softmax in float64."""
    rounded = heads(segments, **sizes).to(dtype)
    exact = Heads(*(part.detach().double().requires_grad_() for part in rounded))
    rows = Heads(*(part.detach().to(device).requires_grad_() for part in rounded))
    options = dict(softmax)
    mask = TreeMask(rule, moved(tree_of(segments), device), device)
    found = kernel.attend(*rows, mask, Softmax(SCALE, **moved(options, device)))
    expected = dense(exact, visible(segments, rule), SCALE, **options)
    assert_same(found.double().cpu(), expected, rows, BOUNDS[dtype], exact)


@every(
    "kernel, groups, segments",
    [VARLEN, FLEX, BLOCKED, MASKED],
    [1, 2, 4],
    [SHORT, LONG, ONE_SIDED, RAGGED],
    cpu=[(VARLEN, 2, ONE_SIDED), (FLEX, 4, RAGGED), (BLOCKED, 2, SHORT), (MASKED, 1, SHORT)],
)
def test_attention_of_a_tree(device: torch.device, kernel: Kernel, groups: int, segments: Segments) -> None:
    """Every way that a GPU may take, with rejected completions whose keys are more than their queries."""
    assert_attends(device, kernel, segments, torch.bfloat16, groups=groups, width=64)


@every(
    "rule, sizes",
    [causal, window(100), window(1000)],
    [{"width": 100}, {"query_heads": 8, "groups": 1, "width": 128}, {"width": 256}, {"width": 192, "value_width": 128}],
    cpu=[(window(100), {"width": 20}), (window(1000), {"width": 24, "value_width": 16})],
)
def test_flash_attention_of_windows_and_head_dimensions(device: torch.device, rule: Any, sizes: dict[str, int]) -> None:
    query, value = (
        torch.empty(1, 4, 8, sizes.get(key, sizes["width"]), device=device) for key in ("width", "value_width")
    )
    mask = TreeMask(rule, moved(tree_of(LONG), device), device)
    assert varlen_fits(query.bfloat16(), value.bfloat16(), mask, Softmax(SCALE)) == (device.type == "cuda")

    assert_attends(device, VARLEN, LONG, torch.bfloat16, rule, **sizes)


@every(
    "rule, softmax, segments, dtype",
    [causal, window(100)],
    [{}, {"softcap": 2.0}, {"sinks": SINKS}, {"softcap": 2.0, "sinks": SINKS}],
    [LONG, RAGGED],
    list(BOUNDS),
    cpu=[(window(2), {"softcap": 2.0, "sinks": SINKS}, RAGGED, dtype) for dtype in BOUNDS],
)
def test_flex_attention_of_soft_caps_sinks_and_float32(
    device: torch.device, rule: Any, softmax: dict[str, Any], segments: Segments, dtype: torch.dtype
) -> None:
    query = torch.empty(1, 4, 8, 64, device=device, dtype=dtype)
    mask = TreeMask(rule, moved(tree_of(segments), device), device)
    fits = flex_fits(query, query[:, :2], mask, Softmax(SCALE, **moved(softmax, device)))
    assert fits == (device.type == "cuda"), "see the warning in the log"

    assert_attends(device, FLEX, segments, dtype, rule, softmax, width=64)


@every(
    "segments, sizes",
    [LONG],
    [{"width": 100}, {"query_heads": 8, "groups": 1, "width": 256}, {"width": 8}, {"width": 192, "value_width": 128}],
    cpu=[(RAGGED, {"width": 8})],
)
def test_flex_attention_of_head_dimensions(device: torch.device, segments: Segments, sizes: dict[str, int]) -> None:
    assert_attends(device, FLEX, segments, torch.float32, window(100), {"softcap": 2.0}, **sizes)


@every(
    "case, segments",
    [(VARLEN, torch.bfloat16), (FLEX, torch.float32), (BLOCKED, torch.float32)],
    [LONGEST],
    cpu=[((BLOCKED, torch.float32), ((300, 30, 28),))],
)
def test_attention_of_long_runs(device: torch.device, case: tuple[Kernel, torch.dtype], segments: Segments) -> None:
    """Scores of 3,300 keys, which a dense mask of each run and layer would hold for every head."""
    kernel, dtype = case
    assert_attends(device, kernel, segments, dtype, query_heads=8, groups=1, width=64)


MODELS = [
    ("llama", {}, torch.bfloat16, VARLEN),
    ("mistral", {"sliding_window": 5}, torch.bfloat16, VARLEN),
    ("mistral", {"sliding_window": 5}, torch.float32, FLEX),
    ("gemma2", {"sliding_window": 5, "attn_implementation": "eager"}, torch.bfloat16, FLEX),
    ("gpt_oss", {}, torch.bfloat16, FLEX),
]


@every("case", MODELS, cpu=[(MODELS[0],), (MODELS[3],)])
def test_no_model_of_a_known_rule_makes_a_mask_of_tokens(
    device: torch.device, case: tuple[str, dict[str, Any], torch.dtype, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tree, against float32 in separate rows; the self-test agrees."""
    (name, settings, dtype, kernel), calls = case, []

    def attend(*args: Any) -> Any:
        calls.append(args)
        return kernel.attend(*args)

    fits = kernel.fits if device.type == "cuda" else lambda *_: True
    monkeypatch.setattr(interface, "_FASTEST_FIRST", (Kernel(fits, attend),))
    monkeypatch.setattr(TreeMask, "visible", lambda *_: pytest.fail("a mask of tokens"))
    model = tiny_model(name, **settings).to(dtype)
    exact = TokenScorer(copy.deepcopy(model).float())(collate_padded(PAIRS)).logps
    found = TokenScorer(model.to(device))(moved(collate_tree(PAIRS), device)).logps

    assert len(calls) == model.config.num_hidden_layers
    assert relative(found.cpu(), exact) < BOUNDS[dtype]
    assert tree_problem(model) is None
