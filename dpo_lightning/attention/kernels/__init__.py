"""Kernels of the tree layout, under one signature: how a packed row is attended.

    attend(query [1, H, L, D], key [1, G, L, D], value [1, G, L, E], mask, softmax) -> [1, L, H, E]
    fits(query, value, mask, softmax) -> whether the kernel computes exactly that, on this device and in this dtype

`H` query heads share `G` key and value heads in groups of `H / G`. A kernel that does not fit must not be called: it
would leave out what it does not know. `plain` fits everything; the others are faster or smaller where they fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.attention.mask import TreeMask


class Softmax(NamedTuple):
    """Settings that turn the products of queries and keys into probabilities.

    Attributes:
        scale: Factor of the products.
        dropout: Rate of dropout on the probabilities.
        softcap: `c` of `c tanh(score / c)` (Gemma 2).
        sinks: Score of a key without a value, per head, that takes part in the softmax (GPT-OSS).
    """

    scale: float
    dropout: float = 0.0
    softcap: float | None = None
    sinks: Float[Tensor, " H"] | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether the probabilities are `softmax(scale x query @ key^T)` and nothing else."""
        return not self.dropout and self.softcap is None and self.sinks is None


class Kernel(NamedTuple):
    """A way to attend, and the test whether it fits."""

    fits: Callable[[Tensor, Tensor, TreeMask, Softmax], bool]
    attend: Callable[[Tensor, Tensor, Tensor, TreeMask, Softmax], Tensor]
