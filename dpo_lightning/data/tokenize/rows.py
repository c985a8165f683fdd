"""Rows -> tokenised examples that can be trained on, through the cache of `datasets`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.batch import Holds
from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.data.columns import check_column
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.formats.code import format_identity
from dpo_lightning.data.tokenize import Encoded, ExampleTokenizer, Outcome, RenderedExample
from dpo_lightning.data.tokenize.loading import tokenizer_identity
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from datasets import Dataset, Features

_TOKENS_VERSION = "6"  # part of the cache key: change it with anything that changes the tokens


def tokenize_rows(
    rows: Dataset, row_format: Format, encode: ExampleTokenizer, place: str, size: int | None = None
) -> Dataset:
    """Tokenise a split, drop what cannot be trained on, and report once how much that was.

    Args:
        rows: The split.
        row_format: Finds the examples in a row.
        encode: Tokenises them.
        place: The split as messages name it.
        size: Rows of the model's embedding; None for those of a model that is not known.

    Returns:
        Columns `row`, `prompt_ids`, `completion_ids` (a list of lists), `outcome`, `truncated`, `quotes`, `label` of
        labelled completions, and the format's `columns`. `row` is the row in `rows`, counted from 0. It comes from the
        cache when rows, format, tokenizer and lengths are those of an earlier run.

    Raises:
        InputError: naming the row and the field, for a token that the model does not have, or when no example is left.
    """
    from datasets.fingerprint import Hasher

    vocabulary = Vocabulary(encode.tokenizer, size)

    def encode_batch(columns: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        table = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        rendered = [
            each
            for number, row in zip(indices, table, strict=True)
            for each in render_row(number, row, row_format, encode, place)
        ]
        encoded = encode.encode(rendered)
        for example, *_ in encoded:
            ids = chain(example.prompt_ids, *example.completion_ids)
            vocabulary.check_ids(ids, f"{place}, row {example.row} (from 0)")
        return _arrow_columns(row_format, rendered, encoded)

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
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: {error}") from None
    vocabulary.check_rows(encoded, place)
    return _keep(encoded.with_format(None), row_format, place)


def tokens_identity(row_format: Format, encode: ExampleTokenizer) -> tuple[Any, ...]:
    """Return all that decides on the tokens of a row, in what `datasets` can hash."""
    lengths = encode.max_length, encode.max_prompt_length
    settings = (format_identity(row_format), *lengths, tokenizer_identity(encode.tokenizer))
    arguments = encode.template_arguments
    return (*settings, sorted(arguments.items())) if arguments else settings


def render_row(
    number: int, row: Mapping[str, Any], row_format: Format, encode: ExampleTokenizer, place: str
) -> list[RenderedExample]:
    """Write the examples of a row as text.

    Args:
        number: The row, as messages name it beside the place.
        row: Its columns.
        row_format: Finds the examples in it.
        encode: Writes them.
        place: The split, or the file.

    Raises:
        InputError: naming place, row and field.
    """
    try:
        examples = row_format.examples(row, encode.quote)
        return [encode.render(_checked(example, row_format), number) for example in examples]
    except InputError as error:
        raise InputError(f"{place}, row {number} (from 0): {error}") from None


def _checked(example: Example, row_format: Format) -> Example:
    """Return an example with its numbers as floats.

    Raises:
        InputError: for one that is not what its format says that it gives, and for a value that is not of its column.
    """
    said = f"data.format {type(row_format).__name__}"
    labelled = row_format.gives is Compares.LABELLED
    completions = row_format.gives.completions
    if len(example.completions) != completions or (example.label is None) == labelled:
        raise InputError(
            f"{said} says that it gives {row_format.gives.value} completions: an example must have {completions} of "
            f"them and {'a' if labelled else 'no'} label, and this one has {len(example.completions)} and "
            f"{'no' if example.label is None else 'a'} label"
        )
    columns = row_format.columns
    if example.columns.keys() != columns.keys():
        raise InputError(
            f"{said} names the columns {[*columns]}, and gives an example the values of {[*example.columns]}"
        )
    values = {
        name: check_column(columns[name], value, completions, f"column `{name}`")
        for name, value in example.columns.items()
    }
    return example._replace(columns=values)


def _arrow_columns(
    row_format: Format, rendered: Sequence[RenderedExample], encoded: Sequence[Encoded]
) -> dict[str, list[Any]]:
    examples = [each.example for each in encoded]
    columns: dict[str, list[Any]] = {
        "row": [each.row for each in examples],
        "prompt_ids": [each.prompt_ids for each in examples],
        "completion_ids": [each.completion_ids for each in examples],
        "outcome": [each.outcome for each in encoded],
        "truncated": [each.truncated for each in encoded],
        "quotes": [each.quotes for each in rendered],
        **{name: [each.columns[name] for each in examples] for name in row_format.columns},
    }
    if row_format.gives is Compares.LABELLED:
        columns["label"] = [each.label for each in examples]
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
            "outcome": Value("int8"),
            "truncated": Value("bool"),
            "quotes": Value("bool"),
            **({"label": Value("bool")} if row_format.gives is Compares.LABELLED else {}),
            **{name: values[column.holds] for name, column in row_format.columns.items()},
        }
    )


def _keep(encoded: Dataset, row_format: Format, place: str) -> Dataset:
    outcomes = encoded["outcome"][:]
    counts = Counter(outcomes)
    dropped = [f"{counts[outcome]} {outcome.reason}" for outcome in Outcome if outcome and counts[outcome]]
    kept = [row for row, outcome in enumerate(outcomes) if outcome == Outcome.KEPT]
    cut = encoded["truncated"][:]
    truncated = sum(cut[row] for row in kept)
    quotes = sum(encoded["quotes"][:])
    kind = "completions" if row_format.gives is Compares.LABELLED else "pairs"
    rank_zero_info(
        f"{place}: {len(encoded)} {kind}, {len(kept)} kept ({truncated} of them truncated{_labels(encoded, kept)})"
        + (f"; dropped {', '.join(dropped)}" if dropped else "")
        + (f"; {quotes} spell control tokens, which stay text (data.format.control_tokens)" if quotes else "")
    )
    if not kept:
        raise InputError(f"{place}: no {kind.removesuffix('s')} is left: {', '.join(dropped)}")
    return encoded.select(kept)


def warn_of_one_label(rows: Dataset, place: str) -> None:
    """Say so where all completions that a run trains on have one label: it then only moves likelihoods one way."""
    if "label" in rows.column_names and len(labels := set(rows["label"][:])) == 1:
        kind = "desirable" if labels.pop() else "undesirable"
        rank_zero_warn(f"{place}: every completion is {kind}: there is nothing to tell apart")


def _labels(encoded: Dataset, kept: Sequence[int]) -> str:
    """How many of these rows have which label, where they have one."""
    if "label" not in encoded.column_names:
        return ""
    labels = encoded["label"][:]
    desirable = sum(labels[row] for row in kept)
    return f", {desirable} desirable, {len(kept) - desirable} undesirable"
