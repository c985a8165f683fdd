"""What a run reads of the data: the DataModule asks its module before it reads a row."""

from __future__ import annotations

from typing import NamedTuple

from dpo_lightning.data.formats import Format
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Reads, UnpairedObjective


class DataRead(NamedTuple):
    """What a module reads of the data.

    Attributes:
        objective: What it trains with, as messages name it.
        unpaired: Whether it trains on single completions with a label, not on pairs.
        reads: What its loss reads; columns of the data and mismatched completions count here.
    """

    objective: str
    unpaired: bool
    reads: Reads

    @classmethod
    def by(cls, objective: AnyObjective) -> DataRead:
        """What the objective reads."""
        return cls(type(objective).__name__, isinstance(objective, UnpairedObjective), objective.reads)


def data_read(module: object) -> DataRead | None:
    """What a module says, as `PreferenceModule` does; None of one without ``data_read``, and without a module."""
    ask = getattr(module, "data_read", None)
    return None if ask is None else ask()


def check_read(read: DataRead, row_format: Format, *, predicting: bool) -> None:
    """Compare what is read with what the format finds in a row; rewards, all that a prediction has, need no column.

    Raises:
        InputError: for pairs where single completions are read, and the other way round; for a column that the loss
            reads and nobody named, and for one that is named and not read.
    """
    if read.unpaired and not row_format.unpaired:
        raise InputError(
            f"objective {read.objective} reads single completions with a label, and data.format gives pairs: set "
            "data.format to UnpairedFormat, which takes a pair for two of them"
        )
    if row_format.unpaired and not read.unpaired:
        raise InputError(
            f"objective {read.objective} reads pairs, and data.format {type(row_format).__name__} gives single "
            "completions: take KTO or UnpairedBCO, or leave data.format out for rows with `chosen` and `rejected`"
        )
    wanted, named = read.reads.columns, row_format.columns_named.keys()
    for name in sorted(wanted - named):
        if not predicting:
            raise InputError(f"the objective reads the {name} of each row: name its column in data.format.{name}")
    for name in sorted(named - wanted):
        raise InputError(
            f"data.format.{name}: the objective does not read it: leave it out, or take one that does; a subclass "
            "whose pair_losses reads it says so in data_read"
        )
