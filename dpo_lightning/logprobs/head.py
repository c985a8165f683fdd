"""hidden [N, D] x head [V, D] -> token log-probs [N], without a float32 [N, V] tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.transform import HeadProbe

CHUNK_LOGITS = 2**26
"""Logits alive at a time, 256 MiB in float32: large enough for full GEMM speed, small beside any model."""


def logps_from_logits(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Log-probability in nats of ``targets[n]`` under ``softmax(logits[n])``.

    Computed in float32 (float64 for float64 logits): a bfloat16 log-softmax is off by 0.2 nats per 128 tokens.
    """
    return -F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")


def chunked_logps(
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    to_logits: Callable[[Tensor], Tensor],
    *,
    vocab_size: int,
    chunk_logits: int = CHUNK_LOGITS,
) -> Float[Tensor, " N"]:
    """Token log-probs in nats through a head that is applied chunk by chunk.

    One chunk keeps its logits for the backward. With several, each is recomputed in the backward, which costs one more
    head GEMM and keeps the peak at ``chunk_logits`` logits whatever ``N`` is.

    Args:
        hidden: The head's input at the positions that predict a completion token, ``[N, D]``, any floating dtype.
        targets: The completion tokens, ``[N]``.
        to_logits: The head with whatever the model does to its output; ``[n, D] -> [n, V]``.
        vocab_size: ``V``, the width of the head's output.
        chunk_logits: Most logits to hold at a time.

    Returns:
        ``[N]``, float32 (float64 for a float64 model).
    """
    rows = max(1, chunk_logits // vocab_size)

    def score(hidden_chunk: Tensor, target_chunk: Tensor) -> Tensor:
        return logps_from_logits(to_logits(hidden_chunk), target_chunk)

    if len(targets) <= rows:
        return score(hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks])


def head_logps(
    head: nn.Module, hidden: Float[Tensor, "N D"], targets: Int[Tensor, " N"], probe: HeadProbe
) -> Float[Tensor, " N"]:
    """Token log-probs in nats through an output embedding of any kind.

    A linear layer is computed by :func:`linear_logps`, inside a call of the module, where a sharded weight is whole.
    Anything else, such as a layer with LoRA or in 4 bits, runs as it is, in chunks.
    """
    if not _is_linear(head):
        return chunked_logps(hidden, targets, lambda rows: probe.transform(head(rows)), vocab_size=probe.vocab_size)
    linear = cast(nn.Linear, head)
    vars(head)["forward"] = lambda rows: linear_logps(rows, linear.weight, linear.bias, targets, probe.transform)
    try:
        return head(hidden)
    finally:
        del vars(head)["forward"]


def _is_linear(head: nn.Module) -> bool:
    return type(head).forward is nn.Linear.forward and "forward" not in vars(head)
