"""Binary classifier optimization on pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import Observation, Reads, baseline_of, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import MOMENTUM, POSITIVE, require


def paired_bco(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    delta: Float[Tensor, ""],
) -> Float[Tensor, " P"]:
    r"""Binary classifier optimization (BCO) on pairs, arXiv:2404.04656.

    .. math:: L = -\log\sigma(r_w - \delta) - \log\sigma(-(r_l - \delta)), \quad \delta = \tfrac12(E[r_w] + E[r_l])

    with `r` = beta x log-ratio. The classifier's loss is an upper bound of DPO's, and the reward shift `delta`, which
    has no gradient, makes the bound tight.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        delta: Mean reward of the chosen and the rejected completions, 0-d.

    Returns:
        `[P]`; 2 ln 2 where both rewards are delta.
    """
    require_one_shape(chosen_logratio, rejected_logratio)
    chosen, rejected = beta * at_least_float32(chosen_logratio), beta * at_least_float32(rejected_logratio)
    return -F.logsigmoid(chosen - delta) - F.logsigmoid(delta - rejected)


@dataclass(frozen=True)
class PairedBCO(BetaObjective):
    """Binary classifier optimization (BCO) on pairs, arXiv:2404.04656; reward = beta x log-ratio.

    Use it where rewards must be comparable between prompts; on clean pairs it is close to DPO.

    Args:
        beta: Strength of the pull towards the reference, > 0; 0.1 where nothing is known.
        momentum: Share of the past in the running mean of the rewards, which moves with each micro-batch, in [0, 1); 0
            is the mean of the batch alone. The authors' code takes the mean of all rewards of the run so far.
    """

    beta: float = 0.1
    momentum: float = 0.9
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BASELINE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, momentum=MOMENTUM)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `paired_bco`; delta is the running mean of the rewards."""
        delta = baseline_of(scores).running
        return paired_bco(*logratios(scores), beta=self.beta, delta=delta)

    def observe(self, scores: PairScores) -> Observation:
        """Return the rewards of the chosen, then of the rejected completions, `[2P]`."""
        return Observation(torch.cat(self.rewards(scores)).detach(), self.momentum)
