"""Scores of a batch that an objective may read: log-probs of its tokens, and their sums over completions.

Axes are those of `dpo_lightning.batch`: `P` examples, `S` sequences, `N` scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias, Union

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from typing_extensions import TypeVar

from dpo_lightning.batch import sum_per_sequence
from dpo_lightning.losses.precision import per_token


class TokenScores(NamedTuple):
    """Log-probs of the scored tokens of a batch, in nats, and the sequence of each token.

    `log_collisions` is the log of the probability that two draws from the policy's distribution are the same token,
    log sum_v p_v^2, without a graph; None if the objective does not read it. The reference's log-probs are NaN then.
    """

    policy_logps: Float[Tensor, " N"]
    reference_logps: Float[Tensor, " N"]
    sequence_id: Int[Tensor, " N"]
    lengths: Int[Tensor, " S"]
    log_collisions: Float[Tensor, " N"] | None = None

    def sum_per_sequence(self, token_values: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
        """Sum a value of each scored token over its completion."""
        return sum_per_sequence(token_values, self.sequence_id, self.lengths)

    def without_difference(self) -> TokenScores:
        """Return the scores with a reference that agrees with the policy."""
        return self._replace(reference_logps=self.policy_logps)


def unread(logps: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return log-probs in the place of those that nobody has said to read: NaN, which no loss takes for a number."""
    return torch.full_like(logps, math.nan, requires_grad=False)


class Baseline(NamedTuple):
    """Means of an objective's observations, over the batch on all ranks and over the training so far; 0-d, no graph.

    In training, `running` includes the batch.
    """

    batch: Float[Tensor, ""]
    running: Float[Tensor, ""]


class PairScores(NamedTuple):
    """Scores of pairs, each `[P]`: summed log-probs of completions in nats, and lengths of completions in tokens.

    `columns` are the numbers that the data has for each pair, by the name of the column, `[P]`, or `[2, P]` for one of
    completions, the chosen ones first. `tokens` are the log-probs before they were summed, and `baseline` the means of
    the values that the objective's `observe` returned.
    """

    policy_chosen_logps: Float[Tensor, " P"]
    policy_rejected_logps: Float[Tensor, " P"]
    reference_chosen_logps: Float[Tensor, " P"]
    reference_rejected_logps: Float[Tensor, " P"]
    chosen_lengths: Int[Tensor, " P"]
    rejected_lengths: Int[Tensor, " P"]
    columns: Mapping[str, Float[Tensor, "*K P"]] = {}
    tokens: TokenScores | None = None
    baseline: Baseline | None = None

    @classmethod
    def from_tokens(cls, tokens: TokenScores, columns: Mapping[str, Float[Tensor, "*K P"]] | None = None) -> PairScores:
        """Sum the tokens of each completion, chosen completions first, and split them into pairs."""
        policy, reference = (
            tokens.sum_per_sequence(logps).chunk(2) for logps in (tokens.policy_logps, tokens.reference_logps)
        )
        lengths = tokens.lengths.chunk(2)
        return cls(policy[0], policy[1], reference[0], reference[1], lengths[0], lengths[1], columns or {}, tokens)

    def per_token(self) -> PairScores:
        """Return the scores with log-probs per token, and without those of single tokens."""
        lengths = self.chosen_lengths, self.rejected_lengths
        return self._replace(
            policy_chosen_logps=per_token(self.policy_chosen_logps, lengths[0]),
            policy_rejected_logps=per_token(self.policy_rejected_logps, lengths[1]),
            reference_chosen_logps=per_token(self.reference_chosen_logps, lengths[0]),
            reference_rejected_logps=per_token(self.reference_rejected_logps, lengths[1]),
            tokens=None,
        )

    def with_logratios_times(self, factor: Float[Tensor, ""]) -> PairScores:
        """Return the scores with log-ratios times a factor, against a reference of 0."""
        nothing = torch.zeros_like(self.reference_chosen_logps)
        return self._replace(
            policy_chosen_logps=factor * self.chosen_logratio,
            policy_rejected_logps=factor * self.rejected_logratio,
            reference_chosen_logps=nothing,
            reference_rejected_logps=nothing,
        )

    def without_difference(self) -> PairScores:
        """Return the scores with a reference that agrees with the policy, as before training."""
        return self._replace(
            reference_chosen_logps=self.policy_chosen_logps,
            reference_rejected_logps=self.policy_rejected_logps,
            tokens=None if self.tokens is None else self.tokens.without_difference(),
        )

    @property
    def chosen_logratio(self) -> Float[Tensor, " P"]:
        """Log policy(chosen | prompt) - log reference(chosen | prompt), `[P]`, in nats."""
        return self.policy_chosen_logps - self.reference_chosen_logps

    @property
    def rejected_logratio(self) -> Float[Tensor, " P"]:
        """Log policy(rejected | prompt) - log reference(rejected | prompt), `[P]`, in nats."""
        return self.policy_rejected_logps - self.reference_rejected_logps


class ChosenScores(NamedTuple):
    """Scores of the chosen completions of pairs whose rejected ones were not computed; as those of `PairScores`.

    Of a column of completions, `columns` has the values of the chosen ones, `[P]`.
    """

    policy_chosen_logps: Float[Tensor, " P"]
    reference_chosen_logps: Float[Tensor, " P"]
    chosen_lengths: Int[Tensor, " P"]
    columns: Mapping[str, Float[Tensor, " P"]] = {}
    tokens: TokenScores | None = None
    baseline: Baseline | None = None

    @classmethod
    def from_tokens(cls, tokens: TokenScores, columns: Mapping[str, Float[Tensor, " P"]] | None = None) -> ChosenScores:
        """Sum the tokens of each completion."""
        policy, reference = map(tokens.sum_per_sequence, (tokens.policy_logps, tokens.reference_logps))
        return cls(policy, reference, tokens.lengths, columns or {}, tokens)

    def without_difference(self) -> ChosenScores:
        """Return the scores with a reference that agrees with the policy, as before training."""
        return self._replace(
            reference_chosen_logps=self.policy_chosen_logps,
            tokens=None if self.tokens is None else self.tokens.without_difference(),
        )

    @property
    def chosen_logratio(self) -> Float[Tensor, " P"]:
        """Log policy(chosen | prompt) - log reference(chosen | prompt), `[P]`, in nats."""
        return self.policy_chosen_logps - self.reference_chosen_logps


class UnpairedScores(NamedTuple):
    """Scores of labelled completions, each `[C]`: summed log-probs in nats, and lengths in tokens.

    A prompt may have several. `desirable` is the label, and `columns` are the numbers that the data has for each. The
    mismatched log-probs `[P]` are those of another prompt's completion after each prompt, for an estimate of the KL
    divergence; None if the objective does not read them.
    """

    policy_logps: Float[Tensor, " C"]
    reference_logps: Float[Tensor, " C"]
    lengths: Int[Tensor, " C"]
    desirable: Bool[Tensor, " C"]
    policy_mismatched_logps: Float[Tensor, " P"] | None = None
    reference_mismatched_logps: Float[Tensor, " P"] | None = None
    tokens: TokenScores | None = None
    baseline: Baseline | None = None
    columns: Mapping[str, Float[Tensor, " C"]] = {}

    @classmethod
    def from_tokens(
        cls,
        tokens: TokenScores,
        desirable: Bool[Tensor, " C"],
        *,
        mismatched: bool,
        columns: Mapping[str, Float[Tensor, " C"]] | None = None,
    ) -> UnpairedScores:
        """Sum the tokens of each completion; with `mismatched`, also of each mismatched completion, without a graph."""
        policy, reference = map(tokens.sum_per_sequence, (tokens.policy_logps, tokens.reference_logps))
        count = len(desirable)
        lengths = tokens.lengths[:count]
        scores = cls(policy[:count], reference[:count], lengths, desirable, tokens=tokens, columns=columns or {})
        if not mismatched:
            return scores
        return scores._replace(
            policy_mismatched_logps=policy[count:].detach(), reference_mismatched_logps=reference[count:]
        )

    @property
    def logratio(self) -> Float[Tensor, " C"]:
        """Log policy(completion | prompt) - log reference(completion | prompt), `[C]`, in nats."""
        return self.policy_logps - self.reference_logps

    def per_token(self) -> UnpairedScores:
        """Return the scores with log-probs per token, and without those of single tokens."""
        return self._replace(
            policy_logps=per_token(self.policy_logps, self.lengths),
            reference_logps=per_token(self.reference_logps, self.lengths),
            tokens=None,
        )

    def without_difference(self) -> UnpairedScores:
        """Return the scores with a reference that agrees with the policy, as before training."""
        return self._replace(
            reference_logps=self.policy_logps,
            reference_mismatched_logps=self.policy_mismatched_logps,
            tokens=None if self.tokens is None else self.tokens.without_difference(),
        )


class ListScores(NamedTuple):
    """Scores of lists of completions, each `[C]`: summed log-probs in nats, and lengths in tokens.

    The completions stand in the order of sequences: the first ones of all `P` lists, then the second ones of those that
    have one, and so on; `example_of_completion` says which list each is in, and `completions` how many each list has,
    on the host. `columns` are the numbers that the data has for each completion `[C]`, such as its score, or for each
    list `[P]`.
    """

    policy_logps: Float[Tensor, " C"]
    reference_logps: Float[Tensor, " C"]
    lengths: Int[Tensor, " C"]
    example_of_completion: Int[Tensor, " C"]
    completions: tuple[int, ...]
    columns: Mapping[str, Float[Tensor, " _"]] = {}
    tokens: TokenScores | None = None
    baseline: Baseline | None = None

    @classmethod
    def from_tokens(
        cls,
        tokens: TokenScores,
        example_of_completion: Int[Tensor, " C"],
        completions: tuple[int, ...],
        columns: Mapping[str, Float[Tensor, " _"]] | None = None,
    ) -> ListScores:
        """Sum the tokens of each completion."""
        policy, reference = map(tokens.sum_per_sequence, (tokens.policy_logps, tokens.reference_logps))
        return cls(policy, reference, tokens.lengths, example_of_completion, completions, columns or {}, tokens)

    @property
    def logratio(self) -> Float[Tensor, " C"]:
        """Log policy(completion | prompt) - log reference(completion | prompt), `[C]`, in nats."""
        return self.policy_logps - self.reference_logps

    def sum_per_list(self, values: Shaped[Tensor, " C"]) -> Shaped[Tensor, " P"]:
        """Sum a value of each completion over its list."""
        return values.new_zeros(len(self.completions)).index_add(0, self.example_of_completion, values)

    def per_token(self) -> ListScores:
        """Return the scores with log-probs per token, and without those of single tokens."""
        return self._replace(
            policy_logps=per_token(self.policy_logps, self.lengths),
            reference_logps=per_token(self.reference_logps, self.lengths),
            tokens=None,
        )

    def with_logratios_times(self, factor: Float[Tensor, ""]) -> ListScores:
        """Return the scores with log-ratios times a factor, against a reference of 0."""
        return self._replace(
            policy_logps=factor * self.logratio, reference_logps=torch.zeros_like(self.reference_logps)
        )

    def without_difference(self) -> ListScores:
        """Return the scores with a reference that agrees with the policy, as before training."""
        return self._replace(
            reference_logps=self.policy_logps,
            tokens=None if self.tokens is None else self.tokens.without_difference(),
        )


Scores: TypeAlias = Union[PairScores, ChosenScores, UnpairedScores, ListScores]
"""Scores of a batch, by what the objective compares."""

ScoresT = TypeVar("ScoresT", PairScores, ChosenScores, UnpairedScores, ListScores, default=PairScores)
"""The scores of a module's objective, for subclasses with a loss of their own: pairs, unless they say otherwise."""
