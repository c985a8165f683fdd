"""The tokens of examples as one row of numbers, and where each prompt and each branch stands in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from dpo_lightning.batch.rows import ExampleRows
from dpo_lightning.batch.types import TokenizedExample
from dpo_lightning.errors import InputError

_LONG = 1000  # numbers of a piece from which on it takes less time to copy it than to compute it


class Parts(NamedTuple):
    """Prompts and the branches that continue them: a packed row `[P0 C1 .. CK P1 C1 .. CK ...]` of `L` tokens.

    All arrays are int64. Branches stand example by example; `order` puts them into the order of sequences.

    Attributes:
        ids: Token ids of the row, `[L]`.
        prompt_starts: Where each prompt begins, `[P]`.
        prompt_lengths: Tokens of each prompt, `[P]`.
        starts: Where each branch begins, `[S]`.
        lengths: Tokens of each branch, `[S]`.
        example: Example that each branch continues, `[S]`.
        order: Number of the branch of each sequence, `[S]`.
        completions: Completions of each example, mismatched ones not counted.
    """

    ids: np.ndarray
    prompt_starts: np.ndarray
    prompt_lengths: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    example: np.ndarray
    order: np.ndarray
    completions: tuple[int, ...]

    @classmethod
    def of(cls, examples: Sequence[TokenizedExample]) -> Parts:
        """Lay out examples that `check_examples` has seen.

        Raises:
            InputError: for a token id that is no whole number, naming the row.
        """
        if isinstance(examples, ExampleRows):
            completions = tuple(examples.counts.tolist())
            parts = cls._laid_out(examples.prompt_lengths, examples.counts, examples.lengths, completions)
            _lay_down(examples, parts)
            return parts
        branches = [each.branches for each in examples]
        parts = cls._laid_out(
            np.array([len(each.prompt_ids) for each in examples]),
            np.array([*map(len, branches)]),
            np.array([len(ids) for own in branches for ids in own]),
            tuple(len(each.completion_ids) for each in examples),
        )
        return parts._replace(ids=_ids(examples, branches))

    @classmethod
    def _laid_out(
        cls, prompts: np.ndarray, counts: np.ndarray, lengths: np.ndarray, completions: tuple[int, ...]
    ) -> Parts:
        """The places of so many tokens, with ids still to come."""
        example = np.arange(len(counts)).repeat(counts)
        first = counts.cumsum() - counts
        before = lengths.cumsum() - lengths  # tokens of earlier branches
        prompt_ends = prompts.cumsum()
        return cls(
            np.empty(prompts.sum() + lengths.sum(), dtype=np.int64),
            prompt_ends - prompts + before[first],
            prompts,
            before + prompt_ends[example],
            lengths,
            example,
            _sequence_order(example, first, np.array(completions)),
            completions,
        )

    @property
    def segments(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Tokens of each prompt and of each of its branches."""
        prompts, counts = self.prompt_lengths.tolist(), np.bincount(self.example).tolist()
        if len({*counts}) == 1:
            alike = self.lengths.reshape(-1, counts[0]).tolist()
            return tuple(zip(prompts, map(tuple, alike), strict=True))
        lengths = iter(self.lengths.tolist())
        return tuple(
            (prompt, tuple(next(lengths) for _ in range(count))) for prompt, count in zip(prompts, counts, strict=True)
        )

    @property
    def order_of_completions(self) -> np.ndarray:
        """Number of each completion in the order of sequences, among the completions example by example, `[C]`."""
        total = sum(self.completions)
        among_branches = self.order[:total]
        return among_branches.argsort().argsort()

    def masks(self, examples: Sequence[TokenizedExample]) -> np.ndarray | None:
        """Return whether each token counts, sequence by sequence, `[N]` of bool; None where all do."""
        if isinstance(examples, ExampleRows) or not any(each.scored or each.mismatched_scored for each in examples):
            return None
        masks = [mask for each in examples for mask in each.scored_branches]
        counts = np.frombuffer(_packed("?", [*chain.from_iterable(masks)]), dtype=bool)
        before = self.lengths.cumsum() - self.lengths
        return counts[ranges(before[self.order], self.lengths[self.order])]


def ranges(starts: np.ndarray, lengths: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return `start, start + 1, ...` of each piece, so many numbers of each, one piece after the other.

    Args:
        starts: First number of each piece; 0 or more of one with numbers.
        lengths: How many each has.
        out: Array to put them into, as long as they are.

    Example:
        >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    ends = lengths.cumsum()
    if ends[-1] > _LONG * len(lengths):
        return pieces(np.arange((starts + lengths).max()), starts, lengths, out)
    return np.add(np.arange(ends[-1]), (starts - (ends - lengths)).repeat(lengths), out=out)


def pieces(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return so many values from each start on, one piece after the other; `out` as in `ranges`."""
    if lengths.sum() > _LONG * len(lengths):
        ends = (starts + lengths).tolist()
        return np.concatenate([values[start:end] for start, end in zip(starts.tolist(), ends, strict=True)], out=out)
    # Without bounds to be checked, numpy writes to `out` itself.
    return values.take(ranges(starts, lengths), out=out, mode="raise" if out is None else "clip")


def _lay_down(examples: ExampleRows, parts: Parts) -> None:
    if len(parts.ids) < _LONG * len(examples):
        parts.ids[ranges(parts.prompt_starts, parts.prompt_lengths)] = examples.prompt_ids
        parts.ids[ranges(parts.starts, parts.lengths)] = examples.completion_ids
    else:
        np.concatenate(_by_example(examples), out=parts.ids)


def _by_example(examples: ExampleRows) -> list[np.ndarray]:
    """The prompt and the completions of each example, which stand together."""
    completions = examples.lengths.cumsum()[examples.counts.cumsum() - 1]
    prompts = _cut(examples.prompt_ids, examples.prompt_lengths.cumsum())
    return [*chain.from_iterable(zip(prompts, _cut(examples.completion_ids, completions), strict=True))]


def _cut(ids: np.ndarray, stops: np.ndarray) -> list[np.ndarray]:
    ends = stops.tolist()
    return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _sequence_order(example: np.ndarray, first: np.ndarray, completions: np.ndarray) -> np.ndarray:
    """Completion by completion, the mismatched ones at the end; see `sequence_order`."""
    number = np.arange(len(example)) - first[example]
    is_mismatched = number >= completions[example]
    return np.lexsort((example, np.where(is_mismatched, completions.max(), number)))


def _ids(examples: Sequence[TokenizedExample], branches: Sequence[Sequence[list[int]]]) -> np.ndarray:
    row: list[int] = []
    for each, own in zip(examples, branches, strict=True):
        row += each.prompt_ids
        for ids in own:
            row += ids
    try:
        return np.frombuffer(_packed("q", row), dtype=np.int64)
    except struct.error:
        raise _no_id(examples) from None


def _packed(kind: str, values: Sequence[Any]) -> bytes:
    """The values as bytes; 9 ns each, where `torch.tensor` takes 110 and would make floats of some of them."""
    return struct.pack(f"{len(values)}{kind}", *values)


def _no_id(examples: Sequence[TokenizedExample]) -> InputError:
    for each in examples:
        for token in chain(each.prompt_ids, *each.branches):
            try:
                struct.pack("q", token)
            except struct.error:
                return InputError(f"row {each.place} (from 0): {token!r:.40} is no token id: give a whole number")
    raise AssertionError("each token is one by itself")
