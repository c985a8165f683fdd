"""Quantile Reward Policy Optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Reads, column_of
from dpo_lightning.losses.lists import ListObjective
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.utils.settings import POSITIVE, require


def qrpo(logratio: Float[Tensor, " C"], quantile: Float[Tensor, " C"], *, beta: float) -> Float[Tensor, " C"]:
    r"""Quantile Reward Policy Optimization (QRPO), arXiv:2507.08068.

    .. math:: L = \big(q - \beta\log Z - \beta\rho\big)^2, \quad Z = \int_0^1 e^{t/\beta}\, dt
        = \beta\,(e^{1/\beta} - 1)

    with `rho` the log-ratio and `q` the quantile of the completion's reward among those of the reference's own
    completions. Under the reference a quantile is uniform, which is why the partition function is known.

    Args:
        logratio: `[C]`, nats.
        quantile: `[C]`, in [0, 1].
        beta: Strength of the pull towards the reference, > 0.

    Returns:
        `[C]`.
    """
    require_one_shape(logratio, quantile)
    # beta log Z, where exp(1 / beta) overflows for a small beta.
    normalizer = 1 + beta * (math.log(beta) + math.log(-math.expm1(-1 / beta)))
    return (at_least_float32(quantile) - normalizer - beta * at_least_float32(logratio)).square()


@dataclass(frozen=True)
class QRPO(ListObjective):
    """Quantile Reward Policy Optimization (QRPO), arXiv:2507.08068; reward = beta x log-ratio.

    A regression on the reward of each completion by itself, not on comparisons. Its quantiles are the share of the
    reference's own completions of the prompt whose reward is not greater. Each list counts alike: its loss is the mean
    over its completions.

    Args:
        beta: Strength of the pull towards the reference, > 0, on quantiles between 0 and 1.
        quantiles: `list` takes the quantiles of the scores within each list, for completions that the reference has
            sampled; `column` takes them from the data's `quantile` column, computed of as many samples of the reference
            as one has rewards of.
    """

    beta: float = 0.1
    quantiles: Literal["list", "column"] = "list"

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)

    @property
    def reads(self) -> Reads:
        """The reference, and the scores or the quantiles of the data."""
        return Reads.REFERENCE | (Reads.SCORE if self.quantiles == "list" else Reads.QUANTILE)

    def __call__(self, scores: ListScores) -> Float[Tensor, " P"]:
        """Return the mean of `qrpo` over the completions of each list, `[P]`."""
        losses = qrpo(scores.logratio, self._quantile(scores), beta=self.beta)
        return scores.sum_per_list(losses) / scores.sum_per_list(torch.ones_like(losses))

    def rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return beta x log-ratio, `[C]`."""
        return self.beta * scores.logratio

    def _quantile(self, scores: ListScores) -> Float[Tensor, " C"]:
        if self.quantiles == "column":
            return column_of(scores, "quantile")
        return quantiles_in_list(column_of(scores, "score"), scores.example_of_completion)


def quantiles_in_list(score: Float[Tensor, " C"], example: Int[Tensor, " C"]) -> Float[Tensor, " C"]:
    """Return the share of each completion's list whose scores are not greater, itself included, `[C]`."""
    listed = example[:, None] == example
    return (listed & (score <= score[:, None])).sum(1) / listed.sum(1).to(at_least_float32(score).dtype)
