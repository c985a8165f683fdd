"""Attention over the runs of a tree for any rule, with soft-cap, sinks and dropout; a mask for each run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.attention.mask import TreeMask


def masked_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    mask: TreeMask,
    scale: float,
    *,
    dropout: float = 0.0,
    softcap: float | None = None,
    sinks: Float[Tensor, " H"] | None = None,
) -> Float[Tensor, "1 L H E"]:
    """Attention of each run to its keys, as far as the mask's rule makes them visible.

    Args:
        query: All queries of the row.
        key: All keys; each of the ``G`` heads serves ``H / G`` query heads.
        value: All values.
        mask: The rule, and the runs.
        scale: Factor of the scores.
        dropout: Rate of dropout on the probabilities.
        softcap: ``c`` of ``c tanh(score / c)`` (Gemma 2).
        sinks: Score of a key without a value, per head, that takes part in the softmax (GPT-OSS).
    """
    outputs = []
    for run in (run for run in mask.runs if run.queries):
        queries, keys, values = query[:, :, run.start : run.end], run.gather(key), run.gather(value)
        visible = mask.visible(run)
        if softcap is None and sinks is None:
            output = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=visible, dropout_p=dropout, scale=scale, enable_gqa=True
            )
        else:
            probabilities = _probabilities(queries, keys, visible, scale, softcap, sinks)
            output = F.dropout(probabilities, dropout) @ _expanded(values, query.shape[1])
        outputs.append(output)
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _probabilities(
    query: Float[Tensor, "1 H Q D"],
    key: Float[Tensor, "1 G K D"],
    visible: Bool[Tensor, "Q K"],
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Float[Tensor, "1 H Q K"]:
    scores = query @ _expanded(key, query.shape[1]).transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, -1, query.shape[2], 1)], dim=-1)
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(-1, dtype=wide)[..., : key.shape[2]].to(query.dtype)


def _expanded(shared: Float[Tensor, "1 G K D"], heads: int) -> Float[Tensor, "1 H K D"]:
    return shared.repeat_interleave(heads // shared.shape[1], dim=1)
