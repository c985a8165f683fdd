"""Binary classifier optimization on single completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.losses.base import Observation, Reads, UnpairedObjective, baseline_of
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import UnpairedScores
from dpo_lightning.utils.settings import MOMENTUM, POSITIVE, require


def unpaired_bco(
    logratio: Float[Tensor, " C"], desirable: Bool[Tensor, " C"], *, beta: float, delta: Float[Tensor, ""]
) -> Float[Tensor, " C"]:
    r"""Binary classifier optimization (BCO) on single completions, arXiv:2404.04656.

    .. math:: L = \begin{cases} -\log\sigma(r - \delta) & y \text{ desirable} \\
        -\log\sigma(\delta - r) & y \text{ undesirable} \end{cases}
        \qquad \delta = \tfrac12 \big(E_{D^+}[r] + E_{D^-}[r]\big)

    with `r` = beta x log-ratio: a classifier of the labels, whose logit is the reward. The shift `delta` is halfway
    between the two labels' mean rewards, however many completions each has; it has no gradient.

    Args:
        logratio: `[C]`, nats.
        desirable: `[C]`, the labels.
        beta: Strength of the pull towards the reference, > 0.
        delta: The reward shift, 0-d.

    Returns:
        `[C]`; ln 2 where the reward is delta.
    """
    require_one_shape(logratio, desirable)
    distance = beta * at_least_float32(logratio) - at_least_float32(delta)
    return -F.logsigmoid(torch.where(desirable, distance, -distance))


@dataclass(frozen=True)
class UnpairedBCO(UnpairedObjective):
    """Binary classifier optimization (BCO) on single completions, arXiv:2404.04656; reward = beta x log-ratio.

    Use it for thumbs up and down. It reads no completions of other prompts, so it costs half of KTO. Unlike KTO, its
    gradient is largest for completions that are most wrong.

    Args:
        beta: Strength of the pull towards the reference, > 0; 0.1 where nothing is known.
        momentum: Share of the past in the running mean reward of each label, which moves with each micro-batch, in
            [0, 1); 0 is the mean of the batch alone. The shift is halfway between the two.
    """

    beta: float = 0.1
    momentum: float = 0.9
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BASELINE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, momentum=MOMENTUM)

    def __call__(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return the loss `[C]`, see `unpaired_bco`; delta is the mean of the labels' running means."""
        return unpaired_bco(scores.logratio, scores.desirable, beta=self.beta, delta=self.reference_point(scores))

    def rewards(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return beta x log-ratio, `[C]`."""
        return self.beta * scores.logratio

    def reference_point(self, scores: UnpairedScores) -> Float[Tensor, ""]:
        """Return the reward shift delta, 0-d."""
        return baseline_of(scores).running

    def observe(self, scores: UnpairedScores) -> Observation:
        """Return the rewards `[C]`, with their labels."""
        return Observation(self.rewards(scores).detach(), self.momentum, scores.desirable)
