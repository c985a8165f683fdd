"""A share of the training rows that is held out: rows, or prompts, as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets

HeldOutBy: TypeAlias = Literal["row", "prompt"]
"""Groups that stay on one side of a split: the examples of a source row, or those of a prompt too."""

_BLOCK = 10_000  # rows


def hold_out(
    rows: datasets.Dataset, fraction: float, seed: int, by: HeldOutBy
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Split tokenised rows in two, each example of a group on the same side.

    Args:
        rows: Rows with `row`, the number of the source row, and `prompt_ids`.
        fraction: Share of the groups that is held out, between 0 and 1.
        seed: Of the choice and of the order.
        by: What a group is. Prompts are equal where their token ids are.

    Raises:
        InputError: where nothing would be left on a side.
    """
    groups = _groups(rows, by)
    count = int(groups.max(initial=-1)) + 1
    try:
        if count == len(rows):
            parts = rows.train_test_split(test_size=fraction, seed=seed)
            return parts["train"], parts["test"]
        chosen = _numbers(count).train_test_split(test_size=fraction, seed=seed)
    except ValueError:
        what = "pairs" if count == len(rows) else f"{by}s"
        problem = f"{fraction} of {count} {what} leaves none to train on, or to hold out"
        raise InputError(f"data.val_split: {problem}: give another share, more rows, or a split of its own") from None
    return _select(rows, groups, chosen["train"]["group"][:]), _select(rows, groups, chosen["test"]["group"][:])


def _numbers(count: int) -> datasets.Dataset:
    from datasets import Dataset

    return Dataset.from_dict({"group": range(count)})


def _select(rows: datasets.Dataset, groups: np.ndarray, chosen: list[int]) -> datasets.Dataset:
    """Take the examples of groups, in the order of the groups and, within one, of the rows."""
    place = np.full(groups.max() + 1, -1)
    place[chosen] = np.arange(len(chosen))
    order = np.argsort(place[groups], kind="stable")
    return rows.select(order[np.searchsorted(place[groups][order], 0) :])


def _groups(rows: datasets.Dataset, by: HeldOutBy) -> np.ndarray:
    """Return the number of each example's group, counted from 0."""
    labels = _numbered(np.asarray(rows["row"][:]))
    if by == "row":
        return labels
    prompts, source_rows, before = _prompts(rows), labels, np.empty(0)
    while not np.array_equal(labels, before):  # a row may have several prompts, which are one group then
        before = labels
        for codes in (prompts, source_rows):
            least = np.full(codes.max(initial=-1) + 1, len(codes))
            np.minimum.at(least, codes, labels)
            labels = least[codes]
    return _numbered(labels)


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


def _prompts(rows: datasets.Dataset) -> np.ndarray:
    """Return a number for each example, the same for equal prompts."""
    import pyarrow.compute as pc

    numbers: dict[bytes, int] = {}
    codes = []
    for block in rows.select_columns(["prompt_ids"]).with_format("arrow").iter(batch_size=_BLOCK):
        prompts = block["prompt_ids"]
        ends = np.cumsum(pc.list_value_length(prompts).to_numpy())
        flat = pc.list_flatten(prompts).to_numpy()
        codes += [numbers.setdefault(ids.tobytes(), len(numbers)) for ids in np.split(flat, ends[:-1])]
    return np.array(codes, dtype=np.int64)
