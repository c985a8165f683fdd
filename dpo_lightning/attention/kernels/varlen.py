"""Causal attention over the runs of a tree on CUDA: torch's variable-length flash attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.compat.torch import grouped_heads

_MOST_HEAD_DIM = 256


def varlen_fits(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> bool:
    """Return whether the rule is causal, the softmax plain, and the flash kernel takes these tensors."""
    return _flash_takes(query, value) and softmax.is_plain and mask.is_causal


def _flash_takes(query: Tensor, value: Tensor) -> bool:
    """Return whether these are in half precision on CUDA, with equal head dimensions of at most 256."""
    same_width = query.shape[-1] == value.shape[-1] <= _MOST_HEAD_DIM
    return query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and same_width


def varlen_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L D"],
    mask: TreeMask,
    softmax: Softmax,
) -> Float[Tensor, "1 L H D"]:
    """Attend in each run as its own sequence, keys gathered; the causal mask is aligned at the last query and key.

    Costs one copy of the keys and values of each run, `2P + C + R` tokens a pair, and nothing that grows with the
    square of a length. No host sync: sizes come from the host, offsets from the batch.
    """
    from torch.nn.attention.varlen import varlen_attn

    kernel: Callable[..., Any] = varlen_attn  # the versions of torch differ in its arguments
    tree = mask.tree
    output = kernel(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1).index_select(0, tree.key_index),
        value[0].transpose(0, 1).index_select(0, tree.key_index),
        tree.query_offsets,
        tree.key_offsets,
        max(run.queries for run in mask.runs),
        max(run.length for run in mask.runs),
        scale=softmax.scale,
        window_size=(-1, 0),
        **grouped_heads(kernel, query.shape[1], key.shape[1]),
    )
    assert isinstance(output, Tensor)
    return output.unsqueeze(0)


VARLEN = Kernel(varlen_fits, varlen_attention)
