"""Attention of a tree by the kernel that is chosen on a device, against one masked softmax in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from dpo_lightning.attention import interface, tree_problem
from dpo_lightning.attention.kernels import Softmax
from dpo_lightning.attention.kernels.plain import MASKED
from dpo_lightning.attention.mask import Rule, TreeMask
from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.logprobs import TokenScorer
from tests.attention.rows import Heads, assert_same, causal, chunk, dense, heads, relative, tree_of, visible, window
from tests.gpu.devices import moved
from tests.helpers.tiny import PAIRS

SEGMENTS = ((70, 60, 130), (1, 1, 1), (5, 40, 0))


class Case(NamedTuple):
    """Heads, a rule and a softmax."""

    width: int = 64
    query_heads: int = 4
    groups: int = 2
    dtype: torch.dtype = torch.bfloat16
    rule: Rule = causal
    softcap: float | None = None
    sinks: bool = False


CASES = {
    "head dim 100": Case(width=100),
    "head dim 36, one group a head": Case(width=36, groups=4),
    "GQA 8:1": Case(query_heads=8, groups=1),
    "float16": Case(dtype=torch.float16),
    "float32": Case(dtype=torch.float32),
    "float32, window": Case(dtype=torch.float32, rule=window(16)),
    "window": Case(rule=window(16)),
    "window of two": Case(rule=window(2)),
    "window that hides nothing": Case(rule=window(4096)),
    "chunks": Case(rule=chunk(16)),
    "soft-cap": Case(softcap=3.0),
    "soft-cap, window": Case(softcap=3.0, rule=window(16)),
    "sinks": Case(sinks=True),
    "sinks, window, GQA 8:1": Case(query_heads=8, groups=1, sinks=True, rule=window(16)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_chosen_kernel_is_exact(case: Case, device: torch.device) -> None:
    wide = heads(SEGMENTS, case.query_heads, case.groups, case.width)
    rows = Heads(*(each.detach().to(device, case.dtype).requires_grad_() for each in wide))
    exact = Heads(*(each.detach().double().cpu().requires_grad_() for each in rows))
    sinks = torch.linspace(-1, 2, case.query_heads) if case.sinks else None
    mask = TreeMask(case.rule, moved(tree_of(SEGMENTS), device), device)
    softmax = Softmax(case.width**-0.5, softcap=case.softcap, sinks=None if sinks is None else sinks.to(device))

    kernel = interface._kernel(rows.query, rows.value, mask, softmax)
    found = kernel.attend(*rows, mask, softmax).double().cpu()

    expected = dense(exact, visible(SEGMENTS, case.rule), softmax.scale, softcap=case.softcap, sinks=sinks)
    bound = 1e-3 if case.dtype == torch.float32 else 2.0**-6  # on a GPU, products of float32 may be TF32
    assert_same(found, expected, rows, bound, exact)
    if device.type == "cuda":
        # Chunks are no window: on a GPU a rule that cannot be read costs a mask of every query and key.
        assert (kernel is MASKED) == (case is CASES["chunks"])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mistral", {"sliding_window": 4}),
        ("mistral", {"sliding_window": 4096}),
        # transformers 5.17 gives Gemma 2 another attention by default, which leaves the soft-cap out.
        ("gemma2", {"sliding_window": 4, "query_pre_attn_scalar": 16, "head_dim": 16, "attn_implementation": "eager"}),
    ],
    ids=["a window", "a window that hides nothing", "soft-caps and windows"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_models_score_a_tree_as_padded_rows(
    kind: str, settings: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    shape = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    config = AutoConfig.for_model(kind, **{**sizes, **shape, **settings, "pad_token_id": None})
    exact = AutoModelForCausalLM.from_config(config).to(dtype).double()
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(exact.state_dict())
    model.to(device, dtype)

    assert tree_problem(model) is None
    expected = TokenScorer(exact)(collate_padded(PAIRS)).logps
    found = TokenScorer(model)(moved(collate_tree(PAIRS), device)).logps
    assert relative(found.cpu(), expected) < (1e-3 if dtype == torch.float32 else 2.0**-6)


def test_a_long_prompt_and_its_gradients(device: torch.device) -> None:
    """Completions of 3 tokens after a prompt of 1,500: the causal masks stand at the last key, not at the first."""
    from tests.helpers.tiny import tiny_llama

    pairs = [TokenizedExample.pair(0, [1, *range(3, 63)] * 24, [8, 9, 2], [11, 2]), *PAIRS]
    model = tiny_llama(max_position_embeddings=4096).to(device, torch.bfloat16)
    exact = tiny_llama(max_position_embeddings=4096).to(torch.bfloat16).double()

    found = TokenScorer(model)(moved(collate_tree(pairs), device)).logps
    expected = TokenScorer(exact)(collate_padded(pairs)).logps
    found.sum().backward()
    expected.sum().backward()

    assert relative(found.cpu(), expected) < 2.0**-6
    assert relative(model.lm_head.weight.grad.cpu(), exact.lm_head.weight.grad) < 2.0**-5
