"""Tokens of the examples in a batch, back from whatever layout it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dpo_lightning.batch.types import PreferenceBatch, TreeLayout


class ExampleTokens(NamedTuple):
    """Token ids of an example, on the host.

    Attributes:
        prompt: Those of the prompt.
        completions: Those of each completion, no mismatched one among them.
    """

    prompt: list[int]
    completions: list[list[int]]


def batch_tokens(batch: PreferenceBatch) -> list[ExampleTokens] | None:
    """Return the tokens of each example; None where an empty completion has no row. Waits for the device."""
    if batch.tree is not None:
        found = [*_of_tree(batch.input_ids[0].tolist(), batch.tree)]
    elif batch.row_ends is None or batch.has_empty_completion:
        return None
    else:
        found = _of_rows(batch, batch.row_ends.tolist())
    return [
        ExampleTokens(prompt, branches[:count])
        for (prompt, branches), count in zip(found, batch.completions, strict=True)
    ]


def _of_tree(row: list[int], tree: TreeLayout) -> Iterator[ExampleTokens]:
    place = 0
    for prompt, lengths in tree.segments:
        parts = []
        for length in (prompt, *lengths):
            parts.append(row[place : place + length])
            place += length
        yield ExampleTokens(parts[0], parts[1:])


def _of_rows(batch: PreferenceBatch, ends: list[list[int]]) -> list[ExampleTokens]:
    found: dict[int, ExampleTokens] = {}
    for example, ids, prompt, end in zip(
        batch.example_of_sequence.tolist(), batch.input_ids.tolist(), *ends, strict=True
    ):
        own = found.setdefault(example, ExampleTokens(ids[:prompt], []))
        own.completions.append(ids[prompt:end])
    return [found[number] for number in range(batch.examples)]
