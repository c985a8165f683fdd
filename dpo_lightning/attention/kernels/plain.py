"""Attention over the runs of a tree for any rule, with soft-cap, sinks and dropout; a mask for each run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.mask import TreeMask


def masked_fits(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> bool:
    """Return True: this kernel follows every rule."""
    return True


def masked_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    mask: TreeMask,
    softmax: Softmax,
) -> Float[Tensor, "1 L H E"]:
    """Attend from each run to its keys, as far as the mask's rule makes them visible."""
    outputs = []
    for run in mask.runs:
        queries, keys, values = query[:, :, run.start : run.end], run.gather(key), run.gather(value)
        visible = mask.visible(run)
        if softmax.softcap is None and softmax.sinks is None:
            output = F.scaled_dot_product_attention(
                queries, keys, values, visible, softmax.dropout, scale=softmax.scale, enable_gqa=True
            )
        else:
            probabilities = _probabilities(queries, keys, visible, softmax)
            output = F.dropout(probabilities, softmax.dropout) @ _expanded(values, query.shape[1])
        outputs.append(output)
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


MASKED = Kernel(masked_fits, masked_attention)


def _probabilities(
    query: Float[Tensor, "1 H Q D"],
    key: Float[Tensor, "1 G K D"],
    visible: Bool[Tensor, "Q K"],
    softmax: Softmax,
) -> Float[Tensor, "1 H Q K"]:
    scores = query @ _expanded(key, query.shape[1]).transpose(-1, -2) * softmax.scale
    if softmax.softcap is not None:
        scores = softmax.softcap * torch.tanh(scores / softmax.softcap)
    scores = scores.masked_fill(~visible, -torch.inf)
    if softmax.sinks is not None:
        sinks = softmax.sinks.view(1, -1, 1, 1).expand(1, -1, query.shape[2], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(-1, dtype=wide)[..., : key.shape[2]].to(query.dtype)


def _expanded(shared: Float[Tensor, "1 G K D"], heads: int) -> Float[Tensor, "1 H K D"]:
    return shared.repeat_interleave(heads // shared.shape[1], dim=1)
