"""Rows -> tokenised pairs that can be trained on, through the cache of `datasets`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.tokenize import Outcome, PairTokenizer, RenderedPair
from dpo_lightning.data.tokenizer_loading import tokenizer_identity
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, Features

_TOKENS_VERSION = "4"  # part of the cache key: change it with anything that changes the tokens


def tokenize_rows(rows: Dataset, row_format: Format, encode: PairTokenizer, place: str) -> Dataset:
    """Tokenise a split, drop what cannot be trained on, and report once how much that was.

    Args:
        rows: The split.
        row_format: Finds the triple in a row, or the labelled completions.
        encode: Tokenises it.
        place: The split as messages name it.

    Returns:
        Columns ``pair_id``, ``prompt_ids``, ``chosen_ids``, ``rejected_ids``, ``outcome``, ``truncated``, ``length``,
        ``tokens``, ``quotes``, and ``desirable`` of labelled completions, whose ``rejected_ids`` are empty; and of
        ``margin``, ``probability`` and ``weight`` what the format names. ``pair_id`` is the row in ``rows``, counted
        from 0. It comes from the cache when rows, format, tokenizer and lengths are those of an earlier run.

    Raises:
        InputError: naming the row and the field, or when no pair is left.
    """
    from datasets.fingerprint import Hasher

    def encode_batch(columns: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        table = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        found = [
            (number, *both)
            for number, row in zip(indices, table, strict=True)
            for both in _render(number, row, row_format, encode, place)
        ]
        numbers, examples, rendered = map(list, zip(*found, strict=True))
        encodings = encode.encode(rendered)
        encoded = dict(zip(encodings[0]._fields, map(list, zip(*encodings, strict=True)), strict=True))
        return {
            "pair_id": numbers,
            **encoded,
            "length": [encoding.length for encoding in encodings],
            "tokens": [encoding.tokens for encoding in encodings],
            "quotes": [each.quotes for each in rendered],
            **({"desirable": [example.desirable for example in examples]} if unpaired else {}),
            **{name: [example.columns[name] for example in examples] for name in named},
        }

    unpaired, named = row_format.unpaired, row_format.columns_named
    settings = (row_format, encode.max_length, encode.max_prompt_length, tokenizer_identity(encode.tokenizer))
    try:
        encoded = rows.map(
            encode_batch,
            batched=True,
            batch_size=256,
            with_indices=True,
            remove_columns=rows.column_names,
            features=_features(unpaired, named),
            # `datasets` would hash the function, and a fast tokenizer's hash changes as it is used.
            new_fingerprint=Hasher.hash((_TOKENS_VERSION, fingerprint(rows), settings)),
            desc=f"tokenising {place}",
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: {error}") from None
    return _keep(encoded.with_format(None), place)


def _render(
    number: int, row: Mapping[str, Any], row_format: Format, encode: PairTokenizer, place: str
) -> list[tuple[Example, RenderedPair]]:
    try:
        return [(each, encode.render(each.texts)) for each in row_format.examples(row, encode.quote)]
    except InputError as error:
        raise InputError(f"{place}, row {number} (from 0): {error}") from None


def _features(unpaired: bool, named: Iterable[str]) -> Features:
    from datasets import Features, List, Value

    ids = List(Value("int32"))
    return Features(
        {
            "pair_id": Value("int64"),
            "prompt_ids": ids,
            "chosen_ids": ids,
            "rejected_ids": ids,
            "outcome": Value("int8"),
            "truncated": Value("bool"),
            "length": Value("int32"),
            "tokens": Value("int32"),
            "quotes": Value("bool"),
            **({"desirable": Value("bool")} if unpaired else {}),
            **{name: Value("float32") for name in named},
        }
    )


def _keep(encoded: Dataset, place: str) -> Dataset:
    outcomes = encoded["outcome"][:]
    counts = Counter(outcomes)
    dropped = [f"{counts[outcome]} {outcome.reason}" for outcome in Outcome if outcome and counts[outcome]]
    kept = [row for row, outcome in enumerate(outcomes) if outcome == Outcome.KEPT]
    cut = encoded["truncated"][:]
    truncated = sum(cut[row] for row in kept)
    quotes = sum(encoded["quotes"][:])
    kind = "completions" if "desirable" in encoded.column_names else "pairs"
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
    if "desirable" in rows.column_names and len(labels := set(rows["desirable"][:])) == 1:
        kind = "desirable" if labels.pop() else "undesirable"
        rank_zero_warn(f"{place}: every completion is {kind}: there is nothing to tell apart")


def _labels(encoded: Dataset, kept: Sequence[int]) -> str:
    """How many of these rows have which label, where they have one."""
    if "desirable" not in encoded.column_names:
        return ""
    labels = encoded["desirable"][:]
    desirable = sum(labels[row] for row in kept)
    return f", {desirable} desirable, {len(kept) - desirable} undesirable"
