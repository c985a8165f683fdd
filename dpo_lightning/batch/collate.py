"""Tokenised examples -> a batch. The only place that shifts: token t is predicted at position t - 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any, cast

import torch

from dpo_lightning.batch.checks import check_examples
from dpo_lightning.batch.columns import Holds
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
    sequences = [
        (examples[example].prompt_ids, examples[example].branches[k]) for example, k in sequence_order(examples)
    ]
    rows = [(prompt, completion) for prompt, completion in sequences if completion]
    if not rows:
        raise InputError("no completion of the batch has a token: leave such examples out")
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    input_ids = torch.full((len(rows), width), _PADDING)
    predictors = []
    for number, (prompt, completion) in enumerate(rows):
        input_ids[number, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        first = number * width + len(prompt) - 1
        predictors.append(range(first, first + len(completion)))
    ends = [[len(prompt), len(prompt) + len(completion)] for prompt, completion in rows]
    return _batch(examples, input_ids, predictors)._replace(row_ends=torch.tensor(ends).T)


def collate_tree(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
    """Make one packed row `[1, L]`, the prompt and the branches of each example: every token once, and no padding.

    The first token of each branch is predicted at the prompt's last position. A completion may have no tokens.

    Raises:
        InputError: for no example, for one without a prompt or completions, for a value that does not fit its column,
            naming the row, and where some examples have a label or a column, and others none.
    """
    check_examples(examples)
    segments = tuple((len(each.prompt_ids), tuple(map(len, each.branches))) for each in examples)
    row: list[int] = []
    positions: list[int] = []
    keys: list[int] = []
    predictors: list[list[Sequence[int]]] = []
    for example, (prompt, branches) in zip(examples, segments, strict=True):
        start, end_of_prompt = len(row), len(row) + prompt
        row += example.prompt_ids
        positions += range(prompt)
        keys += range(start, end_of_prompt)
        predictors.append([])
        for number, (ids, length) in enumerate(zip(example.branches, branches, strict=True)):
            first = len(row)
            row += ids
            positions += range(prompt, prompt + length)
            if number and length:
                keys += range(start, end_of_prompt)
            keys += range(first, len(row))
            predictors[-1].append([end_of_prompt - 1, *range(first, len(row) - 1)][:length])
    queries = [run for p, (c, *others) in segments for run in (p + c, *filter(None, others))]
    keys_of_runs = [p + run for p, (c, *others) in segments for run in (c, *filter(None, others))]
    tree = TreeLayout(
        segments=segments,
        position_ids=torch.tensor([positions]),
        key_index=torch.tensor(keys),
        query_offsets=_offsets(queries),
        key_offsets=_offsets(keys_of_runs),
        most_queries=max(queries),
        most_keys=max(keys_of_runs),
    )
    in_order = [predictors[example][k] for example, k in sequence_order(examples)]
    return _batch(examples, torch.tensor([row]), in_order)._replace(tree=tree)


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
        return self.collate([each.first(self.most) for each in examples])


def _batch(
    examples: Sequence[TokenizedExample], input_ids: torch.Tensor, predictors: Sequence[Sequence[int]]
) -> PreferenceBatch:
    """The scored-token view, from the flat positions at which each sequence is predicted, in the order of sequences."""
    order = sequence_order(examples)
    masks = [examples[example].scored_branches[k] for example, k in order]
    sequences = [
        [*compress(examples[example].branches[k], mask)] for (example, k), mask in zip(order, masks, strict=True)
    ]
    predicted = zip(filter(None, predictors), filter(None, masks), strict=True)
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    labels = None if examples[0].labels is None else torch.tensor(_of_each([each.labels for each in examples], order))
    columns = {name: [each.columns[name] for each in examples] for name in examples[0].columns}
    return PreferenceBatch(
        input_ids=input_ids,
        predict_index=torch.tensor([place for places, mask in predicted for place in compress(places, mask)]),
        targets=torch.tensor([token for tokens in sequences for token in tokens]),
        sequence_id=torch.arange(len(sequences)).repeat_interleave(lengths),
        lengths=lengths,
        example_of_sequence=torch.tensor([example for example, _ in order]),
        row_ids=torch.tensor([each.row for each in examples]),
        completions=tuple(len(each.completion_ids) for each in examples),
        column_bits={
            name: torch.tensor(_in_order(values, order), dtype=torch.float32).view(torch.int32)
            for name, values in columns.items()
            if Holds.of(values[0]) is not Holds.TEXT
        },
        labels=labels,
        texts={
            name: tuple(cast(list[str], values))
            for name, values in columns.items()
            if Holds.of(values[0]) is Holds.TEXT
        },
    )


def _in_order(values: list[Any], order: Sequence[tuple[int, int]]) -> list[float]:
    """The numbers of examples as they are, those of completions in the order of sequences."""
    if Holds.of(values[0]) is Holds.NUMBER:
        return [float(value) for value in values]
    return [float(value) for value in _of_each(values, order)]


def _of_each(values: Sequence[Any], order: Sequence[tuple[int, int]]) -> list[Any]:
    """Return what the examples have of each completion, in the order of sequences."""
    return [values[example][k] for example, k in order if k < len(values[example])]


def _offsets(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
