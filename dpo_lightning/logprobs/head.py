"""Token log-probs [N] from hidden states [N, D] and a head [V, D], without a float32 [N, V] tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpo_lightning.compat.torch import has_own_forward
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.statistics import Statistic, TokenLogps
from dpo_lightning.logprobs.tiling import TILING, Tiling
from dpo_lightning.logprobs.transform import HeadProbe
from dpo_lightning.utils.narrow_linear import NarrowLinear
from dpo_lightning.utils.torch_modes import compute_dtype


def logps_from_logits(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the log-probability in nats of `targets[n]` under `softmax(logits[n])`.

    Computed in float32 (float64 for float64 logits): a bfloat16 log-softmax is off by 0.2 nats per 128 tokens.
    """
    return -F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")


def scored_logits(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], statistics: Sequence[Statistic] = ()
) -> TokenLogps:
    """Score tokens from logits that exist, by `logps_from_logits` and the formulas of the statistics."""
    # In this order: a recomputation under checkpointing ends with the last tensor that the backward needs.
    logps = logps_from_logits(logits, targets)
    return TokenLogps(logps, {statistic: statistic.value.of_logits(logits) for statistic in statistics})


def chunked_logps(
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    to_logits: Callable[[Tensor], Tensor],
    *,
    vocab_size: int,
    chunk_logits: int = TILING.logits,
    statistics: Sequence[Statistic] = (),
) -> TokenLogps:
    """Compute token log-probs in nats through a head that is applied chunk by chunk.

    One chunk keeps its logits for the backward. With several, each is recomputed in the backward, which costs one more
    head GEMM and keeps the peak at `chunk_logits` logits whatever `N` is.

    Args:
        hidden: The head's input at the positions that predict a completion token, `[N, D]`, any floating dtype.
        targets: The completion tokens, `[N]`.
        to_logits: The head with whatever the model does to its output; `[n, D] -> [n, V]`.
        vocab_size: `V`, the width of the head's output.
        chunk_logits: Most logits to hold at a time.
        statistics: Statistics to take of the same logits.
    """

    def score(hidden_chunk: Tensor, target_chunk: Tensor) -> TokenLogps:
        return scored_logits(to_logits(hidden_chunk), target_chunk, statistics)

    rows = max(1, chunk_logits // vocab_size)
    if len(targets) <= rows:
        return score(hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    scored = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
    return TokenLogps(
        torch.cat([part.logps for part in scored]),
        {statistic: torch.cat([part.statistics[statistic] for part in scored]) for statistic in statistics},
    )


def logps_through(
    head: nn.Module, probe: HeadProbe, statistics: Sequence[Statistic] = (), tiling: Tiling = TILING
) -> Callable[[Tensor, Tensor], TokenLogps]:
    """Return `(hidden [N, D], targets [N]) -> TokenLogps` through an output embedding, to be called inside its forward.

    A linear layer is computed by `linear_logps`. Anything else, such as a layer with LoRA or in 4 bits, runs as
    it is, in chunks.
    """
    linear = _as_linear(head)
    if linear is None:
        own_forward = head.forward
        return lambda hidden, targets: chunked_logps(
            hidden,
            targets,
            lambda rows: probe.transform(own_forward(rows)),
            vocab_size=probe.vocab_size,
            chunk_logits=tiling.logits,
            statistics=statistics,
        )
    return lambda hidden, targets: linear_logps(
        hidden, *_factors(linear, hidden), targets, probe.transform, statistics=statistics, tiling=tiling
    )


def _as_linear(head: nn.Module) -> nn.Linear | None:
    """Return the head where its forward is a linear layer's and nothing else."""
    if type(head).forward not in {nn.Linear.forward, NarrowLinear.forward} or has_own_forward(head):
        return None
    return cast(nn.Linear, head)


def _factors(linear: nn.Linear, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    if isinstance(linear, NarrowLinear):
        return linear.factors(compute_dtype(hidden))
    return linear.weight, linear.bias
