"""Interfaces of objectives: the loss, the scores that it reads, and the implicit reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Flag, auto
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from dpo_lightning.batch import COLUMNS
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.precision import per_token
from dpo_lightning.losses.scores import Baseline, ChosenScores, ListScores, PairScores, TokenScores, UnpairedScores

Rewards = tuple[Float[Tensor, " P"], Float[Tensor, " P"]]


class Reads(Flag):
    """Inputs of a loss beside the policy's summed log-probs; a run computes these, and no others.

    Attributes:
        REFERENCE: The reference's log-probs.
        LIKELIHOOD: The policy's log-probs also outside of a log-ratio.
        LENGTHS: The completions' lengths.
        MARGIN: The data's column of true reward margins.
        PROBABILITY: The data's column of preference probabilities.
        WEIGHT: The data's column of weights.
        SCORE: The data's column with a score of each completion.
        QUANTILE: The data's column with a quantile of each completion's reward.
        BATCH: The other pairs of the micro-batch, so that no pair has a loss of its own.
        BASELINE: A mean over batches and ranks, of the values that `observe` returns.
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
    SCORE = auto()
    QUANTILE = auto()

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the data that the loss reads, by their names in `COLUMNS`."""
        flags = Reads.__members__
        return frozenset(name for name in COLUMNS if name.upper() in flags and flags[name.upper()] in self)


class Observation(NamedTuple):
    """Values of which a loss reads the mean.

    Attributes:
        values: A value of each pair of the batch, or of some pairs, `[M]`, without a graph; the mean is over all ranks.
        momentum: Share of the past in the running mean, in `[0, 1)`; 0 is the mean of the batch alone.
        desirable: Label of each value, `[M]`, for the mean of the two labels' means; None for one mean of all values.
        counted: Which of the values count, `[M]`; None for all.
    """

    values: Float[Tensor, " M"]
    momentum: float
    desirable: Bool[Tensor, " M"] | None = None
    counted: Bool[Tensor, " M"] | None = None


class AnyObjective(ABC):
    """A loss to minimise, on pairs, on completions with a label or on lists of completions."""

    @property
    @abstractmethod
    def compares(self) -> Compares:
        """The completions of an example that the loss compares; a class attribute of the kinds below."""

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """Inputs of the loss beside the policy's summed log-probs."""

    @property
    def reads_columns(self) -> frozenset[str]:
        """Names of the data's columns that the loss reads: those of `reads`; of your own columns, say it here."""
        return self.reads.columns

    @property
    def unmodified(self) -> AnyObjective:
        """The objective itself, or the one inside of a modifier that takes any kind."""
        return self

    @property
    def scales_with_beta(self) -> bool:
        """True where the loss reads log-ratios only times its beta, so that a factor of the one is one of the other.

        A subclass of such a loss whose own loss reads more says False.
        """
        return False

    @property
    def fewest_completions(self) -> int:
        """Completions of an example that the loss needs at least."""
        return self.compares.completions or 1

    @abstractmethod
    def __call__(self, scores: Any) -> Float[Tensor, " _"]:
        """Return the loss of each example `[P]`, or of each labelled completion `[C]`, unreduced."""

    def observe(self, scores: Any) -> Observation | None:
        """Return the values whose means `scores.baseline` holds, if the loss reads `Reads.BASELINE`, else None."""
        return None


class Objective(AnyObjective):
    """An objective on pairs.

    To write your own, implement `reads`, `__call__` and `rewards` in a frozen dataclass, whose fields are the settings.
    If the reward is beta x log-ratio, derive from `BetaObjective`, which leaves only the loss to implement.

    Example:
        The rank loss of SLiC, arXiv:2210.00045, which needs no reference:

        >>> import torch
        >>> from dataclasses import dataclass
        >>> from dpo_lightning.losses import Objective, Reads
        >>> from dpo_lightning.losses.scores import PairScores
        >>> @dataclass(frozen=True)
        ... class Ranked(Objective):
        ...     delta: float = 1.0
        ...     reads = Reads.LIKELIHOOD
        ...
        ...     def __call__(self, scores):
        ...         return (self.delta - scores.policy_chosen_logps + scores.policy_rejected_logps).relu()
        ...
        ...     def rewards(self, scores):
        ...         return scores.policy_chosen_logps, scores.policy_rejected_logps
        >>> logps = torch.tensor([[-10.0], [-14.0], [0.0], [0.0]])  # the reference's are not read
        >>> scores = PairScores(*logps, chosen_lengths=torch.tensor([4]), rejected_lengths=torch.tensor([2]))
        >>> Ranked(delta=5.0)(scores)
        tensor([1.])
    """

    compares = Compares.PAIRS

    @abstractmethod
    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss of each pair, unreduced `[P]`."""

    @abstractmethod
    def rewards(self, scores: PairScores) -> Rewards:
        """Return the implicit rewards of chosen and rejected completions, each `[P]`, in the objective's own scale."""

    def chosen_rewards(self, scores: ChosenScores) -> Float[Tensor, " P"]:
        """Return the implicit rewards of the chosen completions alone, `[P]`, where `compares` is `Compares.CHOSEN`.

        Raises:
            NotImplementedError: elsewhere; nobody asks for it then.
        """
        raise NotImplementedError(f"{type(self).__name__} compares {self.compares.value}")


class MarginObjective(Objective):
    """An objective that reads log-probs only as log-ratios, and in its loss only their difference.

    Terms that both completions of a prompt share cancel in the difference, such as the partition function.
    """


class ChosenObjective(Objective):
    """An objective whose loss reads the chosen completions alone.

    Training then computes no rejected completion, and passes `ChosenScores`. Evaluation still scores whole pairs, so
    that reward accuracies are known; so does training beside an objective on pairs, or inside a modifier that reads
    them.
    """

    compares = Compares.CHOSEN

    @abstractmethod
    def __call__(self, scores: ChosenScores | PairScores) -> Float[Tensor, " P"]:
        """Return the loss of each chosen completion, unreduced `[P]`."""

    @abstractmethod
    def chosen_rewards(self, scores: ChosenScores) -> Float[Tensor, " P"]:
        """Return the implicit rewards of the chosen completions, `[P]`, as `rewards` does."""


class UnpairedObjective(AnyObjective):
    """An objective on completions, each labelled as desirable or not."""

    compares = Compares.LABELLED

    @abstractmethod
    def __call__(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return the loss of each completion, unreduced `[C]`."""

    @abstractmethod
    def rewards(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return the implicit reward of each completion, `[C]`, in the objective's own scale."""

    @abstractmethod
    def reference_point(self, scores: UnpairedScores) -> Float[Tensor, ""]:
        """Return the reward above which a completion counts as desirable, 0-d, in the same scale; metrics use it."""


def baseline_of(scores: PairScores | UnpairedScores | ListScores) -> Baseline:
    """Return the baseline of scores, for a loss that reads `Reads.BASELINE`.

    Raises:
        ValueError: if the scores have none. A run computes it; without one, the caller of the objective passes it.
    """
    if scores.baseline is None:
        raise ValueError("the loss reads means over batches: give scores.baseline, see Objective.observe")
    return scores.baseline


def column_of(scores: ChosenScores | PairScores | ListScores, name: str) -> Float[Tensor, "..."]:
    """Return a column of the data by its name: `[P]`, or of completions `[2, P]` of pairs and `[C]` of lists.

    Raises:
        ValueError: if the scores have none. A run reads it; without one, the caller of the objective passes it.
    """
    if name not in scores.columns:
        raise ValueError(f"the loss reads the column `{name}`: give scores.columns[{name!r}]")
    return scores.columns[name]


def tokens_of(scores: PairScores) -> TokenScores:
    """Return the log-probs of single tokens.

    Raises:
        ValueError: if the scores have none. A run computes them; without one, the caller of the objective passes them.
    """
    if scores.tokens is None:
        raise ValueError("the loss reads the log-probs of single tokens: give scores.tokens")
    return scores.tokens


def logratios(scores: PairScores) -> Rewards:
    """Return the log-ratios of the chosen and of the rejected completions, each `[P]`, in nats."""
    return scores.chosen_logratio, scores.rejected_logratio


def logratios_per_token(scores: PairScores) -> Rewards:
    """Return the log-ratios of both completions over their lengths, each `[P]`, in nats per token."""
    return (
        per_token(scores.chosen_logratio, scores.chosen_lengths),
        per_token(scores.rejected_logratio, scores.rejected_lengths),
    )


def logps_per_token(scores: PairScores) -> Rewards:
    """Return the policy's log-probs of both completions over their lengths, each `[P]`, in nats per token."""
    return (
        per_token(scores.policy_chosen_logps, scores.chosen_lengths),
        per_token(scores.policy_rejected_logps, scores.rejected_lengths),
    )


def policy_and_lengths(scores: PairScores) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the policy's log-probs and the lengths, chosen before rejected, for losses without a reference."""
    return scores.policy_chosen_logps, scores.policy_rejected_logps, scores.chosen_lengths, scores.rejected_lengths
