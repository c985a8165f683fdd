"""hidden [N, D] x head [V, D] -> token log-probs [N], without a float32 [N, V] tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpo_lightning.compat.torch import has_own_forward
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.transform import HeadProbe

CHUNK_LOGITS = 2**26
"""Logits alive at a time, 256 MiB in float32: large enough for full GEMM speed, small beside any model."""


class TokenStatistics(NamedTuple):
    """Of each scored token, without a graph.

    Attributes:
        entropy: Entropy of the distribution that the token is scored under, in nats, float32.
        is_top1: Whether no token is likelier.
    """

    entropy: Float[Tensor, " N"]
    is_top1: Bool[Tensor, " N"]


def logps_from_logits(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Log-probability in nats of ``targets[n]`` under ``softmax(logits[n])``.

    Computed in float32 (float64 for float64 logits): a bfloat16 log-softmax is off by 0.2 nats per 128 tokens.
    """
    return -F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")


def collisions_from_logits(logits: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """``log sum_v p_v^2`` under ``softmax(logits[n])``, in float32 at least, without a graph."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return torch.linalg.vector_norm(logits.detach().softmax(-1, dtype=wide), dim=-1).log_().mul_(2)


def chunked_logps(
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    to_logits: Callable[[Tensor], Tensor],
    *,
    vocab_size: int,
    chunk_logits: int = CHUNK_LOGITS,
    collisions: bool = False,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"] | None]:
    """Token log-probs in nats through a head that is applied chunk by chunk.

    One chunk keeps its logits for the backward. With several, each is recomputed in the backward, which costs one more
    head GEMM and keeps the peak at ``chunk_logits`` logits whatever ``N`` is.

    Args:
        hidden: The head's input at the positions that predict a completion token, ``[N, D]``, any floating dtype.
        targets: The completion tokens, ``[N]``.
        to_logits: The head with whatever the model does to its output; ``[n, D] -> [n, V]``.
        vocab_size: ``V``, the width of the head's output.
        chunk_logits: Most logits to hold at a time.
        collisions: Whether to give :func:`collisions_from_logits` of the same logits as well.

    Returns:
        Log-probs ``[N]``, float32 (float64 for a float64 model); collisions ``[N]``, or None where they are not asked.
    """

    def score(hidden_chunk: Tensor, target_chunk: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = to_logits(hidden_chunk)
        # In this order: a recomputation ends with the last tensor that the backward needs.
        return logps_from_logits(logits, target_chunk), collisions_from_logits(logits) if collisions else None

    rows = max(1, chunk_logits // vocab_size)
    if len(targets) <= rows:
        return score(hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    scored = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
    logps, log_collisions = zip(*scored, strict=True)
    return torch.cat(logps), torch.cat(log_collisions) if collisions else None


def logps_through(
    head: nn.Module, probe: HeadProbe, *, collisions: bool = False
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """Token log-probs in nats through an output embedding of any kind, to be called inside its forward.

    A linear layer is computed by :func:`linear_logps`. Anything else, such as a layer with LoRA or in 4 bits, runs as
    it is, in chunks. With `collisions`, ``log sum_v p_v^2`` of each token's distribution comes second, else None.
    """
    linear = _as_linear(head)
    if linear is None:
        to_logits = _logits_through(head, probe)
        return lambda hidden, targets: chunked_logps(
            hidden, targets, to_logits, vocab_size=probe.vocab_size, collisions=collisions
        )
    return lambda hidden, targets: linear_logps(
        hidden, linear.weight, linear.bias, targets, probe.transform, collisions=collisions
    )


def _as_linear(head: nn.Module) -> nn.Linear | None:
    """The head where its forward is a linear layer's and nothing else."""
    if type(head).forward is not nn.Linear.forward or has_own_forward(head):
        return None
    return cast(nn.Linear, head)


def _logits_through(head: nn.Module, probe: HeadProbe) -> Callable[[Tensor], Tensor]:
    own_forward = head.forward
    return lambda hidden: probe.transform(own_forward(hidden))


def statistics_through(head: nn.Module, probe: HeadProbe) -> Callable[[Tensor, Tensor], TokenStatistics]:
    """The same for :func:`token_statistics`."""
    to_logits = _logits_through(head, probe)
    return lambda hidden, targets: token_statistics(hidden, targets, to_logits, vocab_size=probe.vocab_size)


def token_statistics(
    hidden: Float[Tensor, "N D"], targets: Int[Tensor, " N"], to_logits: Callable[[Tensor], Tensor], *, vocab_size: int
) -> TokenStatistics:
    """Entropy, and whether the target is the likeliest token, in chunks as :func:`chunked_logps`."""
    rows = max(1, CHUNK_LOGITS // vocab_size)
    parts = []
    for hidden_chunk, target_chunk in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = to_logits(hidden_chunk)
        logps = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        likeliest = logps.amax(-1)
        is_top1 = logps.gather(-1, target_chunk.unsqueeze(-1)).squeeze(-1) == likeliest
        parts.append((torch.special.entr(logps.exp_()).sum(-1), is_top1))
    return TokenStatistics(*(torch.cat(column) for column in zip(*parts, strict=True)))
