"""Orders of the training rows: a curriculum in place of shuffling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dpo_lightning.batch import COLUMNS, Column
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.errors import InputError
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.kinds import check_fields

if TYPE_CHECKING:
    import datasets


class Order(ABC):
    """An order of the training rows, the same in every epoch: a curriculum.

    For one of your own, implement `keys` in a frozen dataclass, and name in `reads` the columns that it needs.

    Attributes:
        reads: Columns of the data that it reads, which `data.format` must give.
    """

    reads: ClassVar[Mapping[str, Column]] = {}

    @abstractmethod
    def keys(self, rows: datasets.Dataset, lengths: Lengths) -> np.ndarray:
        """Return a number of each row, `[rows]`; the smallest comes first.

        Args:
            rows: The tokenised training rows.
            lengths: Tokens of each of them.
        """


@dataclass(frozen=True)
class ByLength(Order):
    """Rows with few tokens first.

    Args:
        descending: Begin with the longest.
    """

    descending: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "ByLength.")

    def keys(self, rows: datasets.Dataset, lengths: Lengths) -> np.ndarray:
        """Return the tokens of prompt and completions together."""
        return -lengths.tokens if self.descending else lengths.tokens


@dataclass(frozen=True)
class ByMargin(Order):
    """Rows with a small margin first: the pairs that are hardest to tell apart.

    Args:
        descending: Begin with the largest margin, the easy end, as Curry-DPO does (arXiv:2403.07230).
    """

    reads: ClassVar[Mapping[str, Column]] = {"margin": COLUMNS["margin"]}

    descending: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "ByMargin.")

    def keys(self, rows: datasets.Dataset, lengths: Lengths) -> np.ndarray:
        """Return the margins.

        Raises:
            InputError: when the format names no column of margins.
        """
        if "margin" not in rows.column_names:
            raise InputError("data.order ByMargin reads the margin of each row: name its column in data.format.margin")
        margins = np.asarray(rows["margin"][:], dtype=float)
        return -margins if self.descending else margins


def checked_keys(order: Order, rows: datasets.Dataset, lengths: Lengths) -> np.ndarray:
    """Return the keys of an order, which may be the user's.

    Raises:
        InputError: for other than a number of each row.
    """
    keys = np.asarray(order.keys(rows, lengths))
    if keys.shape != (len(rows),) or keys.dtype.kind not in "biuf" or not np.isfinite(keys).all():
        raise InputError(
            f"data.order {type(order).__name__}: keys must be a finite number of each of the {len(rows)} rows, got an "
            f"array of shape {keys.shape} and type {keys.dtype}"
        )
    return keys


def checked_order(order: object, length_grouped: bool | None) -> Order | None:
    """Return the order of a run.

    Args:
        order: What was given; None for shuffled rows.
        length_grouped: Whether batches are to have rows of similar length.

    Raises:
        InputError: for what is none, and beside batches by length.
    """
    if order is None:
        return None
    if not isinstance(order, Order):
        raise wrong_kind("data.order", order, Order, "give ByLength(), ByMargin() or one of your own")
    if length_grouped:
        raise InputError("data.length_grouped: data.order says the order: leave one of them out")
    return order


def check_order_fits(order: Order, batch_tokens: int | None, parts: Sequence[Part]) -> None:
    """Refuse an order of rows of which each epoch has others, in batches whose number depends on the rows.

    Args:
        order: The order.
        batch_tokens: Most tokens of a batch, where it is not a number of pairs.
        parts: The sources.

    Raises:
        InputError: naming the source.
    """
    changing = next((part for part in parts if part.taken % part.size), None)
    if batch_tokens is not None and changing is not None:
        raise InputError(
            f"data.order {type(order).__name__} with data.batch_tokens: each epoch has another part of source "
            f"{changing.name!r}, so it would not have equally many batches: use data.batch_pairs, or whole passes"
        )
