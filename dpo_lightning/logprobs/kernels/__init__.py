"""Kernels of a linear head, under one signature: log-probs of N tokens, and gradients, without [N, V] in float32.

    scan(head, hidden [N, D], targets [N], wanted, tiling) -> Scan

`PLAIN` computes in PyTorch, on any device and in any dtype, and is what the other is tested against. `FUSED` keeps each
tile of logits in a GPU's cache and reads it once, by Triton.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.logprobs.statistics import Statistic
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform


class LinearHead(NamedTuple):
    """A head whose logits are `transform(hidden @ weight.T + bias)`.

    Attributes:
        weight: `[V, D]`, in any floating dtype.
        bias: `[V]`, or None.
        transform: A scale and a soft-cap.
    """

    weight: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"] | None
    transform: LogitTransform


class Wanted(NamedTuple):
    """Purposes of a scan.

    Attributes:
        hidden: Whether the hidden states get a gradient.
        head: Whether weight or bias get one.
        statistics: What is taken of each distribution beside the log-prob.
    """

    hidden: bool
    head: bool
    statistics: Sequence[Statistic]


class HeadBackward(ABC):
    """State of a scan for the gradients of the head."""

    @abstractmethod
    def release(self) -> Sequence[Tensor]:
        """Hand over the large tensors that `head_gradients` needs, so that autograd frees them after the backward."""

    @abstractmethod
    def head_gradients(
        self, released: Sequence[Tensor], grad_logps: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, "V D"], Float[Tensor, " V"] | None]:
        """Return the gradients of weight and bias, in their dtypes.

        Args:
            released: What `release` has returned.
            grad_logps: The gradient of the loss with respect to the log-probs.
        """


class Scan(NamedTuple):
    """Findings of a pass over the vocabulary.

    Attributes:
        logps: Nats, `[N]`, float32 (float64 for a float64 model).
        statistics: Values `[N]` in the order in which they were wanted, in the dtype of `logps`.
        gradient: Of `logps[n]` with respect to `hidden[n]`, `[N, D]` in the dtype of `logps`; None if not wanted.
        backward: For the gradients of the head; holds nothing of the above.
    """

    logps: Float[Tensor, " N"]
    statistics: Sequence[Float[Tensor, " N"]]
    gradient: Float[Tensor, "N D"] | None
    backward: HeadBackward


class HeadKernel(NamedTuple):
    """A way to compute a head; see the module's signature."""

    scan: Callable[[LinearHead, Tensor, Tensor, Wanted, Tiling], Scan]
