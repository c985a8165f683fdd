"""The format of rows, found by looking at the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.decoded import decoded
from dpo_lightning.data.formats.known import Known, Rank, known_formats
from dpo_lightning.data.formats.pair_halves import LabelledPairs
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.shapes import first_value, json_columns
from dpo_lightning.data.formats.sharegpt import ShareGPTFormat
from dpo_lightning.data.formats.unpaired import UnpairedFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares

Rows = Sequence[Mapping[str, Any]]

_NEAREST = 3
"""Formats that a refusal names."""


def find_format(rows: Rows, wanted: Compares | None = None) -> Known:
    """Return the format of rows, by the columns that they have and the kind of their first values.

    A format whose columns are among another one's gives way to it. Single completions are taken where rows have no
    pairs, and pairs as two of them where the objective reads single ones.

    Args:
        rows: The first rows of a split.
        wanted: The examples that the objective reads, where there is one.

    Raises:
        InputError: for rows of several formats, and for rows of none, naming what they lack.

    Example:
        >>> find_format([{"prompt": "1 + 1?", "response_0": "3", "response_1": "2", "better_response_id": 1}]).said
        'PKU-SafeRLHF: prompt, response_0, response_1, better_response_id'
    """
    as_json = json_columns(rows)
    read = [_first_values([decoded(row, as_json) for row in rows])]
    found = _wanted([each for each in known_formats() if each.fits(read)], wanted)
    if not found and rows and {"chosen", "rejected"} <= rows[0].keys():
        return known_formats()[0]  # it says what is wrong with the row
    if not found:
        raise _unknown(rows, read)
    best = _most_specific([each for each in found if each.rank is Rank.FIRST] or found)
    foremost = min(each.rank for each in best)
    best = [each for each in best if each.rank is foremost]
    if len(best) > 1:
        raise InputError(
            f"the rows may be read as {' or as '.join(each.said for each in best)}: say which in data.format"
        )
    return _fitted(best[0], [name for name in as_json if _is_needed(name, best[0])], wanted)


def _first_values(rows: Rows) -> dict[str, Any]:
    """Return a row with the first value of each column that is not null."""
    return {name: first_value(rows, name) for name in (rows[0] if rows else ())}


def _wanted(found: list[Known], wanted: Compares | None) -> list[Known]:
    """Return those with the examples that are wanted, or else with others: what is said of these is the caller's."""
    ranks = {Compares.PAIRS: 0, Compares.LABELLED: 1}
    kinds = sorted({each.format.gives for each in found}, key=lambda gives: (gives is not wanted, ranks.get(gives, 2)))
    return [each for each in found if each.format.gives is kinds[0]] if found else []


def _most_specific(found: list[Known]) -> list[Known]:
    first = {frozenset(each.needs): each for each in reversed(found)}
    return [each for each in found if first[frozenset(each.needs)] is each and not _is_part(each, found)]


def _is_part(known: Known, of: list[Known]) -> bool:
    return any(known.needs.keys() < other.needs.keys() for other in of)


def _is_needed(column: str, known: Known) -> bool:
    return any(path.partition(".")[0] == column for path in known.needs)


def _fitted(known: Known, as_json: list[str], wanted: Compares | None) -> Known:
    """The format with the columns of JSON, and with labels in place of pairs, where these are wanted."""
    fitted = known.format
    if as_json and isinstance(fitted, RowFormat):
        fitted = ShareGPTFormat(fitted.prompt, chosen=fitted.chosen, rejected=fitted.rejected)
    if as_json:
        fitted = replace(fitted, json_columns=as_json)  # type: ignore[call-arg]
    if wanted is Compares.LABELLED and fitted.gives is Compares.PAIRS:
        fitted = _halves(fitted)
    return known._replace(format=fitted, title=f"{known.title} in JSON" if as_json else known.title)


def _halves(pairs: Format) -> Format:
    if not isinstance(pairs, RowFormat):
        return LabelledPairs(pairs)
    return UnpairedFormat(pairs.prompt, chosen=pairs.chosen, rejected=pairs.rejected)


def _unknown(rows: Rows, read: Rows) -> InputError:
    columns = ", ".join(f"`{name}`" for name in (rows[0] if rows else ()))
    nearest: dict[str, Known] = {}
    for each in sorted(known_formats(), key=partial(_distance, read)):
        nearest.setdefault(each.title, each)
    said = "; ".join(f"{each.title} lack {' and '.join(each.lacking(read))}" for each in [*nearest.values()][:_NEAREST])
    if not columns:
        return InputError("the rows have no columns: name them in data.format")
    return InputError(
        f"the columns {columns} are of no known format ({said}): name the columns in data.format, as in "
        "{{prompt: ..., chosen: ..., rejected: ...}}, or give a format of your own"
    )


def _distance(rows: Rows, known: Known) -> tuple[int, int]:
    """Return how much rows lack of a format, and how much of it they have no value for."""
    return len(known.lacking(rows)), len(known.absent(rows))
