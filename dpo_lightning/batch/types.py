"""The named types that cross layers.

Axes: ``P`` pairs in the batch, ``S`` = 2P sequences, ``N`` scored tokens, ``R`` rows and ``L`` columns of the input.
Sequences are numbered ``0 .. 2P-1``: the chosen completion of pair ``p`` is sequence ``p``, the rejected one ``P + p``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


class TokenizedPair(NamedTuple):
    """A preference triple as token ids, the prompt stored once.

    ``pair_id`` is the row of the source data, counted from 0; messages and predictions name it.

    A single completion is a pair too: ``desirable`` is its label, and None for a pair. It stands in ``chosen_ids``, and
    in ``rejected_ids`` the completion of another prompt, or no token where the objective reads none.

    ``margin``, ``probability`` and ``weight`` are what the data says of the pair, see :class:`PairColumns`.
    """

    pair_id: int
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    desirable: bool | None = None
    margin: float | None = None
    probability: float | None = None
    weight: float | None = None


class TreeLayout(NamedTuple):
    """How one packed row ``[P0 C0 R0 P1 C1 R1 ...]`` is made of prompts, chosen and rejected completions.

    C and R of a pair both continue its P: their positions start where P's end, they attend to P and not to each other,
    and no pair attends to another one. Queries are grouped into ``T`` runs, alternately ``[P C]`` and ``[R]``; the keys
    of a run are ``[P C]`` and ``[P R]``, and its queries are the last of its keys. An R without tokens has no run.
    ``K`` = 2P + C + R, summed over the pairs, is the number of keys of all runs.

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
    query_offsets: Int[Tensor, " T+1"]
    key_offsets: Int[Tensor, " T+1"]


class PairColumns(NamedTuple):
    """What the data says of each pair besides its texts, each ``[P]``; None where the data has no such column.

    In a batch these are the bits of float32 values as int32, since Lightning casts floating tensors.

    Attributes:
        margin: True reward of the chosen completion minus that of the rejected one.
        probability: Probability that the chosen completion is the better one, in ``[0, 1]``.
        weight: What the pair's loss is multiplied by, >= 0.
    """

    margin: Shaped[Tensor, " P"] | None = None
    probability: Shaped[Tensor, " P"] | None = None
    weight: Shaped[Tensor, " P"] | None = None

    def values(self) -> PairColumns:
        """The bits of a batch's columns as float32."""
        return PairColumns(*(None if bits is None else bits.view(torch.float32) for bits in self))


_NO_COLUMNS = PairColumns()


class PairBatch(NamedTuple):
    """A micro-batch of pairs in some layout, with the scored-token view that every layout shares.

    A layout decides what ``input_ids`` looks like; everything after the model only reads the view: scored token ``n``
    has the id ``targets[n]``, is predicted at flat position ``predict_index[n]`` of ``input_ids`` and belongs to
    sequence ``sequence_id[n]``. All tensors are integers, since Lightning casts the floating tensors of a batch under
    ``bf16-true``.

    ``tree`` is None for rows that each hold one sequence. ``pair_weight`` is what a pair's loss is multiplied by before
    the pairs are summed: the mean over the pairs of a whole optimizer batch needs to know the other micro-batches and
    ranks. None stands for the mean over this micro-batch. ``reference_logps`` are the bits of float32 log-probs that
    were computed before, where a collate function brought them. ``columns`` are what the data says of each pair, and
    ``desirable`` the labels of single completions; None for pairs.
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
    columns: PairColumns = _NO_COLUMNS
    desirable: Bool[Tensor, " P"] | None = None

    @property
    def pairs(self) -> int:
        """Number of pairs ``P``."""
        return self.pair_ids.shape[0]

    @property
    def is_one_sided(self) -> bool:
        """Whether some completion has no tokens; read from shapes and from the host."""
        if self.tree is None:
            return self.input_ids.shape[0] < self.lengths.shape[0]
        return any(not chosen or not rejected for _, chosen, rejected in self.tree.segments)

    def sum_per_sequence(self, token_values: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
        """Sum a value of each scored token over the completion that it belongs to."""
        return sum_per_sequence(token_values, self.sequence_id, self.lengths)


def sum_per_sequence(
    token_values: Float[Tensor, " N"], sequence_id: Int[Tensor, " N"], lengths: Int[Tensor, " S"]
) -> Float[Tensor, " S"]:
    """Sum a value of each scored token over the completion that it belongs to."""
    return token_values.new_zeros(lengths.shape[0]).index_add(0, sequence_id, token_values)
