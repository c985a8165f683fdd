"""The held-out pairs that are most wrong, and their texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.batch.types import TokenizedExample
from dpo_lightning.data.dataset import ExampleDataset, ExamplesInArrays
from dpo_lightning.data.loader import LazyLoader

_MOST_WRONG = 20


def worst_pairs(rows: Sequence[Mapping[str, Any]], most: int = _MOST_WRONG) -> list[dict[str, Any]]:
    """Return the pairs with the most negative reward margins, the worst one first; none without a chosen reward."""
    chosen, rejected = "rewards/chosen", "rewards/rejected"
    margins = {n: row[chosen] - row[rejected] for n, row in enumerate(rows) if {chosen, rejected} <= row.keys()}
    wrong = [number for number, margin in margins.items() if margin < 0]
    return [dict(rows[number]) for number in sorted(wrong, key=lambda number: margins[number])[:most]]


def with_texts(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    held_out: Sequence[ExampleDataset | None],
    sets: Sequence[str],
) -> list[dict[str, Any]]:
    """Return rows of pairs with `prompt`, `chosen` and `rejected` as the tokens decode; as they are without examples.

    Args:
        rows: Rows of `pairs.jsonl`.
        tokenizer: That of the run; None of a run without a DataModule of this package.
        held_out: Examples of each set that was validated.
        sets: Names of the sets, in order.
    """
    if tokenizer is None or len(held_out) != max(len(sets), 1):
        return [dict(row) for row in rows]
    finders: dict[int, _Finder] = {}
    found = []
    for row in rows:
        number = sets.index(row["set"]) if sets else 0
        examples = held_out[number]
        example = None
        if examples is not None:
            example = finders.setdefault(number, _Finder(examples)).find(row)
        found.append({**row, **({} if example is None else _texts(tokenizer, example))})
    return found


def examples_of(loaders: Any) -> Iterator[ExampleDataset | None]:
    """Yield the examples that each loader reads; None of one that reads others.

    They are asked for in the loaders, and not in the DataModule, whose `val_dataloader` may be a user's own.

    Args:
        loaders: One loader, or a collection of them.
    """
    if isinstance(loaders, Mapping | list | tuple):
        for each in loaders.values() if isinstance(loaders, Mapping) else loaders:
            yield from examples_of(each)
        return
    dataset = getattr(loaders.batches if isinstance(loaders, LazyLoader) else loaders, "dataset", None)
    dataset = dataset.examples if isinstance(dataset, ExamplesInArrays) else dataset
    yield dataset if isinstance(dataset, ExampleDataset) else None


class _Finder:
    """Finds the example of a row of scores: that of the source row with as many tokens in each completion."""

    def __init__(self, examples: ExampleDataset) -> None:
        self._examples = examples
        self._numbers = np.asarray(examples.rows["row"][:])

    def find(self, row: Mapping[str, Any]) -> TokenizedExample | None:
        """Return it; None where the data has none."""
        lengths = [row.get("chosen_tokens"), row.get("rejected_tokens")]
        for place in np.flatnonzero(self._numbers == row["pair_id"]).tolist():
            example = self._examples[place]
            if row["source"] in (None, example.columns.get(SOURCE)) and lengths == _lengths(example):
                return example
        return None


def _lengths(example: TokenizedExample) -> list[int]:
    return [sum(mask) for mask in example.scored_branches]


def _texts(tokenizer: Any, example: TokenizedExample) -> dict[str, str]:
    parts = [example.prompt_ids, *example.completion_ids]
    return dict(zip(("prompt", "chosen", "rejected"), (tokenizer.decode(list(ids)) for ids in parts), strict=True))
