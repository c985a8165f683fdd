"""Kahneman-Tversky Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.losses.base import Observation, Reads, UnpairedObjective, baseline_of
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import UnpairedScores
from dpo_lightning.utils.settings import POSITIVE, require


def kto(
    logratio: Float[Tensor, " C"],
    desirable: Bool[Tensor, " C"],
    *,
    kl: Float[Tensor, ""],
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " C"]:
    r"""Kahneman-Tversky Optimization (KTO), arXiv:2402.01306 equation 8.

    .. math:: L = \lambda_y - v(x, y), \quad v = \begin{cases}
        \lambda_D\, \sigma(\beta (\rho - z_0)) & y \text{ desirable} \\
        \lambda_U\, \sigma(\beta (z_0 - \rho)) & y \text{ undesirable} \end{cases}

    with `rho` the log-ratio and `z_0` the reference point, an estimate of the KL divergence that has no gradient. The
    value saturates with the distance from the reference point, so a completion that cannot be learned, such as one with
    a wrong label, loses its gradient.

    Args:
        logratio: `[C]`, nats.
        desirable: `[C]`, the labels.
        kl: The reference point z_0, 0-d, nats, at least 0.
        beta: How fast the value saturates, > 0. Smaller lets the policy move further.
        desirable_weight: Lambda of the desirable completions, > 0.
        undesirable_weight: Lambda of the undesirable completions, > 0.

    Returns:
        `[C]`, between 0 and the label's lambda; half of it where the log-ratio is the reference point.
    """
    require_one_shape(logratio, desirable)
    distance = beta * (at_least_float32(logratio) - at_least_float32(kl))
    # lambda - lambda x sigmoid(x) = lambda x sigmoid(-x), which keeps its digits where sigmoid(x) rounds to 1.
    return torch.where(
        desirable, desirable_weight * torch.sigmoid(-distance), undesirable_weight * torch.sigmoid(distance)
    )


@dataclass(frozen=True)
class KTO(UnpairedObjective):
    """Kahneman-Tversky Optimization (KTO), arXiv:2402.01306; reward = beta x log-ratio.

    For completions with a label, one or several of a prompt. It is robust to wrong labels, and slow on hard ones. The
    reference point is the mean log-ratio of the batch's prompts, each with one completion of another prompt, at least
    0. Batches of fewer than 8 prompts over all ranks make it noisy; the paper takes 32. The best learning rate is 2 to
    10 times that of DPO.

    Args:
        beta: How fast the value saturates, > 0; the paper uses 0.1, less after fine-tuning on the same data, and up to
            0.5 for a policy that is aligned already.
        desirable_weight: Weight of the desirable completions, > 0. The paper keeps both at 1 for balanced data, and
            otherwise this weight x their number within 1 to 1.5 times that of the undesirable ones (equation 9; its
            first version says 4/3). The DataModule reports both numbers.
        undesirable_weight: Weight of the undesirable completions, > 0.

    Example:
        >>> import torch
        >>> from dpo_lightning.losses import KTO
        >>> from dpo_lightning.losses.scores import Baseline, UnpairedScores
        >>> scores = UnpairedScores(
        ...     policy_logps=torch.tensor([-8.0, -13.0]),
        ...     reference_logps=torch.tensor([-10.0, -11.0]),
        ...     lengths=torch.tensor([4, 5]),
        ...     desirable=torch.tensor([True, False]),
        ...     baseline=Baseline(batch=torch.tensor(0.0), running=torch.tensor(0.0)),
        ... )
        >>> KTO(beta=0.5)(scores)  # sigmoid(-0.5 x 2), twice
        tensor([0.2689, 0.2689])
        >>> KTO(beta=0.5).rewards(scores)
        tensor([ 1., -1.])
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.MISMATCHED | Reads.BASELINE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, desirable_weight=POSITIVE, undesirable_weight=POSITIVE)

    def __call__(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return the loss `[C]`, see `kto`; the KL estimate is that of the batch on all ranks."""
        return kto(
            scores.logratio,
            scores.desirable,
            kl=_kl(scores),
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def rewards(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return beta x log-ratio, `[C]`."""
        return self.beta * scores.logratio

    def reference_point(self, scores: UnpairedScores) -> Float[Tensor, ""]:
        """Return beta x the KL estimate, 0-d."""
        return self.beta * _kl(scores)

    def observe(self, scores: UnpairedScores) -> Observation:
        """Return the log-ratios of the mismatched completions, `[P]`, whose mean is that of this batch alone.

        Raises:
            ValueError: without mismatched log-probs.
        """
        if scores.policy_mismatched_logps is None or scores.reference_mismatched_logps is None:
            raise ValueError("the loss reads completions of other prompts: give the scores' mismatched log-probs")
        return Observation((scores.policy_mismatched_logps - scores.reference_mismatched_logps).detach(), momentum=0.0)


def _kl(scores: UnpairedScores) -> Float[Tensor, ""]:
    return baseline_of(scores).batch.clamp(min=0)
