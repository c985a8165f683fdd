"""Settings that a stream does not go with, refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import lightning.pytorch as pl

from dpo_lightning.data.batching import Batching
from dpo_lightning.data.cleaning import Clean
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.formats import Format
from dpo_lightning.data.mixing.order import Order
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.splits import SplitNames
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Reads

BUFFER = 10_000
"""Rows that the shuffle holds by default."""


def wants_stream(dataset: Any, streaming: bool, load_options: dict[str, Any]) -> bool:
    """Return whether a run reads its training rows as a stream; takes the key out of the options of `load_dataset`."""
    from datasets import IterableDataset, IterableDatasetDict

    asked = load_options.pop("streaming", False)
    return bool(streaming or asked or isinstance(dataset, IterableDataset | IterableDatasetDict))


def streamed_sources(sources: Sequence[Source], *, streaming: bool) -> tuple[bool, tuple[Source, ...]]:
    """Return whether several sources stream, and the sources without the options that say so.

    Raises:
        InputError: where one of them streams and another one does not, and for one that streams without a weight.
    """
    options = [dict(source.load_options or {}) for source in sources]
    asked = [wants_stream(each.dataset, streaming, own) for each, own in zip(sources, options, strict=True)]
    made = tuple(replace(each, load_options=own or None) for each, own in zip(sources, options, strict=True))
    if not any(asked):
        return streaming, made
    if not all(asked):
        raise InputError(
            f"data.sources[{asked.index(True)}] streams, and data.sources[{asked.index(False)}] does not: all sources "
            "of a run stream, or none: set data.streaming: true, which needs files or data sets on the hub"
        )
    for number, source in enumerate(sources):
        if source.weight is None:
            given = "" if source.rows is None else f" in place of rows {source.rows}"
            raise InputError(
                f"data.sources[{number}].weight with data.streaming: nobody knows how many rows a source has: give "
                f"each source a weight{given}"
            )
    return True, made


def checked_buffer(given: int | None, *, streams: bool) -> int:
    """Return how many rows the shuffle of a stream holds.

    Raises:
        InputError: for a number where the rows do not stream.
    """
    if given is not None and not streams:
        raise InputError("data.shuffle_buffer: the rows do not stream: set data.streaming, or leave it out")
    return BUFFER if given is None else given


def check_stream(names: SplitNames, batching: Batching, *, order: Order | None, clean: Clean) -> None:
    """Refuse what needs all rows before the first one is trained on.

    Args:
        names: The splits.
        batching: The batches.
        order: The order of the rows.
        clean: What is left out of them.

    Raises:
        InputError: naming the key, and why.
    """
    keys = {
        "data.order": (order is not None, "an order needs all rows"),
        "data.clean": (
            clean.cleans,
            "repeats are found among all rows: write the clean ones with `dpo-lightning data export`, in whose config "
            "nothing streams, and stream that file",
        ),
        "data.length_grouped": (bool(batching.length_grouped), "batches of similar length need all lengths"),
        "data.val_split": (_has_share(names), "a fraction needs the number of rows: name a split or a file"),
    }
    for key, (given, why) in keys.items():
        if given:
            raise InputError(f"{key} with data.streaming: {why}")


def _has_share(names: SplitNames) -> bool:
    return any(not isinstance(place, str) for place in names.sets("val").values())


def check_run(trainer: pl.Trainer, *, streams: bool) -> None:
    """Refuse a Trainer that would need the number of batches where the training rows stream.

    Raises:
        InputError: without `max_steps`, for a fraction of an epoch, and for `overfit_batches`.
    """
    if not streams:
        return
    run = cast(Any, trainer)
    if run.max_steps in (-1, None):
        raise InputError(
            "data.streaming: nobody knows how many rows there are: give the Trainer max_steps, beside which max_epochs "
            "counts passes over the stream"
        )
    interval = run.val_check_interval
    if isinstance(interval, float) and interval != 1.0:
        raise InputError(
            f"trainer.val_check_interval {interval}: a stream has no fraction of an epoch: give a number of batches"
        )
    if run.overfit_batches:
        raise InputError("trainer.overfit_batches: a stream has other batches in each epoch: give data.train_split")


def check_examples(read: DataRead | None, row_format: Format, batch_tokens: int | None, max_length: int) -> None:
    """Refuse an objective that reads completions of other prompts, and batches that a row may not fit into.

    Raises:
        InputError: naming both.
    """
    if read is not None and Reads.MISMATCHED in read.reads:
        raise InputError(
            f"objective {read.objective} with data.streaming: it reads completions of other prompts, which are drawn "
            "from all rows: take one without a KL estimate, such as UnpairedBCO"
        )
    completions = row_format.gives.usual_completions
    largest = completions * max_length
    if batch_tokens is not None and batch_tokens < largest:
        raise InputError(
            f"data.batch_tokens {batch_tokens}: a row of the stream may have {largest} tokens, "
            f"{completions} times data.max_length: raise it, or lower data.max_length"
        )
