"""The kernels of `gpu.py`: the two ceilings, attention over a tree, and heads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from transformers.masking_utils import causal_mask_function

from benchmarks.compare_models import MODELS
from benchmarks.gpu_job import Job
from benchmarks.gpu_ours import torch_head
from benchmarks.gpu_timing import call_ms
from benchmarks.roofline import count_work, gflops
from dpo_lightning.attention import interface, use_flash_attention_3
from dpo_lightning.attention.kernels import Softmax
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import collate_tree
from dpo_lightning.compat.torch import restore_flash_attention
from dpo_lightning.logprobs.head import logps_from_logits
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.transform import LogitTransform

CHECKED_ROWS = 256
"""Rows of a head that are compared with float64."""


def ceilings(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Bytes a second of a large copy, read and written, and operations a second of a large bfloat16 product."""
    on_gpu = job.device == "cuda"
    source = torch.empty(2**30 if on_gpu else 2**24, dtype=torch.uint8, device=job.device).fill_(1)
    target = torch.empty_like(source)
    copy_ms = call_ms(lambda: target.copy_(source), job.device)
    hidden, _, _, _, inner, _ = MODELS[settings["model"]]
    shapes = [(8192, 8192, 8192), (16384, hidden, inner), (16384, inner, hidden)] if on_gpu else [(256, 256, 256)]
    return {
        "copy_gb_per_s": 2 * source.numel() / copy_ms / 1e6,
        "product_tflops": max(gflops(shape, torch.bfloat16, job.device) for shape in shapes) / 1e3,
    }


def attention(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one layer's attention over the first batch as a tree, forward and backward."""
    if settings["flash"] is None:
        return _attention(job, settings)
    use_flash_attention_3(torch.device(job.device))
    try:
        return {**_attention(job, settings), "kernel": settings["flash"]}
    finally:
        restore_flash_attention()


def _attention(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    examples = job.examples(settings)[: settings["pairs"]]
    hidden, _, heads, groups, _, _ = MODELS[settings["model"]]
    width, tree = hidden // heads, tree_map_only(Tensor, lambda each: each.to(job.device), collate_tree(examples)).tree
    assert tree is not None
    length = tree.position_ids.shape[1]
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, count, length, width, device=job.device, dtype=torch.bfloat16, requires_grad=True)
        for count in (heads, groups, groups)
    )
    mask, softmax = TreeMask(causal_mask_function, tree, torch.device(job.device)), Softmax(width**-0.5)
    kernel = interface._kernel(query, value, mask, softmax)

    def forward() -> Tensor:
        return kernel.attend(query, key, value, mask, softmax)

    output = forward()
    gradient = torch.randn_like(output)
    forward_ms = call_ms(forward, job.device)
    backward_ms = call_ms(
        lambda: torch.autograd.grad(output, (query, key, value), gradient, retain_graph=True), job.device
    )
    # Two products of each query with each key that it sees; the backward has four, beside one that it makes again.
    flops = 4.0 * heads * width * count_work(examples).visible
    return {
        "kernel": kernel.fits.__module__.rpartition(".")[2],
        "tokens": length,
        "forward_ms": forward_ms,
        "backward_ms": backward_ms,
        "forward_tflops": flops / forward_ms / 1e9,
        "backward_tflops": 2 * flops / backward_ms / 1e9,
    }


def head(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds and memory of a head, alone and with its backward, and its errors against float64."""
    hidden_size, *_, vocabulary = MODELS[settings["model"]]
    rows, device = settings["rows"], job.device
    torch.manual_seed(0)
    hidden = torch.randn(rows, hidden_size, device=device, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(vocabulary, hidden_size, device=device, dtype=torch.bfloat16) * hidden_size**-0.5
    weight.requires_grad_(settings["trained"])
    targets = torch.randint(vocabulary, (rows,), device=device)
    score = HEADS[settings["head"]]
    leaves = [hidden, weight] if settings["trained"] else [hidden]

    def alone() -> Tensor:
        with torch.no_grad():
            return score(hidden, weight, targets)

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(score(hidden, weight, targets).sum(), leaves)

    with torch_head() if settings["head"] == "ours-torch" else nullcontext():
        logps, gradient = alone(), both()[0]
        errors = head_errors(hidden.detach(), weight.detach(), targets, logps, gradient)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        figures = {"forward_ms": call_ms(alone, device), "both_ms": call_ms(both, device)}
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    product_flops = 2.0 * rows * hidden_size * vocabulary
    return {**figures, **errors, "cuda_peak_mib": peak, "product_flops": product_flops}


def head_errors(hidden: Tensor, weight: Tensor, targets: Tensor, logps: Tensor, gradient: Tensor) -> dict[str, float]:
    """Relative errors of some log-probs and gradients of hidden states, against float64."""
    some = slice(0, CHECKED_ROWS)
    rows, columns = hidden[some].double().requires_grad_(), weight.double()
    exact = (rows @ columns.T).log_softmax(-1).gather(1, targets[some, None]).squeeze(1)
    (expected,) = torch.autograd.grad(exact.sum(), rows)
    return {
        "logp_error": _relative(logps[some].double(), exact.detach()),
        "gradient_error": _relative(gradient[some].double(), expected),
    }


def _relative(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()


def _ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return linear_logps(hidden, weight, None, targets, LogitTransform()).logps


def _trl(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """TRL's, with what its DPOTrainer asks for."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    outputs = ("log_probs", "entropy", "mean_logits", "is_top1")
    return ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, 32768, None, 1.0, outputs)[0]


def _plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return logps_from_logits(hidden @ weight.T, targets)


HEADS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": _ours,
    "ours-torch": _ours,
    "trl": _trl,
    "plain": _plain,
}
KINDS = {"ceilings": ceilings, "attention": attention, "head": head}
