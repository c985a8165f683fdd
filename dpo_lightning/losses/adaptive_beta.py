"""A beta that follows the mean margin of the batch, around objectives of pairs and of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.losses.all_pairs import AllPairs
from dpo_lightning.losses.any_modifier import AnyModifier, require_any
from dpo_lightning.losses.base import AnyObjective, Observation, Reads, baseline_of
from dpo_lightning.losses.beta_dpo import BetaDPO, require_following, share_of_beta
from dpo_lightning.losses.compares import Compares


@dataclass(frozen=True)
class AdaptiveBeta(AnyModifier):
    r"""Dynamic beta of any loss of beta x log-ratio, after arXiv:2407.08639; reward = the objective's, as it is set.

    Multiplies the objective's beta by a share that follows the mean margin of the batch, of which lists have one of
    each pair whose scores differ: a batch with wide margins moves the policy less. `AdaptiveBeta(DPO())` is BetaDPO;
    `PerToken(AdaptiveBeta(PlackettLuceDPO(beta=5.0)))` follows margins per token.

    .. math:: \beta \to \max(1 + \alpha(\bar M - M_0),\; 0.01)\,\beta

    Args:
        objective: A loss of log-ratios that reads them only times its beta, such as DPO, Hinge, `PlackettLuceDPO` or
            `AllPairs(DPO())`.
        alpha: How much beta follows the margin, per nat, >= 0; the paper uses 0.6, of pairs.
        momentum: Share of the past in the usual margin, which moves with each micro-batch, in (0, 1); the paper uses
            0.9.
    """

    objective: AnyObjective
    alpha: float = 0.6
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_any("AdaptiveBeta.objective", self.objective)
        require_following(self)
        if not self.objective.scales_with_beta:
            raise InputError(
                "AdaptiveBeta.objective must read log-ratios only times its beta, as DPO, Hinge and PlackettLuceDPO "
                f"do: {type(self.objective).__name__} does not; put PerToken, Weighted and the like around AdaptiveBeta"
            )

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and the mean margin."""
        return self.objective.reads | Reads.BASELINE

    def given(self, scores: Any) -> Any:
        """Return the scores with log-ratios times the share of beta."""
        return scores.with_logratios_times(share_of_beta(baseline_of(scores), alpha=self.alpha))

    def rewards(self, scores: Any) -> Any:
        """Return the objective's rewards, with the beta that is set."""
        inner: Any = self.objective
        return inner.rewards(scores)

    def observe(self, scores: Any) -> Observation | None:
        """Return the margins of the log-ratios, in nats: of each pair, or of all pairs of the lists."""
        margins = BetaDPO(momentum=self.momentum)
        return (AllPairs(margins) if self.compares is Compares.LISTS else margins).observe(scores)
