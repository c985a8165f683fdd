"""The named types that cross layers.

Axes: ``P`` pairs in the batch, ``S`` = 2P sequences, ``N`` scored tokens, ``R`` rows and ``L`` columns of the input.
Sequences are numbered ``0 .. 2P-1``: the chosen completion of pair ``p`` is sequence ``p``, the rejected one ``P + p``.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class TokenizedPair(NamedTuple):
    """A preference triple as token ids, the prompt stored once.

    ``pair_id`` is the row of the source data, counted from 0; messages and predictions name it.
    """

    pair_id: int
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class TreeLayout(NamedTuple):
    """How one packed row ``[P0 C0 R0 P1 C1 R1 ...]`` is made of prompts, chosen and rejected completions.

    C and R of a pair both continue its P: their positions start where P's end, they attend to P and not to each other,
    and no pair attends to another one. Queries are grouped into ``S`` runs, alternately ``[P C]`` and ``[R]``; the keys
    of a run are ``[P C]`` and ``[P R]``, and its queries are the last of its keys. ``K`` = 2P + C + R, summed over the
    pairs, is the number of keys of all runs.

    Attributes:
        segments: Tokens of prompt, chosen and rejected completion of each pair; on the host, wherever the batch is.
        position_ids: Logical position of each token.
        key_index: Position in the row of each run's keys, one run after the other.
        query_offsets: Where each run's queries begin in the row, and the row's end; int32.
        key_offsets: Where each run's keys begin in ``key_index``, and its end; int32.
    """

    segments: tuple[tuple[int, int, int], ...]
    position_ids: Int[Tensor, "1 L"]
    key_index: Int[Tensor, " K"]
    query_offsets: Int[Tensor, " S+1"]
    key_offsets: Int[Tensor, " S+1"]


class PairBatch(NamedTuple):
    """A micro-batch of pairs in some layout, with the scored-token view that every layout shares.

    A layout decides what ``input_ids`` looks like; everything after the model only reads the view: scored token ``n``
    has the id ``targets[n]``, is predicted at flat position ``predict_index[n]`` of ``input_ids`` and belongs to
    sequence ``sequence_id[n]``. All tensors are integers, since Lightning casts the floating tensors of a batch under
    ``bf16-true``.

    ``tree`` is None for rows that each hold one sequence. ``pair_weight`` is what a pair's loss is multiplied by before
    the pairs are summed: the mean over the pairs of a whole optimizer batch needs to know the other micro-batches and
    ranks. None stands for the mean over this micro-batch. ``reference_logps`` are the bits of float32 log-probs that
    were computed before, where a collate function brought them.
    """

    input_ids: Int[Tensor, "R L"]
    predict_index: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    sequence_id: Int[Tensor, " N"]
    lengths: Int[Tensor, " S"]
    pair_ids: Int[Tensor, " P"]
    tree: TreeLayout | None = None
    pair_weight: float | None = None
    reference_logps: Int[Tensor, " N"] | None = None

    @property
    def pairs(self) -> int:
        """Number of pairs ``P``."""
        return self.pair_ids.shape[0]

    def sum_per_sequence(self, token_values: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
        """Sum a value of each scored token over the completion that it belongs to."""
        return token_values.new_zeros(self.lengths.shape[0]).index_add(0, self.sequence_id, token_values)


class PairScores(NamedTuple):
    """What an objective may read, each ``[P]``: summed completion log-probs in nats, completion lengths in tokens."""

    policy_chosen_logps: Float[Tensor, " P"]
    policy_rejected_logps: Float[Tensor, " P"]
    reference_chosen_logps: Float[Tensor, " P"]
    reference_rejected_logps: Float[Tensor, " P"]
    chosen_lengths: Int[Tensor, " P"]
    rejected_lengths: Int[Tensor, " P"]

    @classmethod
    def from_sequences(
        cls,
        policy_logps: Float[Tensor, " S"],
        reference_logps: Float[Tensor, " S"],
        lengths: Int[Tensor, " S"],
    ) -> PairScores:
        """Split per-sequence values ``[2P]``, chosen first, into pairs."""
        return cls(*policy_logps.chunk(2), *reference_logps.chunk(2), *lengths.chunk(2))

    @property
    def chosen_logratio(self) -> Float[Tensor, " P"]:
        """Log policy(chosen | prompt) - log reference(chosen | prompt), in nats."""
        return self.policy_chosen_logps - self.reference_chosen_logps

    @property
    def rejected_logratio(self) -> Float[Tensor, " P"]:
        """Log policy(rejected | prompt) - log reference(rejected | prompt), in nats."""
        return self.policy_rejected_logps - self.reference_rejected_logps
