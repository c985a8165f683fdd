"""Collation in Python lists, token by token: what the arrays of the package are compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, compress
from typing import Any

import torch

from dpo_lightning.batch import PreferenceBatch, TokenizedExample, TreeLayout, sequence_order


def random_examples(rng: random.Random) -> list[TokenizedExample]:
    """A few examples with any number of completions, some of them empty, with all that examples may have."""
    has_masks, has_labels, has_columns = (rng.random() < 0.5 for _ in range(3))
    return [_random_example(rng, row, has_masks, has_labels, has_columns) for row in range(rng.randrange(1, 7))]


def _random_example(
    rng: random.Random, row: int, has_masks: bool, has_labels: bool, has_columns: bool
) -> TokenizedExample:
    def tokens(fewest: int) -> list[int]:
        return [rng.randrange(128_000) for _ in range(rng.randrange(fewest, 7))]

    def mask(ids: list[int]) -> list[bool]:
        return [n == 0 or rng.random() < 0.5 for n in range(len(ids))]

    completions = [tokens(0) for _ in range(rng.randrange(1, 5))]
    if row == 0:
        completions[0] = tokens(1)  # a batch of padded rows needs one
    mismatched = tokens(1) if rng.random() < 0.4 else []
    score = [rng.uniform(-9, 9) for _ in completions]
    return TokenizedExample(
        100 + row,
        tokens(1),
        completions,
        mismatched,
        labels=[rng.random() < 0.5 for _ in completions] if has_labels else None,
        columns={"weight": rng.random(), "score": score, "source": f"s{row}"} if has_columns else {},
        scored=[mask(ids) for ids in completions] if has_masks and rng.random() < 0.7 else [],
        mismatched_scored=mask(mismatched) if has_masks and rng.random() < 0.5 else [],
    )


def padded_by_lists(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
    """What `collate_padded` gives."""
    rows = [
        (examples[example].prompt_ids, examples[example].branches[k])
        for example, k in sequence_order(examples)
        if examples[example].branches[k]
    ]
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    predictors, ends = [], []
    for number, (prompt, completion) in enumerate(rows):
        input_ids[number, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        first = number * width + len(prompt) - 1
        predictors.append(range(first, first + len(completion)))
        ends.append([len(prompt), len(prompt) + len(completion)])
    return _batch(examples, input_ids, predictors)._replace(row_ends=torch.tensor(ends).T)


def tree_by_lists(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
    """What `collate_tree` gives."""
    row: list[int] = []
    positions: list[int] = []
    runs: list[tuple[int, list[int]]] = []
    predictors: dict[tuple[int, int], Sequence[int]] = {}
    for number, example in enumerate(examples):
        prompt = [*range(len(row), len(row) + len(example.prompt_ids))]
        row += example.prompt_ids
        positions += range(len(prompt))
        for k, ids in enumerate(example.branches):
            branch = [*range(len(row), len(row) + len(ids))]
            row += ids
            positions += range(len(prompt), len(prompt) + len(ids))
            if k == 0 or ids:
                runs.append((len(ids) + len(prompt) * (k == 0), [*prompt, *branch]))
            predictors[number, k] = [prompt[-1], *branch][: len(ids)]
    tree = TreeLayout(
        segments=tuple((len(each.prompt_ids), tuple(map(len, each.branches))) for each in examples),
        position_ids=torch.tensor([positions]),
        key_index=torch.tensor([key for _, keys in runs for key in keys]),
        query_offsets=torch.tensor([0, *accumulate(queries for queries, _ in runs)], dtype=torch.int32),
        key_offsets=torch.tensor([0, *accumulate(len(keys) for _, keys in runs)], dtype=torch.int32),
        most_queries=max(queries for queries, _ in runs),
        most_keys=max(len(keys) for _, keys in runs),
    )
    in_order = [predictors[place] for place in sequence_order(examples)]
    return _batch(examples, torch.tensor([row]), in_order)._replace(tree=tree)


def _batch(
    examples: Sequence[TokenizedExample], input_ids: torch.Tensor, predictors: Sequence[Sequence[int]]
) -> PreferenceBatch:
    order = sequence_order(examples)
    masks = [examples[example].scored_branches[k] for example, k in order]
    sequences = [[*compress(examples[e].branches[k], mask)] for (e, k), mask in zip(order, masks, strict=True)]
    predicted = zip(filter(None, predictors), filter(None, masks), strict=True)
    lengths = torch.tensor([len(tokens) for tokens in sequences])

    def of_completions(values: Sequence[Any]) -> list[Any]:
        return [values[example][k] for example, k in order if k < len(values[example])]

    columns = {name: [each.columns[name] for each in examples] for name in examples[0].columns}
    numbers = {
        name: of_completions(values) if isinstance(values[0], list) else values
        for name, values in columns.items()
        if not isinstance(values[0], str)
    }
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
            name: torch.tensor(values, dtype=torch.float32).view(torch.int32) for name, values in numbers.items()
        },
        labels=None if examples[0].labels is None else torch.tensor(of_completions([e.labels for e in examples])),
        texts={name: tuple(values) for name, values in columns.items() if name not in numbers},
    )
