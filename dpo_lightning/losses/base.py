"""What every objective is: a loss of each pair, the scores that it reads, and the reward that it stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Flag, auto
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.losses.numeric import per_token
from dpo_lightning.losses.scores import Baseline, PairScores, TokenScores, UnpairedScores

Rewards = tuple[Float[Tensor, " P"], Float[Tensor, " P"]]


class Reads(Flag):
    """What a loss reads beside the policy's summed log-probs; a run brings that, and nothing else.

    Attributes:
        REFERENCE: The reference's log-probs.
        LIKELIHOOD: The policy's log-probs also outside of a log-ratio.
        LENGTHS: The completions' lengths.
        MARGIN: The data's column of true reward margins.
        PROBABILITY: The data's column of preference probabilities.
        WEIGHT: The data's column of weights.
        BATCH: The other pairs of the micro-batch, so that no pair has a loss of its own.
        BASELINE: A mean over batches and ranks, of what `Objective.observe` returns.
        TOKENS: Log-probs of single tokens.
        COLLISIONS: The collision probability of each token's distribution.
        MISMATCHED: Log-probs of completions of other prompts.
    """

    NOTHING = 0
    REFERENCE = auto()
    LIKELIHOOD = auto()
    LENGTHS = auto()
    MARGIN = auto()
    PROBABILITY = auto()
    WEIGHT = auto()
    BATCH = auto()
    BASELINE = auto()
    TOKENS = auto()
    COLLISIONS = auto()
    MISMATCHED = auto()

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the data that are read, as `dpo_lightning.batch.PairColumns` names them."""
        flags = {"margin": Reads.MARGIN, "probability": Reads.PROBABILITY, "weight": Reads.WEIGHT}
        return frozenset(name for name, flag in flags.items() if flag in self)


class Observation(NamedTuple):
    """What a loss needs a mean of.

    Attributes:
        values: Of each pair of the batch, or of some, without a graph; their mean is over all ranks.
        momentum: Share of the past in the running mean, in `[0, 1)`; 0 is the mean of the batch alone.
        desirable: Label of each value, for the mean of the two labels' means, however many rows each of them has.
    """

    values: Float[Tensor, " M"]
    momentum: float
    desirable: Bool[Tensor, " M"] | None = None


class AnyObjective(ABC):
    """What is minimised, on pairs or on single completions with a label."""

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """What the loss reads beside the policy's summed log-probs."""

    @abstractmethod
    def __call__(self, scores: Any) -> Float[Tensor, " P"]:
        """Loss of each pair or completion, unreduced `[P]`."""

    def observe(self, scores: Any) -> Observation | None:
        """What `scores.baseline` shall be the means of, for a loss that reads `Reads.BASELINE`."""
        return None


class Objective(AnyObjective):
    """On pairs. Own ones implement `reads` and these two; a frozen dataclass keeps its settings."""

    @abstractmethod
    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Loss of each pair, unreduced `[P]`."""

    @abstractmethod
    def rewards(self, scores: PairScores) -> Rewards:
        """Implicit reward of the chosen and of the rejected completions, each `[P]`, in the objective's own scale."""


class MarginObjective(Objective):
    """One whose loss and reward read nothing but log-ratios, and the loss only a difference of them.

    A term that both completions of a prompt share cancels, the partition function for one.
    """


class Modifier(Objective):
    """One around another: it changes what that is given, or what it returns, and says the same of the rest."""

    objective: Objective

    @property
    def reads(self) -> Reads:
        """What the objective reads."""
        return self.objective.reads

    def given(self, scores: PairScores) -> PairScores:
        """The scores that the objective gets."""
        return scores

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """The objective's loss of what it is given."""
        return self.objective(self.given(scores))

    def rewards(self, scores: PairScores) -> Rewards:
        """The objective's rewards of what it is given."""
        return self.objective.rewards(self.given(scores))

    def observe(self, scores: PairScores) -> Observation | None:
        """What the objective observes of what it is given."""
        return self.objective.observe(self.given(scores))


class UnpairedObjective(AnyObjective):
    """On single completions, each of which is desirable or not."""

    @abstractmethod
    def __call__(self, scores: UnpairedScores) -> Float[Tensor, " P"]:
        """Loss of each completion, unreduced `[P]`."""

    @abstractmethod
    def rewards(self, scores: UnpairedScores) -> Float[Tensor, " P"]:
        """Implicit reward of each completion `[P]`, in the objective's own scale."""

    @abstractmethod
    def reference_point(self, scores: UnpairedScores) -> Float[Tensor, ""]:
        """The reward from which the loss calls a completion good, 0-d, in the same scale; metrics count against it."""


def baseline_of(scores: PairScores | UnpairedScores) -> Baseline:
    """The baseline of scores for a loss that reads `Reads.BASELINE`.

    Raises:
        ValueError: where the scores have none; the module brings it, whoever calls an objective alone gives it.
    """
    if scores.baseline is None:
        raise ValueError("the loss reads means over batches: give scores.baseline, see Objective.observe")
    return scores.baseline


def column_of(scores: PairScores, name: str) -> Float[Tensor, " P"]:
    """A column of the data, as `dpo_lightning.batch.PairColumns` names it.

    Raises:
        ValueError: where the scores have none; a run brings it, whoever calls an objective alone gives it.
    """
    values = getattr(scores.columns, name)
    if values is None:
        raise ValueError(f"the loss reads the {name} of each pair: give scores.columns.{name}")
    return values


def tokens_of(scores: PairScores) -> TokenScores:
    """The log-probs of single tokens.

    Raises:
        ValueError: where the scores have none; a run brings them, whoever calls an objective alone gives them.
    """
    if scores.tokens is None:
        raise ValueError("the loss reads the log-probs of single tokens: give scores.tokens")
    return scores.tokens


def logratios(scores: PairScores) -> Rewards:
    """Return the log-ratios of the chosen and of the rejected completions, each `[P]`, in nats."""
    return scores.chosen_logratio, scores.rejected_logratio


def logratios_per_token(scores: PairScores) -> Rewards:
    """Log-ratio of both completions over their lengths, in nats per token."""
    return (
        per_token(scores.chosen_logratio, scores.chosen_lengths),
        per_token(scores.rejected_logratio, scores.rejected_lengths),
    )


def logps_per_token(scores: PairScores) -> Rewards:
    """The policy's log-prob of both completions over their lengths, in nats per token."""
    return (
        per_token(scores.policy_chosen_logps, scores.chosen_lengths),
        per_token(scores.policy_rejected_logps, scores.rejected_lengths),
    )


def policy_and_lengths(scores: PairScores) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The policy's log-probs and the lengths, chosen before rejected: what losses without a reference take."""
    return scores.policy_chosen_logps, scores.policy_rejected_logps, scores.chosen_lengths, scores.rejected_lengths
