"""Scores of each held-out example, gathered over a validation, and the texts of the pairs that are most wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.batch.types import PreferenceBatch, TokenizedExample
from dpo_lightning.data import PreferenceSource
from dpo_lightning.data.dataset import ExampleDataset
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import from_all_ranks

ID = "pair_id"
_WHOLE = (ID, "chosen_tokens", "rejected_tokens", "tokens")
_WRITTEN = (
    "loss",
    *(f"{name}/{side}" for name in ("rewards", "logps", "logratios") for side in ("chosen", "rejected")),
    *("rewards", "logps", "logratios"),
)
_LABEL = "desirable"
_MOST_WRONG = 20


class _Part(NamedTuple):
    """Values of a batch, on its device, or of many of them, on the host.

    Attributes:
        names: Names of the values, whole numbers first.
        whole: `[W, n]`, int64.
        values: `[V, n]`, float32.
        set: Number of the set.
        sources: Source of each example; None where there is one.
    """

    names: tuple[str, ...]
    whole: Any
    values: Any
    set: int
    sources: tuple[str, ...] | None


class HeldOutScores:
    """Collects what a validation step returns of each example: numbers alone are kept, on the device until its end."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def begin(self) -> None:
        """Forget a validation that was interrupted."""
        self._parts = []

    def add(self, outputs: Any, batch: PreferenceBatch | None, number: int) -> None:
        """Add the examples of a batch to the set with that number; what is no mapping of such values adds nothing."""
        if not isinstance(outputs, Mapping) or not isinstance(outputs.get(ID), Tensor):
            return
        count = outputs[ID].shape
        there = {name: each for name, each in outputs.items() if isinstance(each, Tensor) and each.shape == count}
        if len(count) != 1:
            return
        whole = {name: there[name].long() for name in _WHOLE if name in there}
        if _LABEL in there:
            whole["label"] = there[_LABEL].long()
        values = {name: there[name].float() for name in _WRITTEN if name in there}
        stacked = torch.stack([*values.values()]) if values else torch.empty(0, len(outputs[ID]))
        self._parts.append(
            _Part((*whole, *values), torch.stack([*whole.values()]), stacked, number, _sources(batch, len(outputs[ID])))
        )

    def rows(self, sets: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row of `pairs.jsonl` for each example of all ranks, by set and row; every rank must call.

        Args:
            sets: Names of the sets; none for one without a name.
        """
        own = [
            part._replace(whole=part.whole.cpu().numpy(), values=part.values.cpu().numpy()) for part in self._joined()
        ]
        self._parts = []
        found = [row for parts in from_all_ranks(own) for part in parts for row in _rows(part, sets)]
        order = {name: number for number, name in enumerate(sets)}
        return sorted(found, key=lambda row: (order.get(row["set"], 0), row[ID]))

    def _joined(self) -> Iterator[_Part]:
        """Yield the parts, those of the same set and names as one, so that there is one transfer for each."""
        together: dict[tuple[Any, ...], list[_Part]] = {}
        for part in self._parts:
            together.setdefault((part.names, part.set, part.sources is None), []).append(part)
        for parts in together.values():
            sources = None if parts[0].sources is None else tuple(name for part in parts for name in part.sources or ())
            whole, values = torch.cat([part.whole for part in parts], 1), torch.cat([part.values for part in parts], 1)
            yield parts[0]._replace(whole=whole, values=values, sources=sources)


def worst_pairs(rows: Sequence[Mapping[str, Any]], most: int = _MOST_WRONG) -> list[dict[str, Any]]:
    """Return the pairs with the most negative reward margins, the worst one first; none without a chosen reward."""
    chosen, rejected = "rewards/chosen", "rewards/rejected"
    margins = {n: row[chosen] - row[rejected] for n, row in enumerate(rows) if {chosen, rejected} <= row.keys()}
    wrong = [number for number, margin in margins.items() if margin < 0]
    return [dict(rows[number]) for number in sorted(wrong, key=lambda number: margins[number])[:most]]


def with_texts(
    rows: Sequence[Mapping[str, Any]], data: PreferenceSource | None, sets: Sequence[str]
) -> list[dict[str, Any]]:
    """Return rows of pairs with `prompt`, `chosen` and `rejected` as the tokens decode; as they are without the data.

    Args:
        rows: Rows of `pairs.jsonl`.
        data: The run's data.
        sets: Names of the sets that are validated, in order.
    """
    held_out = _held_out(data)
    if data is None or len(held_out) != max(len(sets), 1):
        return [dict(row) for row in rows]
    finders = [_Finder(examples) for examples in held_out]
    tokenizer, found = data.tokenizer, []
    for row in rows:
        example = finders[sets.index(row["set"]) if sets else 0].find(row)
        texts = {} if example is None else _texts(tokenizer, example)
        found.append({**row, **texts})
    return found


def _sources(batch: PreferenceBatch | None, count: int) -> tuple[str, ...] | None:
    """Return the source of each example, or of each labelled completion."""
    if batch is None or SOURCE not in batch.texts:
        return None
    names = batch.texts[SOURCE]
    if len(names) == count:
        return names
    return tuple(names[place] for place in batch.example_of_sequence[:count].tolist())


def _rows(part: _Part, sets: Sequence[str]) -> Iterator[dict[str, Any]]:
    name = sets[part.set] if part.set < len(sets) else None
    columns = [*part.whole.tolist(), *part.values.tolist()]
    for place, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(part.names, values, strict=True))
        if "label" in row:
            row["label"] = bool(row["label"])
        source = None if part.sources is None else part.sources[place]
        yield {ID: row.pop(ID), "set": name, "source": source, **row}


def _held_out(data: PreferenceSource | None) -> list[ExampleDataset]:
    try:
        return [] if data is None else data.examples_used("validate")
    except InputError:  # a loader of the user's own is validated
        return []


class _Finder:
    """Finds the example of a row of scores: that of the source row with as many tokens in each completion."""

    def __init__(self, examples: ExampleDataset) -> None:
        self._examples = examples
        self._numbers = np.asarray(examples.rows["row"][:])

    def find(self, row: Mapping[str, Any]) -> TokenizedExample | None:
        """Return it; None where the data has none."""
        lengths = [row.get("chosen_tokens"), row.get("rejected_tokens")]
        for place in np.flatnonzero(self._numbers == row[ID]).tolist():
            example = self._examples[place]
            if row["source"] in (None, example.columns.get(SOURCE)) and lengths == _lengths(example):
                return example
        return None


def _lengths(example: TokenizedExample) -> list[int]:
    return [sum(mask) for mask in example.scored_branches]


def _texts(tokenizer: Any, example: TokenizedExample) -> dict[str, str]:
    parts = [example.prompt_ids, *example.completion_ids]
    return dict(zip(("prompt", "chosen", "rejected"), (tokenizer.decode(list(ids)) for ids in parts), strict=True))
