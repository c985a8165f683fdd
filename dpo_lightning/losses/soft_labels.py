"""Losses of pairs with a preference probability or a true reward margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, Reads, Rewards, column_of, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, margin, require_one_shape
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, require


def soft_label_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    probability: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""DPO with soft labels: the cross-entropy with a preference probability, as cDPO in arXiv:2409.06691.

    .. math:: L = -p \log\sigma(\beta\Delta) - (1 - p) \log\sigma(-\beta\Delta)

    with `Delta` the chosen minus the rejected log-ratio. The minimum is at `sigma(beta Delta) = p`.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        probability: `[P]`, the probability that the chosen completion is the better one, in `[0, 1]`.
        beta: Strength of the pull towards the reference, > 0.

    Returns:
        `[P]`; ln 2 where the two log-ratios are equal.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    require_one_shape(scaled_margin, probability)
    return -probability * F.logsigmoid(scaled_margin) - (1 - probability) * F.logsigmoid(-scaled_margin)


@dataclass(frozen=True)
class SoftLabelDPO(BetaObjective, MarginObjective):
    """DPO with soft labels, arXiv:2409.06691; reward = beta x log-ratio.

    Use it for pairs with a probability that the chosen completion is better, from several annotators or a reward model.
    The margin stops growing where the policy agrees with that probability. Name the column in
    `data.format.probability`.

    Args:
        beta: Strength of the pull towards the reference, > 0; as in DPO.
    """

    beta: float = 0.1
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.PROBABILITY
    scales_with_beta: ClassVar[bool] = True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `soft_label_dpo`."""
        probability = column_of(scores, "probability")
        return soft_label_dpo(*logratios(scores), probability, beta=self.beta)


def distilled_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    true_margin: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Reward model distillation (distilled DPO), arXiv:2405.19316.

    .. math:: L = \left(r^*(y_w) - r^*(y_l) - \beta\Delta\right)^2

    with `Delta` the chosen minus the rejected log-ratio and `r*` the reward of a reward model.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        true_margin: `[P]`, reward of the chosen completion minus that of the rejected one.
        beta: Units of reward for a nat of log-ratio, > 0.

    Returns:
        `[P]`; the square of the true margin where the two log-ratios are equal.
    """
    implicit = beta * margin(chosen_logratio, rejected_logratio)
    return margin(implicit, true_margin).square()


@dataclass(frozen=True)
class DistilledDPO(BetaObjective, MarginObjective):
    """Reward model distillation (distilled DPO), arXiv:2405.19316; reward = beta x log-ratio.

    Use it for pairs that a reward model has scored. The policy's implicit reward is fitted to the model's, so that it
    has a finite target, where DPO's grows for ever. Name the column, or the two scores, in `data.format.margin`.

    Args:
        beta: Units of reward for a nat of log-ratio, > 0; it depends on the scale of the reward.
    """

    beta: float = 0.1
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.MARGIN

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `distilled_dpo`."""
        true_margin = column_of(scores, "margin")
        return distilled_dpo(*logratios(scores), true_margin, beta=self.beta)


def reward_aware_kl(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    true_margin: Float[Tensor, " P"],
    *,
    beta: float,
    eta: float,
) -> Float[Tensor, " P"]:
    r"""Reward-aware preference optimization with the backward KL, arXiv:2502.00203 and arXiv:2406.11704.

    .. math:: L = \sigma(b) \log\frac{\sigma(b)}{\sigma(a)} + \sigma(-b) \log\frac{\sigma(-b)}{\sigma(-a)}, \quad
        a = \beta\Delta, \; b = \eta\,(r^*(y_w) - r^*(y_l))

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        true_margin: `[P]`, reward of the chosen completion minus that of the rejected one.
        beta: Strength of the pull towards the reference, > 0.
        eta: Scale of the true reward, > 0.

    Returns:
        `[P]`, nats; 0 where the policy's preference is the true reward's.
    """
    implicit, explicit = _both_margins(chosen_logratio, rejected_logratio, true_margin, beta, eta)
    chosen_better = explicit.sigmoid() * (F.logsigmoid(explicit) - F.logsigmoid(implicit))
    return chosen_better + (-explicit).sigmoid() * (F.logsigmoid(-explicit) - F.logsigmoid(-implicit))


def reward_aware_squared(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    true_margin: Float[Tensor, " P"],
    *,
    beta: float,
    eta: float,
) -> Float[Tensor, " P"]:
    r"""Reward-aware preference optimization with the squared distance, arXiv:2502.00203.

    .. math:: L = \tfrac{1}{2}(a - b)^2, \quad a = \beta\Delta, \; b = \eta\,(r^*(y_w) - r^*(y_l))

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        true_margin: `[P]`, reward of the chosen completion minus that of the rejected one.
        beta: Strength of the pull towards the reference, > 0.
        eta: Scale of the true reward, > 0.

    Returns:
        `[P]`; 0 where the margins are equal.
    """
    implicit, explicit = _both_margins(chosen_logratio, rejected_logratio, true_margin, beta, eta)
    return (implicit - explicit).square() / 2


def _both_margins(chosen: Tensor, rejected: Tensor, true_margin: Tensor, beta: float, eta: float) -> Rewards:
    implicit = beta * margin(chosen, rejected)
    require_one_shape(implicit, true_margin)
    return implicit, eta * at_least_float32(true_margin)


@dataclass(frozen=True)
class RewardAwareKL(BetaObjective, MarginObjective):
    """Reward-aware preference optimization (RPO, backward KL), arXiv:2502.00203; reward = beta x log-ratio.

    Use it for pairs that a reward model has scored, as in Nemotron-4 (arXiv:2406.11704): a small difference between two
    good completions is learnt as a small one. Name the column, or the two scores, in `data.format.margin`.

    Args:
        beta: Strength of the pull towards the reference, > 0; as in DPO.
        eta: Scale of the true reward, > 0: nats of preference for a unit of it; Nemotron-4 uses 1.
    """

    beta: float = 0.1
    eta: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.MARGIN

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, eta=POSITIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `reward_aware_kl`."""
        return reward_aware_kl(*logratios(scores), column_of(scores, "margin"), beta=self.beta, eta=self.eta)


@dataclass(frozen=True)
class RewardAwareSquared(BetaObjective, MarginObjective):
    """Reward-aware preference optimization (RPO, squared distance), arXiv:2502.00203; reward = beta x log-ratio.

    Differs from `RewardAwareKL` in a gradient that grows with the distance; with eta 1, half of `DistilledDPO`.

    Args:
        beta: Strength of the pull towards the reference, > 0; as in DPO.
        eta: Scale of the true reward, > 0: nats of preference for a unit of it.
    """

    beta: float = 0.1
    eta: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.MARGIN

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, eta=POSITIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `reward_aware_squared`."""
        return reward_aware_squared(*logratios(scores), column_of(scores, "margin"), beta=self.beta, eta=self.eta)
