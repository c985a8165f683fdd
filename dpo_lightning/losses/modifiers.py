"""Objectives made of other objectives: changed likelihoods, weights of pairs, and weighted sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.any_modifier import Modifier
from dpo_lightning.losses.base import (
    AnyObjective,
    Objective,
    Observation,
    Reads,
    Rewards,
    column_of,
    tokens_of,
)
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.precision import STRAIGHT_FROM, at_least_float32, require_one_shape
from dpo_lightning.losses.scores import ChosenScores, PairScores, TokenScores
from dpo_lightning.losses.wrapped import loss_of, require_objective, require_own_losses
from dpo_lightning.utils.settings import POSITIVE, Rule, require


@dataclass(frozen=True)
class LDDPO(Modifier):
    r"""Length-desensitized DPO (LD-DPO), arXiv:2409.06411; reward = the objective's.

    The tokens of the longer completion beyond the length of the shorter one count alpha times in its log-likelihood, of
    policy and reference alike, so that a completion is preferred less for being long.

    .. math:: \log\pi(y|x) \to \sum_{t \le l} \log\pi(y_t) + \alpha \sum_{t > l} \log\pi(y_t), \quad
        l = \min(|y_w|, |y_l|)

    An objective that divides by lengths divides by those of the whole completions.

    Args:
        objective: A loss of log-ratios, such as DPO or `PerToken(DPO(beta=5.0))`.
        alpha: Weight of a token beyond the length of the shorter completion, in [0, 1]; 1 is the objective itself. The
            paper chooses it for each model.
    """

    objective: AnyObjective
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_objective("LDDPO.objective", self.objective)
        require(self, alpha=Rule("in [0, 1]", lambda value: 0 <= value <= 1))
        name, reads = type(self.objective).__name__, self.objective.reads
        if Reads.LIKELIHOOD in reads:
            raise InputError(
                f"LDDPO.objective must be a loss of log-ratios alone, such as DPO: {name} also reads the likelihood "
                "itself; for a sum of both, take Weighted([LDDPO(DPO()), SFT()], ...)"
            )
        if Reads.TOKENS in reads:
            raise InputError(
                f"LDDPO.objective must read no single tokens, whose log-probs stay as they are: {name} does; of an "
                "LDDPO inside another, multiply the alphas"
            )

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and single tokens."""
        return self.objective.reads | Reads.TOKENS

    def given(self, scores: PairScores) -> PairScores:
        """Return the scores with the log-probs of the equation.

        Raises:
            ValueError: without the log-probs of single tokens.
        """
        tokens = tokens_of(scores)
        require_one_shape(scores.chosen_lengths, scores.rejected_lengths)
        shared = torch.minimum(scores.chosen_lengths, scores.rejected_lengths).repeat(2)
        beyond = _positions(tokens) >= shared[tokens.sequence_id]
        policy, reference = (
            tokens.sum_per_sequence(torch.where(beyond, self.alpha * logps, logps)).chunk(2)
            for logps in (at_least_float32(tokens.policy_logps), at_least_float32(tokens.reference_logps))
        )
        return scores._replace(
            policy_chosen_logps=policy[0],
            policy_rejected_logps=policy[1],
            reference_chosen_logps=reference[0],
            reference_rejected_logps=reference[1],
        )


@dataclass(frozen=True)
class WPO(Modifier):
    r"""Weighted Preference Optimization (WPO), arXiv:2406.11827; reward = the objective's.

    Multiplies each pair's loss by how typical its two completions are of the policy, without a gradient. Pairs that
    other models have written count less, so that the data resembles the policy's own.

    .. math:: L \to w(y_w)\, w(y_l)\, L, \quad
        w(y) = \exp\left(\frac{1}{|y|} \sum_t \log\frac{\pi(y_t)}{\sum_v \pi(v)^2}\right)

    This is the paper's equation 2 with sampled alignment. A completion that the policy itself has sampled has a weight
    of about 1, one of likelier tokens a larger weight; the authors' code bounds the pair's weight by 1.

    Args:
        objective: An objective with a loss for each pair by itself, such as DPO or SimPO.
    """

    objective: AnyObjective

    def __post_init__(self) -> None:
        require_own_losses("WPO.objective", self.objective)
        if Reads.COLLISIONS in self.objective.reads:
            raise InputError(
                f"WPO.objective is weighted by WPO already: once is enough; write {type(self.objective).__name__}(...) "
                "without another WPO around it"
            )

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and the collision probabilities of tokens."""
        return self.objective.reads | Reads.COLLISIONS

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the objective's loss times the weights of both completions, `[P]`."""
        return _product(self.objective(scores), typicality(tokens_of(scores)))


def typicality(tokens: TokenScores) -> Float[Tensor, " P"]:
    """Return the product of a pair's two weights in arXiv:2406.11827 equation 2, `[P]`, without a graph.

    Raises:
        ValueError: without the tokens' collision probabilities.
    """
    if tokens.log_collisions is None:
        raise ValueError("the loss reads the collision probability of each token: give scores.tokens.log_collisions")
    logps = at_least_float32(tokens.policy_logps.detach())
    mean = tokens.sum_per_sequence(logps - tokens.log_collisions) / tokens.lengths
    chosen, rejected = mean.chunk(2)
    # With log-probs the sum is below log V; the bound is for scores that are no log-probs.
    return (chosen + rejected).clamp(max=STRAIGHT_FROM).exp()


@dataclass(frozen=True)
class RowWeighted(Modifier):
    r"""Weights of pairs from the data; reward = the objective's.

    Multiplies each pair's loss by its row's weight. The mean is over the pairs, so weights whose mean is not 1 scale
    the learning rate. Name the column in `data.format.weight`.

    .. math:: L \to w L

    Args:
        objective: An objective with a loss for each pair by itself, such as DPO.
    """

    objective: AnyObjective

    def __post_init__(self) -> None:
        require_own_losses("RowWeighted.objective", self.objective)
        if Reads.WEIGHT in self.objective.reads:
            raise InputError(
                "RowWeighted.objective is weighted by its rows already: once is enough; write "
                f"{type(self.objective).__name__}(...) without another RowWeighted around it"
            )

    @property
    def compares(self) -> Compares:  # type: ignore[override]
        """The completions that the objective compares."""
        return self.objective.compares

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and the weights of rows."""
        return self.objective.reads | Reads.WEIGHT

    def __call__(self, scores: ChosenScores | PairScores) -> Float[Tensor, " P"]:
        """Return the objective's loss times the rows' weights, `[P]`."""
        return _product(loss_of(self.objective, scores), column_of(scores, "weight"))

    def chosen_rewards(self, scores: ChosenScores) -> Float[Tensor, " P"]:
        """Return the objective's rewards, `[P]`."""
        inner: Any = self.objective
        return inner.chosen_rewards(scores)


@dataclass(frozen=True)
class Weighted(Objective):
    r"""A weighted sum of objectives, as Mixed Preference Optimization (MPO, arXiv:2411.10442); reward = the first's.

    Computes all objectives from one forward. The reward is that of the first objective that reads the reference, or
    else of the first one. MPO itself is DPO, PairedBCO and SFT with the weights 0.8, 0.2 and 1.

    .. math:: L = \sum_i w_i L_i

    Args:
        objectives: One objective of pairs or more, also `PerToken(...)` of one; at most one of them may read a mean
            over batches.
        weights: A weight for each objective, > 0.

    Example:
        >>> import torch
        >>> from dpo_lightning.losses import DPO, SFT, Weighted
        >>> from dpo_lightning.losses.scores import PairScores
        >>> logps = torch.tensor([[-10.0], [-14.0], [-12.0], [-12.0]])
        >>> scores = PairScores(*logps, *torch.tensor([[4], [2]]))
        >>> mixture = Weighted([DPO(beta=0.5), SFT()], weights=[1.0, 0.2])
        >>> mixture(scores)  # 0.1269 + 0.2 x 10 nats / 4 tokens
        tensor([0.6269])
        >>> mixture.rewards(scores) == DPO(beta=0.5).rewards(scores)
        True
    """

    objectives: Sequence[AnyObjective]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        # Tuples, so that a frozen object cannot be changed and has a hash.
        object.__setattr__(self, "objectives", _listed("objectives", self.objectives))
        object.__setattr__(self, "weights", _listed("weights", self.weights))
        if not self.objectives or len(self.objectives) != len(self.weights):
            raise InputError(
                f"Weighted: give one objective or more, and as many weights, got {len(self.objectives)} and "
                f"{len(self.weights)}"
            )
        for objective, weight in zip(self.objectives, self.weights, strict=True):
            require_objective("Weighted.objectives", objective)
            POSITIVE.check("Weighted.weights", weight)
        running = [type(each).__name__ for each in self.objectives if Reads.BASELINE in each.reads]
        if len(running) > 1:
            raise InputError(
                f"Weighted.objectives: {' and '.join(running)} each read a mean over batches of their own, and there "
                "is one: leave one out"
            )

    @property
    def compares(self) -> Compares:  # type: ignore[override]
        """The chosen completions alone where no objective compares more."""
        chosen = all(objective.compares is Compares.CHOSEN for objective in self.objectives)
        return Compares.CHOSEN if chosen else Compares.PAIRS

    @property
    def reads(self) -> Reads:
        """The scores that any of the objectives reads."""
        return reduce(or_, (objective.reads for objective in self.objectives))

    @property
    def reads_columns(self) -> frozenset[str]:
        """The columns that any of the objectives reads."""
        return reduce(or_, (objective.reads_columns for objective in self.objectives))

    def __call__(self, scores: ChosenScores | PairScores) -> Float[Tensor, " P"]:
        """Return the weighted sum of the losses, `[P]`."""
        losses = [
            weight * loss_of(objective, scores) for objective, weight in zip(self.objectives, self.weights, strict=True)
        ]
        return torch.stack(losses).sum(0)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return the rewards of the first objective that reads the reference, or else of the first one."""
        return self._rewarding.rewards(scores)

    def chosen_rewards(self, scores: ChosenScores) -> Float[Tensor, " P"]:
        """Return the rewards of the same objective, `[P]`."""
        return self._rewarding.chosen_rewards(scores)

    @property
    def _rewarding(self) -> Any:
        with_reference = [each for each in self.objectives if Reads.REFERENCE in each.reads]
        return [*with_reference, *self.objectives][0]

    def observe(self, scores: PairScores) -> Observation | None:
        """Return the observation of the objective that reads a mean over batches, None without one."""
        seen = (each.observe(scores) for each in self.objectives if Reads.BASELINE in each.reads)
        return next(seen, None)


def _listed(name: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, str | bytes | bytearray | Mapping | Set) or not isinstance(given, Iterable):
        raise InputError(f"Weighted.{name}: {given!r:.80} is no list: write [...], with one for each objective")
    return tuple(given)


def _product(losses: Tensor, weights: Tensor) -> Tensor:
    require_one_shape(losses, weights)
    return losses * weights


def _positions(tokens: TokenScores) -> Tensor:
    """Return the position of each token in its completion, `[N]`, from 0; its tokens are adjacent and in order."""
    first = tokens.lengths.cumsum(0) - tokens.lengths
    return torch.arange(len(tokens.sequence_id), device=first.device) - first[tokens.sequence_id]
