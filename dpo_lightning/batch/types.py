"""Types of examples and batches that cross layers.

Axes: `P` examples (prompts) of the batch, `S` sequences, which are all branches of all examples, `N` scored tokens, `R`
rows and `L` columns of the input. Sequences stand completion by completion, not example by example: the first
completions of all examples, then the second ones of all examples that have one, and so on; at the end the mismatched
ones. So the chosen completion of pair `p` is sequence `p`, and the rejected one is sequence `P + p`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpo_lightning.batch.columns import SOURCE, ColumnValue, Holds
from dpo_lightning.batch.packed import moved, pickled


class TokenizedExample(NamedTuple):
    """A prompt with `K` completions as token ids, the prompt stored once, and what the data says of them.

    A pair has two completions, the chosen one first, and no labels; of labelled completions a prompt has any number.
    `pair` and `labelled` make one of each.

    Attributes:
        row: Row of the source data, counted from 0; messages and predictions name it.
        prompt_ids: Tokens of the prompt.
        completion_ids: Tokens of each completion.
        mismatched_ids: Completion of another prompt, from which KTO estimates a KL divergence; empty if none is read.
        labels: Whether each completion is desirable; None for what has no labels, such as pairs.
        columns: Values of the data's columns by name: a number, a list with a number of each completion, or text, see
            `Holds`. One of your own reaches `PreferenceBatch.columns` or `PreferenceBatch.texts` too.
        scored: Whether each token of each completion counts, in its log-prob and in its length; empty where all do.
        mismatched_scored: The same of the mismatched completion.
    """

    row: int
    prompt_ids: list[int]
    completion_ids: list[list[int]]
    mismatched_ids: list[int] = []  # noqa: RUF012 - nobody writes to it
    labels: Sequence[bool] | None = None
    columns: Mapping[str, ColumnValue] = {}
    scored: list[list[bool]] = []  # noqa: RUF012
    mismatched_scored: list[bool] = []  # noqa: RUF012

    def __repr__(self) -> str:
        lengths = ", ".join(str(len(ids)) for ids in self.completion_ids)
        labels = "" if self.labels is None else f", labels {list(self.labels)}"
        columns = f", columns {dict(self.columns)}" if self.columns else ""
        return (
            f"TokenizedExample(row {self.row}: prompt of {len(self.prompt_ids)} tokens, completions of "
            f"{lengths}{labels}{columns})"
        )

    @classmethod
    def pair(
        cls, row: int, prompt_ids: list[int], chosen_ids: list[int], rejected_ids: list[int], **columns: ColumnValue
    ) -> TokenizedExample:
        """Make a pair, with the values of its columns."""
        return cls(row, prompt_ids, [chosen_ids, rejected_ids], columns=columns)

    @classmethod
    def labelled(
        cls,
        row: int,
        prompt_ids: list[int],
        completion_ids: list[int],
        label: bool,
        mismatched_ids: list[int] | None = None,
        **columns: ColumnValue,
    ) -> TokenizedExample:
        """Make a labelled completion, with the completion of another prompt for an objective that reads it."""
        return cls(row, prompt_ids, [completion_ids], mismatched_ids or [], [label], columns)

    @property
    def place(self) -> str:
        """The row as messages name it, with the source that it is of where several are mixed."""
        source = self.columns.get(SOURCE)
        return f"{self.row}" if source is None else f"{self.row} of {source}"

    @property
    def branches(self) -> list[list[int]]:
        """Tokens of everything that continues the prompt: the completions, then the mismatched one if there is one."""
        return [*self.completion_ids, self.mismatched_ids] if self.mismatched_ids else self.completion_ids

    @property
    def scored_branches(self) -> list[list[bool]]:
        """Masks of the branches: whether each token counts."""
        masks = self.scored or [[] for _ in self.completion_ids]
        masks = [*masks, self.mismatched_scored] if self.mismatched_ids else masks
        return [mask or [True] * len(ids) for ids, mask in zip(self.branches, masks, strict=True)]

    def first(self, most: int) -> TokenizedExample:
        """Return the example with the first of its completions, their labels and values, and no mismatched one."""
        if len(self.completion_ids) <= most and not self.mismatched_ids:
            return self
        columns = {
            name: cast(Sequence[float], value)[:most] if Holds.of(value) is Holds.NUMBERS else value
            for name, value in self.columns.items()
        }
        return self._replace(
            completion_ids=self.completion_ids[:most],
            mismatched_ids=[],
            labels=None if self.labels is None else self.labels[:most],
            columns=columns,
            scored=self.scored[:most],
            mismatched_scored=[],
        )


class TreeLayout(NamedTuple):
    """Structure of a packed row `[P0 C1 .. CK P1 C1 .. CK ...]`, made of prompts and the branches that continue them.

    The branches of a prompt start at the position where it ends; they attend to the prompt and not to each other, and
    no example attends to another one. Queries are grouped into `T` runs: `[P C1]` first, with itself as keys, then each
    further branch `[Ck]` with the keys `[P Ck]`; so the queries of a run are the last of its keys. A further branch
    without tokens has no run. `M` is the number of keys of all runs.

    Attributes:
        segments: Of each example, tokens of the prompt and of each branch; on the host, wherever the batch is.
        position_ids: Logical position of each token.
        key_index: Position in the row of each run's keys, one run after the other.
        query_offsets: Where each run's queries begin in the row, and the row's end; int32.
        key_offsets: Where each run's keys begin in `key_index`, and its end; int32.
        most_queries: Queries of the run that has most of them; on the host.
        most_keys: Keys of the run that has most of them; on the host.
    """

    segments: tuple[tuple[int, tuple[int, ...]], ...]
    position_ids: Int[Tensor, "1 L"]
    key_index: Int[Tensor, " M"]
    query_offsets: Int[Tensor, " T+1"]
    key_offsets: Int[Tensor, " T+1"]
    most_queries: int
    most_keys: int

    def __reduce__(self) -> Any:
        """Return how it is pickled and saved; its tensors may be parts of one buffer."""
        return pickled(self)


class PreferenceBatch(NamedTuple):
    """A micro-batch of examples in some layout, with the scored-token view that every layout shares.

    A layout decides what `input_ids` looks like; everything after the model only reads the view: scored token `n` has
    the id `targets[n]`, is predicted at flat position `predict_index[n]` of `input_ids` and belongs to sequence
    `sequence_id[n]`. All tensors are integers, since Lightning casts the floating tensors of a batch under `bf16-true`.

    Attributes:
        input_ids: The rows.
        predict_index: Where each scored token is predicted.
        targets: Id of each scored token.
        sequence_id: Sequence of each scored token.
        lengths: Scored tokens of each sequence.
        example_of_sequence: Example that each sequence continues.
        row_ids: Row of the source data of each example.
        completions: Number of completions of each example, mismatched ones not counted; on the host.
        tree: The packed row; None for rows that each hold one sequence.
        example_weight: Factor of each loss, of an example or of a labelled completion, before they are summed: the
            mean over a whole optimizer batch needs to know the other micro-batches and ranks. None is the mean over
            this micro-batch.
        reference_logps: Bits of float32 log-probs that were computed before, if a collate function brought them.
        column_bits: Bits of the float32 values of the data's columns, int32; `columns` has the values.
        labels: Label of each of the `C` completions, in the order of sequences; None where the examples have none.
        texts: Texts of the data's columns by name, one of each example; on the host.
        row_ends: Of rows that each hold one sequence, where its prompt and where it ends; None for a packed row.
    """

    input_ids: Int[Tensor, "R L"]
    predict_index: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    sequence_id: Int[Tensor, " N"]
    lengths: Int[Tensor, " S"]
    example_of_sequence: Int[Tensor, " S"]
    row_ids: Int[Tensor, " P"]
    completions: tuple[int, ...]
    tree: TreeLayout | None = None
    example_weight: float | None = None
    reference_logps: Int[Tensor, " N"] | None = None
    column_bits: Mapping[str, Int[Tensor, " _"]] = {}
    labels: Bool[Tensor, " C"] | None = None
    texts: Mapping[str, tuple[str, ...]] = {}
    row_ends: Int[Tensor, "2 R"] | None = None

    def __repr__(self) -> str:
        layout = "padded" if self.tree is None else "tree"
        rows, width = self.input_ids.shape
        return (
            f"PreferenceBatch({layout}: {self.examples} examples, {sum(self.completions)} completions, input "
            f"[{rows}, {width}], {self.targets.shape[0]} scored tokens, on {self.input_ids.device})"
        )

    @property
    def examples(self) -> int:
        """Number of examples `P`."""
        return self.row_ids.shape[0]

    @property
    def mismatched(self) -> int:
        """Number of examples with a completion of another prompt, whose sequences are the last ones."""
        return self.lengths.shape[0] - sum(self.completions)

    @property
    def columns(self) -> dict[str, Float[Tensor, " _"]]:
        """Numbers of the data's columns by name, float32: `[P]`, or `[C]` of a column of completions.

        The `C` completions stand in the order of sequences, and no mismatched one is among them.
        """
        return {name: bits.view(torch.float32) for name, bits in self.column_bits.items()}

    @property
    def has_empty_completion(self) -> bool:
        """True where a completion has no tokens; read from shapes and from the host."""
        if self.tree is None:
            return self.input_ids.shape[0] < self.lengths.shape[0]
        return not all(all(branches) for _, branches in self.tree.segments)

    def to(self, device: torch.device | str | int) -> PreferenceBatch:
        """Return the batch on a device; the tensors of one that was collated here travel as one copy.

        The host does not wait for a copy from pinned memory, as Lightning's of a tensor does not. `texts`,
        `completions` and the tree's `segments` stay on the host. Lightning calls this for each batch.
        """
        waits = torch.device(device).type in ("cpu", "mps")  # tensors there could be read before they have come
        return moved(self, lambda tensor: tensor.to(device, non_blocking=not waits))

    def __reduce__(self) -> Any:
        """Return how it is pickled and saved: the tensors of one that was collated here as the bytes of its buffers."""
        return pickled(self)

    def pin_memory(self) -> PreferenceBatch:
        """Return the batch in pinned memory, from which a copy to a device does not stop the host."""
        return moved(self, Tensor.pin_memory)

    def sum_per_sequence(self, token_values: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
        """Sum a value of each scored token over the completion that it belongs to."""
        return sum_per_sequence(token_values, self.sequence_id, self.lengths)


def sum_per_sequence(
    token_values: Float[Tensor, " N"], sequence_id: Int[Tensor, " N"], lengths: Int[Tensor, " S"]
) -> Float[Tensor, " S"]:
    """Sum a value of each scored token over the completion that it belongs to."""
    return token_values.new_zeros(lengths.shape[0]).index_add(0, sequence_id, token_values)
