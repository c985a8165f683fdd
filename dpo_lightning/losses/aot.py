"""Alignment via optimal transport: losses that compare two distributions over the batch, quantile by quantile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import Reads, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.precision import margin, require_one_shape
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, SHARE_OF_FLIPS, require


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

    with `u` = log policy(chosen) - log policy(rejected), `k` the rank of `u_i` in the batch and `v_k` the reference's
    margin of the same rank. The loss asks the policy's margins to dominate the reference's in distribution, not pair by
    pair.

    Args:
        policy_margin: `[P]`, nats.
        reference_margin: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        label_smoothing: The assumed share of flipped labels, in `[0, 0.5)`.

    Returns:
        `[P]`; the loss of each pair's margin against the reference's margin of equal rank.
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

    with `rho` the log-ratios and `k` the rank of `rho_wi` among the chosen completions of the batch. The loss asks the
    chosen completions' rewards to dominate the rejected ones' in distribution, whatever the pairing.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        label_smoothing: The assumed share of flipped labels, in `[0, 0.5)`.

    Returns:
        `[P]`; the loss of each chosen completion against the rejected one of equal rank.
    """
    partner = _of_equal_rank(chosen_logratio, rejected_logratio)
    return dpo(chosen_logratio, partner, beta=beta, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class AOTPaired(BetaObjective):
    """Alignment via optimal transport (AOT) on pairs, arXiv:2406.05882; reward = beta x log-ratio.

    Compares the distributions of the policy's and the reference's margins over the micro-batch. The size of the
    micro-batch is part of the loss: with one pair it is DPO, so use a large one.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.01.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5).
    """

    beta: float = 0.01
    label_smoothing: float = 0.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BATCH

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, label_smoothing=SHARE_OF_FLIPS)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `aot_paired`."""
        return aot_paired(
            margin(scores.policy_chosen_logps, scores.policy_rejected_logps),
            margin(scores.reference_chosen_logps, scores.reference_rejected_logps),
            beta=self.beta,
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True)
class AOTUnpaired(BetaObjective):
    """Alignment via optimal transport (AOT) on distributions, arXiv:2406.05882; reward = beta x log-ratio.

    Compares the distributions of the chosen and the rejected log-ratios over the micro-batch, for chosen and rejected
    completions that were collected apart. The size of the micro-batch is part of the loss: with one pair it is DPO, so
    use a large one.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.01.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5).
    """

    beta: float = 0.01
    label_smoothing: float = 0.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BATCH

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, label_smoothing=SHARE_OF_FLIPS)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `aot_unpaired`."""
        return aot_unpaired(*logratios(scores), beta=self.beta, label_smoothing=self.label_smoothing)


def _of_equal_rank(values: Tensor, others: Tensor) -> Tensor:
    """Return, for each value `[P]`, the one of the others that has the same rank."""
    require_one_shape(values, others)
    ranks = values.detach().argsort().argsort()
    return others.sort().values[ranks]
