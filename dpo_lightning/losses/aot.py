"""Alignment via optimal transport: the sorted values of a batch against each other, quantile by quantile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, scaled_logratios
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.numeric import margin, require_one_shape, require_positive, require_share_of_flips
from dpo_lightning.losses.scores import PairScores


def aot_paired(
    policy_margin: Float[Tensor, " P"],
    reference_margin: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " P"]:
    r"""Alignment via optimal transport (AOT) on pairs, arXiv:2406.05882.

    .. math:: L_i = h(u_i - v_{(k)}),
        \quad h(x) = -(1-\varepsilon)\log\sigma(\beta x) - \varepsilon\log\sigma(-\beta x)

    with :math:`u` = log policy(chosen) - log policy(rejected), :math:`k` the rank of :math:`u_i` in the batch and
    :math:`v_{(k)}` the reference's value of that rank: the policy's margins shall dominate the reference's in
    distribution, not pair by pair.

    Args:
        policy_margin: ``[P]``, nats.
        reference_margin: ``[P]``, nats.
        beta: Strength of the pull towards the reference, > 0.
        label_smoothing: The assumed share of flipped labels, in ``[0, 0.5)``.

    Returns:
        ``[P]``; of each pair with the partner that its rank has.
    """
    return dpo(
        policy_margin, _of_equal_rank(policy_margin, reference_margin), beta=beta, label_smoothing=label_smoothing
    )


def aot_unpaired(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " P"]:
    r"""Alignment via optimal transport (AOT) on distributions, arXiv:2406.05882.

    .. math:: L_i = h(\rho_{w,i} - \rho_{l,(k)}),
        \quad h(x) = -(1-\varepsilon)\log\sigma(\beta x) - \varepsilon\log\sigma(-\beta x)

    with :math:`\rho` the log-ratios, :math:`k` the rank of :math:`\rho_{w,i}` among the chosen ones of the batch: the
    chosen completions' rewards shall dominate the rejected ones' in distribution, whoever was paired with whom.

    Args:
        chosen_logratio: ``[P]``, nats.
        rejected_logratio: ``[P]``, nats.
        beta: Strength of the pull towards the reference, > 0.
        label_smoothing: The assumed share of flipped labels, in ``[0, 0.5)``.

    Returns:
        ``[P]``; of each chosen completion with the rejected one that its rank has.
    """
    partner = _of_equal_rank(chosen_logratio, rejected_logratio)
    return dpo(chosen_logratio, partner, beta=beta, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class AOTPaired(Objective):
    """Alignment via optimal transport (AOT) on pairs, arXiv:2406.05882; reward = beta x log-ratio.

    Compares the distributions of the policy's and the reference's margins over the micro-batch, whose size is part of
    the loss: with one pair it is DPO. Take a large one.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.01.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5).
    """

    beta: float = 0.01
    label_smoothing: float = 0.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BATCH

    def __post_init__(self) -> None:
        require_positive("AOTPaired.beta", self.beta)
        require_share_of_flips("AOTPaired.label_smoothing", self.label_smoothing)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`aot_paired`."""
        return aot_paired(
            margin(scores.policy_chosen_logps, scores.policy_rejected_logps),
            margin(scores.reference_chosen_logps, scores.reference_rejected_logps),
            beta=self.beta,
            label_smoothing=self.label_smoothing,
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio."""
        return scaled_logratios(scores, self.beta)


@dataclass(frozen=True)
class AOTUnpaired(Objective):
    """Alignment via optimal transport (AOT) on distributions, arXiv:2406.05882; reward = beta x log-ratio.

    Compares the distributions of the chosen and the rejected log-ratios over the micro-batch, whose size is part of the
    loss: with one pair it is DPO. Take a large one. For chosen and rejected completions that were collected apart.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.01.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5).
    """

    beta: float = 0.01
    label_smoothing: float = 0.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BATCH

    def __post_init__(self) -> None:
        require_positive("AOTUnpaired.beta", self.beta)
        require_share_of_flips("AOTUnpaired.label_smoothing", self.label_smoothing)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`aot_unpaired`."""
        return aot_unpaired(
            scores.chosen_logratio, scores.rejected_logratio, beta=self.beta, label_smoothing=self.label_smoothing
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio."""
        return scaled_logratios(scores, self.beta)


def _of_equal_rank(values: Tensor, others: Tensor) -> Tensor:
    """For each value, the other one that has its rank."""
    require_one_shape(values, others)
    ranks = values.detach().argsort().argsort()
    return others.sort().values[ranks]
