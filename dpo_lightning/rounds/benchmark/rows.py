"""Rows of a benchmark: RewardBench's, RewardBench 2's, and pairs in whatever format the data may have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from dpo_lightning.data.formats import Example
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.auto import AutoFormat
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.settled import first_rows, settled_format
from dpo_lightning.data.reading.row_names import RowNames
from dpo_lightning.data.reading.sources import Keys, describe, load_split
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.rounds.candidates import Candidates, is_prompt
from dpo_lightning.utils.text import one_line

RIGHT = "right"
_COUNTS = ("num_correct", "num_rejected", "total_completions")
ALL = "all"
"""Name of the subset of rows that have none."""


class Benchmark(NamedTuple):
    """Rows of a benchmark.

    Attributes:
        rows: Each behind a text that names it: the right completions first, their number in `beside` as `right`.
        left_out: Rows without a preference.
        has_subsets: Whether the rows say which subset they are of.
    """

    rows: list[tuple[str, Candidates]]
    left_out: int
    has_subsets: bool

    @property
    def content(self) -> str:
        """The BLAKE2b-128 of all rows, in hexadecimal."""
        whole = blake2b(digest_size=16)
        for _, row in self.rows:
            whole.update(json.dumps(row.row(), sort_keys=True).encode() + b"\n")
        return whole.hexdigest()

    def as_messages(self) -> Benchmark:
        """Return the rows with each prompt that is a text as the message of a user."""
        return self._replace(rows=[(place, _as_messages(row)) for place, row in self.rows])


def read_benchmark(source: str, split: str, tell: Callable[[str], None] = print) -> Benchmark:
    """Read all rows of a benchmark.

    Args:
        source: A file, a directory or a name on the hub, as `data.dataset` takes it.
        split: Its split.
        tell: Gets the line that says as which format the rows are read.

    Raises:
        InputError: for what cannot be read, and a row that is something else, naming it.
    """
    place = f"evaluate {source}"
    try:
        loaded = load_split(source, split, {}, Keys(place, "evaluate --split"))
    except InputError as error:
        raise InputError(str(error).replace("data.dataset", place).replace("data.train_split", "--split")) from error
    names = RowNames(f"evaluate {describe(source)}", loaded.files)
    rows = loaded.rows.with_format(None)
    if _is_of_lists(rows[0]):
        read: Callable[[Mapping[str, Any], str], Candidates | None] = _of_lists
        tell(f"{source}: read as RewardBench 2: prompt, chosen, rejected (lists)")
    else:
        read = _pair_reader(settled_format(AutoFormat(), first_rows(loaded.rows, place), place, Compares.PAIRS, tell))
    found = [(names(number), row, read(row, names(number))) for number, row in enumerate(rows)]
    kept = [(at, _beside(each, row, at)) for at, row, each in found if each is not None]
    if not kept:
        raise InputError(f"{place}: no row has a preference")
    return Benchmark(kept, len(found) - len(kept), _has_subsets(found, place))


def _has_subsets(found: Iterable[tuple[str, Mapping[str, Any], Any]], place: str) -> bool:
    of = [row.get("subset") is not None for _, row, _ in found]
    if any(of) and not all(of):
        raise InputError(
            f"{place}, subset: {of.count(False)} of {len(of)} rows have none: give one to each, or to none"
        )
    return all(of)


def _is_of_lists(row: Mapping[str, Any]) -> bool:
    sides = [row.get(name) for name in ("chosen", "rejected")]
    return any(isinstance(each, list) and each and isinstance(each[0], str) for each in sides)


def _of_lists(row: Mapping[str, Any], place: str) -> Candidates:
    """Return a row of RewardBench 2, whose `chosen` and `rejected` are lists of texts."""
    if not is_prompt(row.get("prompt")):
        raise InputError(f"{place}, prompt: give a text or a list of messages, got {one_line(row.get('prompt'), 80)}")
    sides = [_texts(row, name, place) for name in ("chosen", "rejected")]
    known = dict(zip(_COUNTS, (len(sides[0]), len(sides[1]), len(sides[0]) + len(sides[1])), strict=True))
    for name, count in known.items():
        if row.get(name) not in (None, count):
            raise InputError(f"{place}, {name}: {one_line(row[name], 40)}, and there are {count}")
    return Candidates(row["prompt"], [*sides[0], *sides[1]], beside={RIGHT: len(sides[0])})


def _texts(row: Mapping[str, Any], name: str, place: str) -> list[str]:
    texts = row.get(name)
    if not (isinstance(texts, list) and texts and all(isinstance(each, str) for each in texts)):
        raise InputError(f"{place}, {name}: give a list of texts, as the first row has it, got {one_line(texts, 80)}")
    return texts


def _pair_reader(row_format: Format) -> Callable[[Mapping[str, Any], str], Candidates | None]:
    if row_format.gives is not Compares.PAIRS:
        raise InputError(f"evaluate: {type(row_format).__name__} gives no pairs of a right and a wrong completion")

    def read(row: Mapping[str, Any], place: str) -> Candidates | None:
        try:
            examples = read_examples(row_format, row, str)
        except NoPreference:
            return None
        except InputError as error:
            raise InputError(f"{place}: {error}") from error.__cause__
        if len(examples) != 1:
            raise InputError(f"{place}: {len(examples)} pairs in a row: write a row for each")
        tools = {"tools": [*examples[0].tools]} if examples[0].tools else {}
        return Candidates(examples[0].prompt, [*_completions(examples[0], place)], beside={RIGHT: 1, **tools})

    return read


def _completions(example: Example, place: str) -> Iterator[str]:
    for name, each in zip(("chosen", "rejected"), example.completions, strict=True):
        if isinstance(each, str):
            yield each
            continue
        content = each[0].get("content") if len(each) == 1 else None
        if not (isinstance(content, str) and {*each[0]} <= {"role", "content"}):
            raise InputError(f"{place}, {name}: a scorer reads one answer of text, got {one_line(each, 80)}")
        yield content


def _beside(row: Candidates, given: Mapping[str, Any], place: str) -> Candidates:
    subset = ALL if given.get("subset") is None else given["subset"]
    if not isinstance(subset, str) or not subset.strip():
        raise InputError(f"{place}, subset: give a name, got {one_line(repr(subset), 80)}")
    named = {} if given.get("id") is None else {"id": given["id"]}
    return row._replace(beside={**row.beside, "subset": subset, **named})


def _as_messages(row: Candidates) -> Candidates:
    prompt: Sequence[Any] | str = row.prompt
    return row if isinstance(prompt, list) else row._replace(prompt=[{"role": "user", "content": prompt}])
