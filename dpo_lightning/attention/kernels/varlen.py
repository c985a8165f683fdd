"""Causal and windowed attention over the runs of a tree on CUDA: torch's variable-length flash attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.compat.torch import grouped_heads

_MOST_HEAD_DIM = 256
# The flash kernel takes head dimensions that are a multiple of 8.
_STEP = 8


def varlen_fits(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> bool:
    """Return whether the rule is causal or a window, the softmax plain, and the flash kernel takes these tensors."""
    return _flash_takes(query, value) and softmax.is_plain and mask.reach is not None


def _flash_takes(query: Tensor, value: Tensor) -> bool:
    """Return whether these are in half precision on CUDA, with head dimensions of at most 256."""
    return query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and _width(query, value) <= _MOST_HEAD_DIM


def varlen_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    mask: TreeMask,
    softmax: Softmax,
) -> Float[Tensor, "1 L H E"]:
    """Attend in each run as its own sequence, keys gathered; the causal mask is aligned at the last query and key.

    Costs one copy of the keys and values of each run, `2P + C + R` tokens a pair, and nothing that grows with the
    square of a length. No host sync: sizes come from the host, offsets from the batch. Head dimensions that the kernel
    does not take are filled up with zeros, which change no score and no output; `E` may differ from `D`.
    """
    from torch.nn.attention.varlen import varlen_attn

    kernel: Callable[..., Any] = varlen_attn  # the versions of torch differ in its arguments
    assert mask.reach is not None
    tree, width = mask.tree, _width(query, value)
    output = kernel(
        _rows(query, width).contiguous(),
        _rows(key, width).index_select(0, tree.key_index),
        _rows(value, width).index_select(0, tree.key_index),
        tree.query_offsets,
        tree.key_offsets,
        tree.most_queries,
        tree.most_keys,
        scale=softmax.scale,
        # Keys before and after its own that a query sees; -1 is all.
        window_size=(-1 if mask.reach == math.inf else int(mask.reach) - 1, 0),
        **grouped_heads(kernel, query.shape[1], key.shape[1]),
    )
    assert isinstance(output, Tensor)
    return output[..., : value.shape[-1]].unsqueeze(0)


VARLEN = Kernel(varlen_fits, varlen_attention)


def _width(query: Tensor, value: Tensor) -> int:
    """Return the head dimension that the kernel gets."""
    return -(-max(query.shape[-1], value.shape[-1]) // _STEP) * _STEP


def _rows(heads: Float[Tensor, "1 H L D"], width: int) -> Float[Tensor, "L H W"]:
    """Put the tokens first, and zeros behind the head dimension."""
    rows = heads[0].transpose(0, 1)
    missing = width - rows.shape[-1]
    return F.pad(rows, (0, missing)) if missing else rows
