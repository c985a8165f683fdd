"""The needs of a run, compared with the data's format: the DataModule asks its module before it reads a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dpo_lightning.batch import Holds
from dpo_lightning.data.blocks import read_blocks
from dpo_lightning.data.columns import check_declared
from dpo_lightning.data.formats import Format
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Compares, Reads
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.kinds import annotations_of, check_kinds
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from datasets import Dataset


class DataRead(NamedTuple):
    """The needs of a module: which examples and columns it reads.

    Attributes:
        objective: What it trains with, as messages name it.
        compares: The completions that its loss compares.
        reads: What its loss reads; columns of the data and mismatched completions count here.
        columns: Names of further columns that it reads, which are declared by the format alone.
        fewest: Completions of an example that its loss needs at least.
    """

    objective: str
    compares: Compares
    reads: Reads
    columns: frozenset[str] = frozenset()
    fewest: int = 1

    @classmethod
    def by(cls, objective: AnyObjective) -> DataRead:
        """Return the needs of an objective."""
        name, fewest = type(objective).__name__, objective.fewest_completions
        return cls(name, objective.compares, objective.reads, objective.reads_columns, fewest)


def checked_format(given: object) -> Format:
    """Return a data format that says what its examples are.

    Raises:
        InputError: for what is no format, and for one that does not say it, or declares columns that are none.
    """
    if not isinstance(given, Format):
        raise wrong_kind("data.format", given, Format, "give RowFormat(...), UnpairedFormat(...) or one of your own")
    gives = getattr(given, "gives", None)  # a class of the user's, which may leave it out
    if gives not in [each.given_by for each in Compares]:
        raise InputError(
            f"data.format {type(given).__name__}: gives is {gives!r:.60}: write `gives = Compares.PAIRS`, "
            "`Compares.LABELLED` or `Compares.LISTS` in the class"
        )
    check_declared(given.columns, type(given).__name__)
    _check_reading(given)
    return given


def _check_reading(given: Format) -> None:
    """Check what every format has, also one of the user's that checks nothing."""
    name = type(given).__name__
    if isinstance(given.ignore, str):
        raise InputError(
            f"{name}.ignore: name a list of columns, got {given.ignore!r}: write [{one_line(given.ignore)}]"
        )
    settings = {name: getattr(given, name) for name in ("ignore", "as_messages", "system")}
    check_kinds(f"{name}.", annotations_of(Format), settings)
    if given.as_messages and getattr(given, "control_tokens", False):
        raise InputError(
            "format.as_messages and format.control_tokens: a text has its chat template already, or is given one: "
            "set one of them"
        )


def check_read(read: DataRead, row_format: Format, *, predicting: bool) -> None:
    """Compare what is read with what the format finds in a row; rewards, all that a prediction has, need no column.

    Where the format has yet to look at rows, the kind of its examples is not compared, nor a column that it may find.
    Texts are there for whoever asked for them, since no loss here reads one.

    Raises:
        InputError: for pairs where single completions are read, and the other way round; for a column that the loss
            reads and nobody named, and for one of numbers that is named and not read.
    """
    if row_format.gives is not read.compares.given_by and not row_format.looks:
        raise _other_examples(read, row_format)
    wanted, given = read.reads.columns | read.columns, row_format.columns
    for name in sorted(wanted - given.keys()):
        if not predicting and (name in _settings(row_format) or not row_format.looks):
            raise _not_given(name, row_format)
    ranking = {"score"} if row_format.gives is Compares.LISTS else set()  # metrics rank the list by it
    for name in sorted(given.keys() - wanted - ranking):
        if given[name].holds is not Holds.TEXT:
            raise InputError(
                f"data.format.{name}: the objective does not read it: leave it out, or take one that does; a subclass "
                "whose pair_losses reads it says so in data_read"
            )


def check_fewest(read: DataRead, encoded: Dataset, named: Callable[[int], str]) -> None:
    """Check that every list has as many completions as the loss needs, before a run is under way.

    Args:
        read: What is read.
        encoded: Tokenised rows.
        named: Gives a row of the source as messages name it.

    Raises:
        InputError: naming the first row that has fewer, and how many have.
    """
    if read.fewest <= 2:  # two are what makes a list
        return
    blocks = read_blocks(encoded, ["completion_ids"], _completions)
    counts = np.concatenate([np.empty(0, np.int64), *blocks.parts])[blocks.order]
    few = np.flatnonzero(counts < read.fewest).tolist()
    if few:
        beside = f" ({len(few)} of {len(counts)} rows have fewer)"
        raise too_few(read, int(counts[few[0]]), named(encoded[few[0]]["row"]), beside)


def too_few(read: DataRead, completions: int, named: str, beside: str = "") -> InputError:
    """Return the error of a row that has fewer completions than the loss needs.

    Args:
        read: What is read.
        completions: How many it has.
        named: The row as messages name it.
        beside: Words on other rows, in brackets.
    """
    return InputError(
        f"{named}: {completions} completions, and objective {read.objective} compares {read.fewest} of a prompt or "
        f"more{beside}: leave such rows out, or take PlackettLuceDPO"
    )


def _completions(table: Any) -> np.ndarray:
    import pyarrow.compute as pc

    counts: np.ndarray = pc.list_value_length(table["completion_ids"]).to_numpy()
    return counts


def _settings(row_format: Format) -> Container[str]:
    return inspect.signature(type(row_format)).parameters


def _not_given(name: str, row_format: Format) -> InputError:
    if name in _settings(row_format):
        return InputError(f"the objective reads the {name} of each row: name its column in data.format.{name}")
    return InputError(
        f"the objective reads the {name} of each row, and data.format {type(row_format).__name__} gives none: take a "
        f"format whose `columns` has `{name}`"
    )


def _other_examples(read: DataRead, row_format: Format) -> InputError:
    wanted, given = read.compares.given_by, row_format.gives
    of = f"data.format {type(row_format).__name__}" if given is not Compares.PAIRS else "data.format"
    said = f"objective {read.objective} reads {_READ[wanted]}, and {of} gives {_GIVEN[given]}"
    return InputError(f"{said}: {_REMEDIES[wanted, given].format(objective=read.objective)}")


_READ = {
    Compares.PAIRS: "pairs",
    Compares.LABELLED: "completions with a label",
    Compares.LISTS: "lists of completions with scores",
}
_GIVEN = {**_READ, Compares.LABELLED: "single completions"}
_TAKE_A_LIST = "take a format whose `gives` is Compares.LISTS, for rows with several completions and their scores"
_REMEDIES = {
    (Compares.LABELLED, Compares.PAIRS): "set data.format to UnpairedFormat, which takes a pair for two of them",
    (
        Compares.LABELLED,
        Compares.LISTS,
    ): "take PlackettLuceDPO or AllPairs, or UnpairedFormat for rows with labels",
    (Compares.PAIRS, Compares.LABELLED): "take KTO or UnpairedBCO, or leave data.format out for rows with `chosen` and "
    "`rejected`",
    (
        Compares.PAIRS,
        Compares.LISTS,
    ): "write AllPairs({objective}(...)), which compares all pairs of a list, or let "
    "the format take two completions of each row, with its `take`",
    (Compares.LISTS, Compares.PAIRS): _TAKE_A_LIST + "; of pairs take DPO",
    (Compares.LISTS, Compares.LABELLED): _TAKE_A_LIST + "; of completions with a label take KTO",
}
