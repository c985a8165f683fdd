"""Objectives: the settings of a loss, the scores it reads, and the reward it stands for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PairScores
from dpo_lightning.errors import InputError
from dpo_lightning.losses import functional as F

Rewards = tuple[Float[Tensor, " P"], Float[Tensor, " P"]]


class Objective(ABC):
    """What is minimised. Own ones implement these three members; a frozen dataclass keeps its settings."""

    @property
    @abstractmethod
    def needs_reference(self) -> bool:
        """Whether the loss reads the reference's log-probs."""

    @abstractmethod
    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Loss of each pair, unreduced ``[P]``."""

    @abstractmethod
    def rewards(self, scores: PairScores) -> Rewards:
        """Implicit reward of the chosen and of the rejected completions, each ``[P]``, in the objective's own scale."""


@dataclass(frozen=True)
class DPO(Objective):
    """Direct Preference Optimization, arXiv:2305.18290; reward = beta x log-ratio.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.1, and 0.5 for summarisation.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5); above 0 this is conservative DPO (cDPO).
    """

    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _require_positive("DPO.beta", self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise InputError(f"DPO.label_smoothing must be in [0, 0.5), got {self.label_smoothing}")

    @property
    def needs_reference(self) -> bool:
        """True."""
        return True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`dpo_lightning.losses.functional.dpo`."""
        return F.dpo(
            scores.chosen_logratio, scores.rejected_logratio, beta=self.beta, label_smoothing=self.label_smoothing
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio: the paper's implicit reward, equation 5 without the partition term."""
        return _scaled_logratios(scores, self.beta)


@dataclass(frozen=True)
class IPO(Objective):
    """Identity Preference Optimization, arXiv:2310.12036; reward = tau x log-ratio.

    Args:
        tau: Regularisation, > 0: the margin is pulled to 1 / (2 tau). The paper uses 0.1 to 1.
        per_token: Read mean log-ratios per completion token instead of the paper's sums over the completion.
    """

    tau: float = 0.1
    per_token: bool = False

    def __post_init__(self) -> None:
        _require_positive("IPO.tau", self.tau)

    @property
    def needs_reference(self) -> bool:
        """True."""
        return True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`dpo_lightning.losses.functional.ipo`."""
        return F.ipo(*self._logratios(scores), tau=self.tau)

    def rewards(self, scores: PairScores) -> Rewards:
        """Tau x the log-ratio that the loss reads."""
        chosen, rejected = self._logratios(scores)
        return self.tau * chosen, self.tau * rejected

    def _logratios(self, scores: PairScores) -> Rewards:
        if self.per_token:
            return scores.chosen_logratio / scores.chosen_lengths, scores.rejected_logratio / scores.rejected_lengths
        return scores.chosen_logratio, scores.rejected_logratio


@dataclass(frozen=True)
class Hinge(Objective):
    """Hinge loss on the log-ratio margin (SLiC-HF, arXiv:2305.10425; RSO, arXiv:2309.06657); reward = beta x log-ratio.

    Args:
        beta: Inverse of the margin at which a pair stops to pull, > 0.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        _require_positive("Hinge.beta", self.beta)

    @property
    def needs_reference(self) -> bool:
        """True."""
        return True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`dpo_lightning.losses.functional.hinge`."""
        return F.hinge(scores.chosen_logratio, scores.rejected_logratio, beta=self.beta)

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio."""
        return _scaled_logratios(scores, self.beta)


@dataclass(frozen=True)
class SFT(Objective):
    """Supervised fine-tuning on the chosen completions, without a reference; reward = log-prob per token."""

    @property
    def needs_reference(self) -> bool:
        """False."""
        return False

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`dpo_lightning.losses.functional.sft`."""
        return F.sft(scores.policy_chosen_logps, scores.chosen_lengths)

    def rewards(self, scores: PairScores) -> Rewards:
        """The policy's mean log-prob per token, in nats."""
        return (
            scores.policy_chosen_logps / scores.chosen_lengths,
            scores.policy_rejected_logps / scores.rejected_lengths,
        )


def _scaled_logratios(scores: PairScores, scale: float) -> Rewards:
    return scale * scores.chosen_logratio, scale * scores.rejected_logratio


def _require_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a finite number greater than 0, got {value}")
