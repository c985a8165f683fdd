"""Sources -> one table of tokenised rows to train on, and a validation set of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.data.formats import AutoFormat, Format
from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.data.mixing.shares import rows_taken
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.reading.local_files import source_and_split
from dpo_lightning.data.reading.sources import Keys
from dpo_lightning.errors import InputError, prefixed

if TYPE_CHECKING:
    import datasets

Tokenize = Callable[[Any, str, Keys], "datasets.Dataset"]
HoldOut = Callable[["datasets.Dataset", float], "tuple[datasets.Dataset, datasets.Dataset]"]


class SplitTables(NamedTuple):
    """Tokenised rows of all splits.

    Attributes:
        rows: By split: `train`, in the order of the sources, and the sets of `val` and `test` as `val/<name>`.
        sizes: How many rows of `train` are of each source, by name and in their order; empty without sources.
    """

    rows: dict[str, datasets.Dataset]
    sizes: Mapping[str, int]


def check_formats(sources: Sequence[Source], default: Format) -> None:
    """Check the formats of sources as far as that needs no look at the rows.

    Args:
        sources: The sources.
        default: The format of those that name none.

    Raises:
        InputError: as `check_alike` does, and for a default that no source takes.
    """
    if default != AutoFormat() and all(source.format is not None for source in sources):
        raise InputError("data.format: each of data.sources has a format of its own: leave data.format out")
    check_alike([str(source.name) for source in sources], [source.format or default for source in sources])


def check_alike(names: Sequence[str], formats: Sequence[Format]) -> None:
    """Check that formats give examples of one kind, with the same columns; those that look at rows have yet to say it.

    Args:
        names: Names of the sources, one or more.
        formats: The format of each.

    Raises:
        InputError: naming two sources that differ, and for a format with a column of the name of the source's.
    """
    first, other = names[0], formats[0]
    for name, given in zip(names, formats, strict=True):
        if given.looks or other.looks:
            continue
        if SOURCE in given.columns:
            raise InputError(
                f"data.sources: the format of {name!r} has a column `{SOURCE}`, in which the name of the source "
                "stands: take the column out"
            )
        if given.gives is not other.gives:
            raise InputError(
                f"data.sources: {first!r} gives examples of the kind {other.gives.value}, and {name!r} of "
                f"the kind {given.gives.value}: all sources must give the same: set the `format` of one of them"
            )
        kinds = [{name: column.holds for name, column in each.columns.items()} for each in (other, given)]
        if kinds[0] != kinds[1]:
            said = [", ".join(sorted(each)) or "none" for each in kinds]
            raise InputError(
                f"data.sources: {first!r} gives the columns {said[0]}, and {name!r} {said[1]}: all "
                "sources must give the same: name the columns in the `format` of each"
            )


def read_sources(
    sources: Sequence[Source],
    sets: Mapping[str, Mapping[str, float | str]],
    tokenize: Tokenize,
    hold_out: HoldOut,
    *,
    train: bool = True,
) -> SplitTables:
    """Read and tokenise all sources.

    Args:
        sources: The sources.
        sets: For `val` and `test`, the places of the sets by name, the name of a single one being empty.
        tokenize: Reads and tokenises a split of a source, or a file.
        hold_out: Takes a share out of rows.
        train: Whether the training rows are read; False where they stream, of which no share is held out.

    Raises:
        InputError: naming the source and the row, or for a named set that is no file.
    """
    rows: dict[str, datasets.Dataset] = {}
    tables = [
        tokenize(source, source.split, Keys.of_source(number)) for number, source in enumerate(sources if train else ())
    ]
    for split, places in sets.items():
        for name, place in places.items():
            key = f"data.{split}_split{name and f'.{name}'}"
            if not isinstance(place, str):
                _check_alone(name, key)
                for number, source in enumerate(sources):
                    with prefixed(source.prefix):
                        tables[number], rows[f"{split}/{source.name}"] = hold_out(tables[number], place)
            elif (file := source_and_split(None, place))[0] is not None:
                rows[f"{split}/{name}" if name else split] = tokenize(*file, Keys(key, key))
            else:
                _check_alone(name, key)
                for source in sources:
                    rows[f"{split}/{source.name}"] = tokenize(source, place, Keys(key, key))
    if not train:
        return SplitTables(rows, {})
    _check_same_columns(sources, tables)
    sizes = {str(source.name): len(table) for source, table in zip(sources, tables, strict=True)}
    return SplitTables({"train": _joined(tables), **rows}, sizes)


def parts_of(sources: Sequence[Source], sizes: Mapping[str, int]) -> tuple[Part, ...]:
    """Return the sources' rows in `train`, and how many of them an epoch takes.

    Args:
        sources: The sources.
        sizes: How many rows each has in `train`, by name, one after the other.

    Raises:
        InputError: for a weight so small that a source has no row in an epoch.
    """
    counts = [*sizes.values()]
    starts = [sum(counts[:number]) for number in range(len(counts))]
    return tuple(map(Part, sizes, starts, counts, rows_taken(sources, counts)))


def _check_alone(name: str, key: str) -> None:
    if name:
        raise InputError(
            f"{key}: with data.sources, a set with a name is a file: a split, or a fraction, is of each source, and "
            "its sets have the names of the sources"
        )


def _check_same_columns(sources: Sequence[Source], tables: Sequence[datasets.Dataset]) -> None:
    """Refuse tables of other examples, where their formats were found by looking at rows."""
    first = {*tables[0].column_names}
    for source, table in zip(sources, tables, strict=True):
        if {*table.column_names} != first:
            differ = ", ".join(f"`{name}`" for name in sorted(first.symmetric_difference(table.column_names)))
            raise InputError(
                f"data.sources: {sources[0].name!r} and {source.name!r} give other examples: one of them alone has "
                f"{differ}: set the `format` of one of them"
            )


def _joined(tables: Sequence[datasets.Dataset]) -> datasets.Dataset:
    from datasets import concatenate_datasets

    return concatenate_datasets(list(tables))
