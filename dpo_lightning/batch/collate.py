"""Tokenised examples -> a batch. The only place that shifts: token t is predicted at position t - 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np

from dpo_lightning.batch.checks import check_examples
from dpo_lightning.batch.columns import Holds
from dpo_lightning.batch.packed import Written, packed
from dpo_lightning.batch.parts import Parts, pieces, ranges
from dpo_lightning.batch.rows import ExampleRows, Said, said_of
from dpo_lightning.batch.types import PreferenceBatch, TokenizedExample, TreeLayout
from dpo_lightning.errors import InputError

# Any id will do: nothing before a row's end attends to what stands behind it, in any causal model.
_PADDING = 0

Collate = Callable[[Sequence[TokenizedExample]], PreferenceBatch]


def collate_padded(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
    """Right-padded rows `[R, L]`, a row for each sequence: right for every causal model, recurrent ones included.

    A completion without tokens has no row. No attention mask goes with it, since padding stands behind every real token
    of its row; so attention keeps its fast causal kernels.

    Raises:
        InputError: as `collate_tree`, and where no completion has a token.
    """
    check_examples(examples)
    parts = Parts.of(examples)
    lengths = parts.lengths[parts.order]
    has_row = lengths > 0
    if not has_row.any():
        raise InputError("no completion of the batch has a token: leave such examples out")
    branches = parts.order[has_row]
    prompts = parts.prompt_lengths[parts.example[branches]]
    ends = prompts + parts.lengths[branches]
    width = int(ends.max())
    input_ids = np.full((len(branches), width), _PADDING)
    row_starts = np.arange(len(branches)) * width
    input_ids.ravel()[ranges(row_starts, ends)] = parts.ids[_sequences(parts, branches)]
    starts = np.zeros_like(lengths)
    starts[has_row] = row_starts + prompts
    view = _scored_view(examples, parts, starts, starts - 1)
    return _batch(examples, parts, {**view, "input_ids": input_ids, "row_ends": np.stack([prompts, ends])})


def collate_tree(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
    """Make one packed row `[1, L]`, the prompt and the branches of each example: every token once, and no padding.

    The first token of each branch is predicted at the prompt's last position. A completion may have no tokens.

    Raises:
        InputError: for no example, for one without a prompt or completions, for a value that does not fit its column,
            naming the row, and where some examples have a label or a column, and others none.
    """
    check_examples(examples)
    parts = Parts.of(examples)
    prompts = parts.prompt_lengths[parts.example]
    opens = np.ones(len(parts.example), dtype=bool)
    np.not_equal(parts.example[1:], parts.example[:-1], out=opens[1:])
    (runs,) = (opens | (parts.lengths > 0)).nonzero()
    queries = (parts.lengths + prompts * opens)[runs]
    keys = (parts.lengths + prompts)[runs]
    layout: dict[str, Any] = {
        "position_ids": Written((1, len(parts.ids)), lambda row: _positions(parts, row[0])),
        "key_index": Written((int(keys.sum()),), lambda index: _sequences(parts, runs, index)),
        "query_offsets": _offsets(queries),
        "key_offsets": _offsets(keys),
    }
    tree = TreeLayout(parts.segments, **layout, most_queries=int(queries.max()), most_keys=int(keys.max()))
    last_of_prompt = parts.prompt_starts + parts.prompt_lengths - 1
    view = _scored_view(examples, parts, parts.starts[parts.order], last_of_prompt[parts.example[parts.order]])
    return _batch(examples, parts, {**view, "input_ids": parts.ids[None], "tree": tree})


def sequence_order(examples: Sequence[TokenizedExample]) -> list[tuple[int, int]]:
    """Example and branch of each sequence of a batch: completion by completion, the mismatched ones at the end."""
    most = max(len(each.completion_ids) for each in examples)
    completions = [(n, k) for k in range(most) for n, each in enumerate(examples) if k < len(each.completion_ids)]
    return completions + [(n, len(each.completion_ids)) for n, each in enumerate(examples) if each.mismatched_ids]


def first_completions(collate: Collate, most: int | None) -> Collate:
    """Return a collate function that takes the first completions of each example, and no mismatched one.

    Args:
        collate: Makes the batch.
        most: How many completions of an example are taken; None for all, and the mismatched one.
    """
    return collate if most is None else _FirstCompletions(collate, most)


@dataclass(frozen=True)
class _FirstCompletions:
    collate: Collate
    most: int

    def __call__(self, examples: Sequence[TokenizedExample]) -> PreferenceBatch:
        check_examples(examples)
        if isinstance(examples, ExampleRows):
            return self.collate(examples.first(self.most))
        return self.collate([each.first(self.most) for each in examples])


def _positions(parts: Parts, out: np.ndarray) -> np.ndarray:
    """Logical position of each token of the packed row: a branch begins where its prompt ends."""
    prompts, branches = parts.prompt_lengths, parts.lengths
    starts = np.concatenate([parts.prompt_starts, parts.starts])
    in_order = starts.argsort()  # of two parts at one place, one has no tokens
    first = np.concatenate([np.zeros_like(prompts), prompts[parts.example]])
    return ranges(first[in_order], np.concatenate([prompts, branches])[in_order], out)


def _sequences(parts: Parts, branches: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Places in the packed row of the tokens of these branches, each behind its prompt's."""
    example = parts.example[branches]
    starts, lengths = np.empty((2, len(branches), 2), dtype=np.int64)
    starts[:, 0], starts[:, 1] = parts.prompt_starts[example], parts.starts[branches]
    lengths[:, 0], lengths[:, 1] = parts.prompt_lengths[example], parts.lengths[branches]
    return ranges(starts.ravel(), lengths.ravel(), out)


def _scored_view(
    examples: Sequence[TokenizedExample], parts: Parts, starts: np.ndarray, before: np.ndarray
) -> dict[str, Any]:
    """The part of a batch that every layout shares.

    Args:
        examples: The examples.
        parts: Their tokens.
        starts: Flat position of each sequence's first completion token, `[S]`.
        before: Flat position at which that one is predicted, `[S]`.
    """
    lengths = parts.lengths[parts.order]
    own = parts.starts[parts.order]

    def predict_index(out: np.ndarray) -> None:
        ranges(starts - 1, lengths, out)
        has_tokens = lengths > 0
        out[(lengths.cumsum() - lengths)[has_tokens]] = before[has_tokens]

    def sequence_id(out: np.ndarray) -> None:
        out[:] = np.arange(len(lengths)).repeat(lengths)

    scored = {
        "predict_index": predict_index,
        "targets": lambda out: pieces(parts.ids, own, lengths, out),
        "sequence_id": sequence_id,
    }
    view: dict[str, Any] = {name: Written((int(lengths.sum()),), write) for name, write in scored.items()}
    counts = parts.masks(examples)
    if counts is not None:
        view = {name: each.made()[counts] for name, each in view.items()}
        lengths = np.bincount(view["sequence_id"], minlength=len(lengths))
    return {**view, "lengths": lengths}


def _batch(examples: Sequence[TokenizedExample], parts: Parts, of_tokens: dict[str, Any]) -> PreferenceBatch:
    """The batch with these arrays of tokens, and with what the data says of the examples.

    Two buffers: what a program keeps of each batch, such as rows and labels, does not keep the tokens.
    """
    said = said_of(examples)
    texts = {name: values for name, values in said.columns.items() if Holds.of(values[0]) is Holds.TEXT}
    of_examples: dict[str, Any] = {
        "lengths": of_tokens.pop("lengths"),
        "example_of_sequence": parts.example[parts.order],
        "row_ids": np.array(said.rows, dtype=np.int64),
        "row_ends": of_tokens.pop("row_ends", None),
        "labels": _labels(said, parts),
        "column_bits": {name: _bits(values, parts) for name, values in said.columns.items() if name not in texts},
    }
    return PreferenceBatch(
        **packed(of_tokens),
        **packed(of_examples),
        completions=parts.completions,
        texts={name: tuple(cast(list[str], values)) for name, values in texts.items()},
    )


def _labels(said: Said, parts: Parts) -> np.ndarray | None:
    if said.labels is None:
        return None
    return np.array([label for own in said.labels for label in own or ()], dtype=bool)[parts.order_of_completions]


def _bits(values: Sequence[Any], parts: Parts) -> Any:
    """Bits of float32: of numbers of examples as they are, of those of completions in the order of sequences."""
    if Holds.of(values[0]) is Holds.NUMBER:
        numbers = np.array([*map(float, values)])
    else:
        numbers = np.array([*map(float, chain.from_iterable(values))])[parts.order_of_completions]
    return numbers.astype(np.float32).view(np.int32)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    lengths.cumsum(out=offsets[1:])
    return offsets
