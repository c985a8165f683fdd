"""Anchored preference optimization on labelled completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.losses.base import Reads, UnpairedObjective
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import UnpairedScores
from dpo_lightning.utils.settings import POSITIVE, require


def apo_zero_unpaired(
    logratio: Float[Tensor, " C"],
    desirable: Bool[Tensor, " C"],
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " C"]:
    r"""Anchored preference optimization, zero, of completions with a label, after arXiv:2408.06266 equation 7.

    .. math:: L = \begin{cases} \lambda_D\,(1 - \sigma(\beta\rho)) & y \text{ desirable} \\
        \lambda_U\,\sigma(\beta\rho) & y \text{ undesirable} \end{cases}

    with `rho` the log-ratio: the two halves of `apo_zero`, which needs no pairs. It is KTO with the reference itself
    for its reference point.

    Args:
        logratio: `[C]`, nats.
        desirable: `[C]`, the labels.
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0.
        desirable_weight: Lambda of the desirable completions, > 0.
        undesirable_weight: Lambda of the undesirable completions, > 0.

    Returns:
        `[C]`, between 0 and the label's lambda; half of it where the log-ratio is 0.
    """
    require_one_shape(logratio, desirable)
    distance = beta * at_least_float32(logratio)
    return torch.where(
        desirable, desirable_weight * torch.sigmoid(-distance), undesirable_weight * torch.sigmoid(distance)
    )


@dataclass(frozen=True)
class APOZeroUnpaired(UnpairedObjective):
    """Anchored preference optimization, zero, of completions with a label, arXiv:2408.06266; reward = beta x log-ratio.

    Use it where the desirable completions are better than the policy's own. It reads no completions of other prompts
    and no mean over batches, so it costs half of KTO and takes any size of batch.

    Args:
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0.
        desirable_weight: Weight of the desirable completions, > 0.
        undesirable_weight: Weight of the undesirable completions, > 0.
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, desirable_weight=POSITIVE, undesirable_weight=POSITIVE)

    def __call__(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return the loss `[C]`, see `apo_zero_unpaired`."""
        return apo_zero_unpaired(
            scores.logratio,
            scores.desirable,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def rewards(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return beta x log-ratio, `[C]`."""
        return self.beta * scores.logratio

    def reference_point(self, scores: UnpairedScores) -> Float[Tensor, ""]:
        """Return 0, the reward of the reference, 0-d."""
        return torch.zeros_like(scores.logratio[:1]).sum().detach()
