"""Rows -> tokenised examples that can be trained on, through the cache of `datasets`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.batch import Holds
from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.data.columns import check_column
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.code import format_identity
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.reading.row_names import RowNames
from dpo_lightning.data.tokenize import Encoded, ExampleTokenizer, Outcome, RenderedExample
from dpo_lightning.data.tokenize.boundary import Boundary, boundary_report
from dpo_lightning.data.tokenize.first_look import look_first
from dpo_lightning.data.tokenize.outcomes import REPEATS
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from datasets import Dataset, Features

_TOKENS_VERSION = "9"  # part of the cache key: change it with anything that changes the tokens


def tokenize_rows(
    rows: Dataset,
    row_format: Format,
    encode: ExampleTokenizer,
    place: str,
    size: int | None = None,
    num_proc: int | None = None,
    named: RowNames | None = None,
    lost: dict[str, int] | None = None,
) -> Dataset:
    """Tokenise a split, drop what cannot be trained on, and report once how much that was.

    Args:
        rows: The split.
        row_format: Finds the examples in a row.
        encode: Tokenises them.
        place: The split as messages name it.
        size: Rows of the model's embedding; None for those of a model that is not known.
        num_proc: Processes that tokenise; None tokenises in this one.
        named: The rows as messages name them; None for their number in the split.
        lost: Takes how many examples were dropped, by the reason.

    Returns:
        Columns `row`, `prompt_ids`, `completion_ids` (a list of lists), `outcome`, `truncated`, `repeats`, `quotes`,
        `labels` of labelled completions, and the format's `columns`. `row` is the row in `rows`, counted from 0. It
        comes from the cache when rows, format, tokenizer and lengths are those of an earlier run.

    Raises:
        InputError: naming the row and the field, for a token that the model does not have, or when no example is left.
    """
    from datasets.fingerprint import Hasher

    vocabulary = Vocabulary(encode.tokenizer, size)
    named = named or RowNames(place)
    rows = look_first(rows, row_format, encode, place)

    def encode_batch(columns: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        table = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        found = [render_row(number, row, row_format, encode, named) for number, row in zip(indices, table, strict=True)]
        rendered = list(chain.from_iterable(found))
        encoded = encode.encode(rendered)
        for example, *_ in encoded:
            ids = chain(example.prompt_ids, *example.completion_ids)
            vocabulary.check_ids(ids, named(example.row))
        dropped = [number for number, examples in zip(indices, found, strict=True) if not examples]
        return _with_dropped(_arrow_columns(row_format, rendered, encoded), dropped)

    settings = tokens_identity(row_format, encode)
    try:
        encoded = rows.map(
            encode_batch,
            batched=True,
            batch_size=256,
            with_indices=True,
            remove_columns=rows.column_names,
            features=_features(row_format),
            # `datasets` would hash the function, and a fast tokenizer's hash changes as it is used.
            new_fingerprint=Hasher.hash((_TOKENS_VERSION, fingerprint(rows), settings)),
            desc=shown(f"tokenising {place}"),
            num_proc=num_proc and min(num_proc, len(rows)),
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: {error}") from None
    vocabulary.check_rows(encoded, place)
    _report_boundaries(rows, encoded, row_format, encode, place)
    return _keep(encoded.with_format(None), row_format, place, {} if lost is None else lost)


def tokens_identity(row_format: Format, encode: ExampleTokenizer) -> tuple[Any, ...]:
    """Return all that decides on the tokens of a row, in what `datasets` can hash."""
    return format_identity(row_format), *encode.identity


def render_row(
    number: int, row: Mapping[str, Any], row_format: Format, encode: ExampleTokenizer, named: Callable[[int], str]
) -> list[RenderedExample]:
    """Write the examples of a row as text.

    Args:
        number: The row.
        row: Its columns.
        row_format: Finds the examples in it.
        encode: Writes them.
        named: Gives the row as messages name it.

    Raises:
        InputError: naming row and field.
    """
    try:
        examples = read_examples(row_format, row, encode.quote)
        return [encode.render(checked_example(example, row_format), number) for example in examples]
    except NoPreference:
        return []
    except InputError as error:
        raise InputError(f"{named(number)}: {error}") from None


def checked_example(example: Example, row_format: Format) -> Example:
    """Return an example with its numbers as floats.

    Raises:
        InputError: for one that is not what its format says that it gives, and for a value that is not of its column.
    """
    said = f"data.format {type(row_format).__name__}"
    wanted = _wanted(row_format.gives, len(example.completions))
    labels = 0 if example.labels is None else len(example.labels)
    if (len(example.completions), labels) != wanted:
        raise InputError(
            f"{said} says that it gives {row_format.gives.value} completions: an example must have {wanted[0]} of "
            f"them and {wanted[1] or 'no'} labels, and this one has {len(example.completions)} and {labels or 'no'} "
            "labels"
        )
    columns = row_format.columns
    if example.columns.keys() != columns.keys():
        raise InputError(
            f"{said} names the columns {[*columns]}, and gives an example the values of {[*example.columns]}"
        )
    values = {
        name: check_column(columns[name], value, len(example.completions), f"column `{name}`")
        for name, value in example.columns.items()
    }
    return example._replace(columns=values)


def _wanted(gives: Compares, completions: int) -> tuple[int, int]:
    """How many completions and labels an example must have, which has so many completions."""
    if gives is Compares.LABELLED:
        return max(completions, 1), max(completions, 1)
    return gives.completions or max(completions, 2), 0


def _arrow_columns(
    row_format: Format, rendered: Sequence[RenderedExample], encoded: Sequence[Encoded]
) -> dict[str, list[Any]]:
    examples = [each.example for each in encoded]
    columns: dict[str, list[Any]] = {
        "row": [each.row for each in examples],
        "prompt_ids": [each.prompt_ids for each in examples],
        "completion_ids": [each.completion_ids for each in examples],
        "scored": [each.scored for each in examples],
        "outcome": [each.outcome for each in encoded],
        "truncated": [each.truncated for each in encoded],
        "repeats": [each.repeats for each in encoded],
        "quotes": [each.quotes for each in rendered],
        "boundary": [each.boundary for each in encoded],
        **{name: [each.columns[name] for each in examples] for name in row_format.columns},
    }
    if row_format.gives is Compares.LABELLED:
        columns["labels"] = [each.labels for each in examples]
    return columns


def _with_dropped(columns: dict[str, list[Any]], rows: Sequence[int]) -> dict[str, list[Any]]:
    """Add a line for each row that has no example, so that the report counts it."""
    line = {
        "prompt_ids": [],
        "completion_ids": [],
        "outcome": Outcome.NO_PREFERENCE,
        "truncated": False,
        "repeats": False,
        "quotes": False,
        "scored": [],
        "boundary": Boundary.CLEAN,
    }
    for row in rows:
        for name, values in columns.items():
            values.append(row if name == "row" else line.get(name))
    return columns


def _features(row_format: Format) -> Features:
    from datasets import Features, List, Value

    ids = List(Value("int32"))
    number = Value("float32")
    values = {Holds.NUMBER: number, Holds.NUMBERS: List(number), Holds.TEXT: Value("string")}
    return Features(
        {
            "row": Value("int64"),
            "prompt_ids": ids,
            "completion_ids": List(ids),
            "scored": List(List(Value("bool"))),
            "outcome": Value("int8"),
            "truncated": Value("bool"),
            "repeats": Value("bool"),
            "quotes": Value("bool"),
            "boundary": Value("int8"),
            **({"labels": List(Value("bool"))} if row_format.gives is Compares.LABELLED else {}),
            **{name: values[column.holds] for name, column in row_format.columns.items()},
        }
    )


def _keep(encoded: Dataset, row_format: Format, place: str, lost: dict[str, int]) -> Dataset:
    outcomes = encoded["outcome"][:]
    # Labelled completions are counted one by one, whether their rows have one or several; a row without a preference
    # has no labels and counts once.
    labels = encoded["labels"][:] if "labels" in encoded.column_names else None
    sizes = [1] * len(outcomes) if labels is None else [len(each or [None]) for each in labels]
    counts = Counter[int]()
    for outcome, size in zip(outcomes, sizes, strict=True):
        counts[outcome] += size
    lost.update({outcome.reason: counts[outcome] for outcome in Outcome if outcome and counts[outcome]})
    dropped = [f"{count} {reason}" for reason, count in lost.items()]
    kept = [row for row, outcome in enumerate(outcomes) if outcome == Outcome.KEPT]
    cut = encoded["truncated"][:]
    truncated = sum(sizes[row] for row in kept if cut[row])
    repeats, quotes = sum(encoded["repeats"][:]), sum(encoded["quotes"][:])
    kind = {Compares.LABELLED: "completions", Compares.LISTS: "lists"}.get(row_format.gives, "pairs")
    rank_zero_info(
        f"{place}: {sum(sizes)} {kind}, {counts[Outcome.KEPT]} kept ({truncated} of them truncated"
        f"{_labels(labels, kept)})"
        + (f"; dropped {', '.join(dropped)}" if dropped else "")
        + (f"; {repeats} {REPEATS}" if repeats else "")
        + (f"; {quotes} spell control tokens, which stay text (data.format.control_tokens)" if quotes else "")
    )
    if kept and len(kept) * 3 <= len(encoded) * 2:
        rank_zero_warn(
            f"{place}: {len(encoded) - len(kept)} of {len(encoded)} {kind} are lost, {', '.join(dropped)}: look at "
            "them, or give them room by data.max_length and data.max_prompt_length"
        )
    if not kept:
        raise InputError(f"{place}: no {kind.removesuffix('s')} is left: {', '.join(dropped)}")
    return encoded.select(np.array(kept))  # `datasets` would hash each number of a list


def _report_boundaries(
    rows: Dataset, encoded: Dataset, row_format: Format, encode: ExampleTokenizer, place: str
) -> None:
    """Say once how many prompts do not end cleanly, and what to set, found with the first of them."""
    kinds = encoded.with_format(None)["boundary"][:]
    if not any(kinds):
        return
    number = encoded[max(range(len(kinds)), key=kinds.__getitem__)]["row"]
    examples = read_examples(row_format, rows.with_format(None)[number], encode.quote)
    found = next((each for example in examples if (each := encode.remedy(example))), None)
    say = rank_zero_warn if Boundary.SHARED in kinds else rank_zero_info
    say(f"{place}: of {len(encoded)} examples {'; '.join(boundary_report(kinds, found))}")


def warn_of_one_label(rows: Dataset, place: str) -> None:
    """Say so where all completions that a run trains on have one label: it then only moves likelihoods one way."""
    if "labels" in rows.column_names and len(labels := {*chain.from_iterable(rows["labels"][:])}) == 1:
        kind = "desirable" if labels.pop() else "undesirable"
        rank_zero_warn(f"{place}: every completion is {kind}: there is nothing to tell apart")


def _labels(labels: Sequence[Sequence[bool]] | None, kept: Sequence[int]) -> str:
    """How many completions of these rows have which label, where they have one."""
    if labels is None:
        return ""
    found = Counter(label for row in kept for label in labels[row])
    return f", {found[True]} desirable, {found[False]} undesirable"
