"""Contrastive Preference Optimization, alone and joined with SimPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, logps_per_token, policy_and_lengths
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.precision import at_least_float32
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.losses.sft import sft
from dpo_lightning.losses.simpo import simpo
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, require


def cpo(
    chosen_logps: Float[Tensor, " P"], rejected_logps: Float[Tensor, " P"], *, beta: float, nll_weight: float
) -> Float[Tensor, " P"]:
    r"""Contrastive Preference Optimization, arXiv:2401.08417 equation 3 plus the likelihood term.

    .. math:: L = -\log\sigma(\beta\log\pi(y_w|x) - \beta\log\pi(y_l|x)) - \lambda\log\pi(y_w|x)

    This is DPO with a uniform reference, and the likelihood of the chosen completion as the regulariser. The paper has
    `lambda = 1` and the summed likelihood; its code takes the mean over tokens instead.

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        beta: Scale of the reward, > 0.
        nll_weight: Weight `lambda` of the likelihood, >= 0.

    Returns:
        `[P]`, nats.
    """
    return dpo(chosen_logps, rejected_logps, beta=beta) - nll_weight * at_least_float32(chosen_logps)


def cpo_simpo(
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    gamma_beta_ratio: float,
    nll_weight: float,
) -> Float[Tensor, " P"]:
    r"""SimPO (arXiv:2405.14734) with CPO's likelihood term (arXiv:2401.08417), https://github.com/fe1ixxu/CPO_SIMPO.

    .. math:: L = L_{SimPO} - \frac{\lambda}{|y_w|}\log\pi(y_w|x)

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.
        beta: As in `simpo`.
        gamma_beta_ratio: As in `simpo`.
        nll_weight: Weight `lambda` of the likelihood per token, >= 0.

    Returns:
        `[P]`, nats.
    """
    preference = simpo(
        chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta=beta, gamma_beta_ratio=gamma_beta_ratio
    )
    return preference + nll_weight * sft(chosen_logps, chosen_lengths)


@dataclass(frozen=True)
class CPO(Objective):
    """Contrastive Preference Optimization, arXiv:2401.08417; reward = beta x log-prob.

    Needs no reference: the likelihood of the chosen completions keeps the policy near good text. It was made for
    machine translation, where both completions are good.

    Args:
        beta: Scale of the reward, > 0; the paper uses 0.1.
        nll_weight: Weight of the chosen completion's negative log-likelihood, >= 0; the paper uses 1.
        nll_per_token: Take the likelihood per token, as the paper's code does, instead of the paper's sum.
    """

    beta: float = 0.1
    nll_weight: float = 1.0
    nll_per_token: bool = False

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, nll_weight=NOT_NEGATIVE)

    @property
    def reads(self) -> Reads:
        """The likelihood, and the lengths if it is taken per token."""
        return Reads.LIKELIHOOD | Reads.LENGTHS if self.nll_per_token else Reads.LIKELIHOOD

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `cpo`; per token, `sft` takes the place of the sum."""
        sums = scores.policy_chosen_logps, scores.policy_rejected_logps
        if not self.nll_per_token:
            return cpo(*sums, beta=self.beta, nll_weight=self.nll_weight)
        return dpo(*sums, beta=self.beta) + self.nll_weight * sft(sums[0], scores.chosen_lengths)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x log-prob of the chosen and of the rejected completions, each `[P]`."""
        return self.beta * scores.policy_chosen_logps, self.beta * scores.policy_rejected_logps


@dataclass(frozen=True)
class CPOSimPO(Objective):
    """SimPO with CPO's likelihood term (CPO-SimPO); reward = beta x log-prob per token.

    Use it where SimPO alone drifts from good text; by CPO's author, https://github.com/fe1ixxu/CPO_SIMPO.

    Args:
        beta: Scale of the reward, > 0; its authors use 10.
        gamma_beta_ratio: Target margin gamma / beta, >= 0; its authors use 0.54.
        nll_weight: Weight of the chosen completion's negative log-likelihood per token, >= 0; its authors use 0.05.
    """

    beta: float = 10.0
    gamma_beta_ratio: float = 0.54
    nll_weight: float = 0.05
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, gamma_beta_ratio=NOT_NEGATIVE, nll_weight=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `cpo_simpo`."""
        return cpo_simpo(
            *policy_and_lengths(scores),
            beta=self.beta,
            gamma_beta_ratio=self.gamma_beta_ratio,
            nll_weight=self.nll_weight,
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x log-prob per token of the chosen and of the rejected completions, each `[P]`."""
        chosen, rejected = logps_per_token(scores)
        return self.beta * chosen, self.beta * rejected
