"""What only a GPU shows. Skipped without one; `tests/gpu/` has what a CPU runs too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dpo_lightning import LoRA
from dpo_lightning.attention import interface, tree_problem
from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.kernels.blocked import blocked_attention
from dpo_lightning.attention.kernels.plain import MASKED, masked_attention
from dpo_lightning.attention.kernels.varlen import varlen_attention, varlen_fits
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.logprobs import TokenScorer
from tests.attention.rows import ONE_SIDED, SHORT, assert_same, causal, dense, heads, relative, tree_of, visible
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, tiny_llama

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


CUDA = torch.device("cuda")
LONG = ((150, 140, 300), (1, 1, 1))


def on_gpu(value):
    return tree_map_only(Tensor, lambda tensor: tensor.to(CUDA), value)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_run_starts_at_ln_2_and_learns(tmp_path, precision, lora):
    losses = []
    model = module(lora=lora, lr=1e-2)
    log = model.on_train_batch_end
    model.on_train_batch_end = lambda outputs, *rest: (losses.append(outputs["loss"].item()), log(outputs, *rest))
    trainer(accelerator="gpu", precision=precision, max_steps=12).fit(model, data(tmp_path))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[-1] < 0.6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [collate_padded, collate_tree], ids=["padded", "tree"])
@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_training_step_waits_for_nothing(lora, layout, dtype):
    model = module(lora=lora)
    model.configure_model()
    model.cuda().to(dtype)
    batch, other = on_gpu(layout(PAIRS)), on_gpu(layout(PAIRS[:2]))
    model.training_step(batch, 0).backward()  # probes the head and moves the reference, once
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.training_step(other, 0).backward()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("attention", [varlen_attention, masked_attention, blocked_attention])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("segments", [SHORT, LONG, ONE_SIDED], ids=["short", "long", "one-sided"])
def test_attention_of_a_tree(segments, groups, attention):
    """Every way that a GPU may take, with rejected completions whose keys are more than their queries."""
    exact = heads(segments, groups=groups, width=64)
    rows = on_gpu(exact.to(torch.bfloat16))
    exact = type(exact)(*(tensor.detach().double().cpu().requires_grad_() for tensor in rows))
    rows = type(rows)(*(tensor.detach().requires_grad_() for tensor in rows))
    mask = TreeMask(causal, on_gpu(tree_of(segments)), CUDA)
    assert varlen_fits(rows.query, rows.value, mask, Softmax(0.05))

    found = attention(*rows, mask, Softmax(0.05))

    assert_same(found.double().cpu(), dense(exact, visible(segments), 0.05), rows, 2.0**-6, exact)


def test_half_precision_models_use_the_flash_kernel(monkeypatch):
    calls = []

    def counted(*args):
        calls.append(args)
        return varlen_attention(*args)

    monkeypatch.setattr(interface, "_FASTEST_FIRST", (Kernel(varlen_fits, counted), MASKED))
    model = tiny_llama().to(CUDA, torch.bfloat16)
    exact = TokenScorer(tiny_llama().to(torch.bfloat16).double())(collate_padded(PAIRS)).logps
    found = TokenScorer(model)(on_gpu(collate_tree(PAIRS))).logps
    used = len(calls)

    assert used == model.config.num_hidden_layers
    assert relative(found.cpu(), exact) < 2.0**-7
    assert tree_problem(model) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_heads_gradient_is_the_same_each_time(dtype):
    """The head's gradient adds the rows of equal tokens in a fixed order; attention kernels may not."""
    model, batch = tiny_llama().to(CUDA, dtype), on_gpu(collate_tree(PAIRS))
    score, parameters = TokenScorer(model), list(model.parameters())
    first, second = (torch.autograd.grad(score(batch).logps.sum(), parameters) for _ in range(2))

    assert torch.equal(score(batch).logps, score(batch).logps)
    head = [name for name, _ in model.named_parameters()].index("lm_head.weight")
    assert torch.equal(first[head], second[head])
