"""The training rows of a run as a stream: opened, looked at, and read epoch by epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.compat.datasets import json_text
from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.recorded import held
from dpo_lightning.data.formats.settled import FIRST_ROWS
from dpo_lightning.data.formats.unread import names_in
from dpo_lightning.data.reading.sources import Keys, keyed
from dpo_lightning.data.streaming.loader import Start
from dpo_lightning.data.streaming.row_streams import RawRow, RowStream
from dpo_lightning.data.streaming.shuffling import shuffled
from dpo_lightning.data.streaming.steps import Step, Surplus, Told, filled, steps
from dpo_lightning.data.streaming.tokens import (
    Chunk,
    RowTokenizer,
    Taken,
    Tokenized,
    chunks,
    examples_from,
    tokenized_chunks,
)
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.first_look import look_first
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import DataRanks, from_all_ranks

Settle = Callable[[Format, Sequence[Mapping[str, Any]], str], Format]

_NAMED = 12  # fields that a line names

HEAD = 200
"""Rows that are looked at before the run begins."""


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is read.

    Args:
        shuffle_buffer: Rows that the shuffle holds.
        seed: Seed of the order.
        num_workers: Processes that tokenise.
        batch_pairs: Most examples of a batch; None for as many as have `batch_tokens` tokens.
        batch_tokens: Most tokens of a batch.
        completions: How many completions of an example are computed; None for all.
    """

    shuffle_buffer: int
    seed: int
    num_workers: int
    batch_pairs: int | None
    batch_tokens: int | None
    completions: int | None = None

    @property
    def most(self) -> int:
        """Most of a batch: examples, or tokens."""
        most = self.batch_pairs if self.batch_tokens is None else self.batch_tokens
        assert most is not None, "`Batching` has one of them"
        return most

    def size(self, taken: Taken) -> int:
        """Return what an example takes of a batch."""
        if self.batch_tokens is None:
            return 1
        example = taken.example
        return len(example.prompt_ids) + sum(map(len, example.completion_ids[: self.completions]))


class TrainingStream:
    """Rows to train on, of which nobody knows how many there are.

    Args:
        rows: The rows.
        tokenize: Makes examples of them; its columns are found here.
        place: What messages call the rows.
        settle: Gives the format of the rows from the first of them, and from what messages call them.
    """

    def __init__(self, rows: RowStream, tokenize: RowTokenizer, place: str, settle: Settle) -> None:
        self.rows = rows
        self.place = place
        head = list(islice(rows.rows(), HEAD))
        if not head:
            raise InputError(f"{place}: no rows")
        columns = [raw.columns() for raw in head]
        names = tuple(dict.fromkeys(name for each in columns for name in each))
        row_format = settle(tokenize.row_format, columns[:FIRST_ROWS], place)
        table = as_table(columns, names)
        look_first(table, row_format, tokenize.encode, place)
        found = frozenset(path for each in columns for path in held(each))
        self.tokenize = RowTokenizer(row_format, tokenize.encode, tokenize.vocabulary, names, found)
        self._taken = self.tokenize.tokenized(Chunk(0, head)).taken
        self._head = head
        self._table = table
        self._counted: Counter[Any] = Counter()
        self._unread: Counter[str] = Counter()
        self._surplus: list[Surplus] = []

    @property
    def names(self) -> set[str]:
        """Names in the first rows that `Format.ignore` may have."""
        return names_in(self._table)

    @property
    def first(self) -> TokenizedExample:
        """The first example that is kept.

        Raises:
            InputError: where none of the first rows has one.
        """
        if not self._taken:
            place = f"{Keys().source}: {self.place}"
            raise InputError(f"{place}: none of the first {len(self._head)} rows can be trained on")
        return self._taken[0].example

    def content(self, settings: Any) -> str:
        """Return the hash of the first rows, of what is known of the others, and of what decides on their tokens."""
        from datasets.fingerprint import Hasher

        return Hasher.hash((self.rows.identity, repr([raw.columns() for raw in self._head]), settings))

    def epoch(self, settings: StreamSettings, start: Start, ranks: DataRanks, group: Any = None) -> Iterator[Step]:
        """Yield the steps of an epoch from a start on; the dropped rows are said at its end.

        Every rank must call. Row `i` is of rank `i mod world_size`, and in its order by a shuffle of all of them with a
        buffer, whose first rows are read again and left out where the run goes on in the middle.
        """
        self._counted, self._unread = Counter(), Counter()
        counted, unread = self._counted, self._unread
        rank = ranks.rank
        position = start.positions[rank] if start.positions else (0, 0)
        # The row of the position may have given an example already.
        first = max(position[0], 0)
        order = shuffled(self._own(ranks), settings.shuffle_buffer, f"{settings.seed} {start.epoch}")
        given = chunks(islice(order, first, None), first)
        found = tokenized_chunks(self.tokenize, given, num_workers=settings.num_workers, seed=settings.seed)
        examples = examples_from(found, position, lambda each: _count(counted, unread, each))
        batches = filled(examples, settings.most, settings.size)
        if start.rest is not None:
            batches = (list(islice(examples, size)) for size in start.rest[rank])
        window = start.accumulate - start.done % start.accumulate
        found_any = bool(start.done)
        self._surplus = []
        with keyed(Keys().source):
            for step in steps(batches, _exchange(ranks, group), rank, window, start.accumulate, self._surplus.extend):
                found_any = True
                yield step
            if not found_any:
                raise InputError(f"{self.place}: {_too_few(ranks)}")
        self.report(f"epoch {start.epoch}", ranks)

    def _own(self, ranks: DataRanks) -> Iterator[RawRow]:
        return islice(self.rows.rows(), ranks.rank, None, ranks.world_size)

    def report(self, when: str, ranks: DataRanks) -> None:
        """Say how many examples were kept since the last report, and why others were not; nothing without any."""
        counted, self._counted = self._counted, Counter()
        surplus, self._surplus = self._surplus, []
        unread, self._unread = self._unread, Counter()
        dropped = [f"{counted[each]} {each.reason}" for each in Outcome if each and counted[each]]
        if not counted[Outcome.KEPT] and not dropped:
            return
        whose = "" if ranks.world_size == 1 else " on rank 0"
        rank_zero_info(
            f"{self.place}, {when}: {counted[Outcome.KEPT]} examples kept{whose} ({counted['truncated']} of them "
            f"truncated)" + (f"; dropped {', '.join(dropped)}" if dropped else "") + _left_out(surplus)
        )
        if unread:
            said = ", ".join(f"`{name}` ({count})" for name, count in unread.most_common(_NAMED))
            rank_zero_info(f"{self.place}, {when}: not read (in so many rows), and not in the first {HEAD}: {said}")


def as_table(columns: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """Return rows as a dataset that holds their very values."""
    from datasets import Dataset, Features

    kinds = Features(dict.fromkeys(names, json_text()))
    return Dataset.from_dict({name: [each.get(name) for each in columns] for name in names}, features=kinds)


def _too_few(ranks: DataRanks) -> str:
    if ranks.world_size == 1:
        return "no row is left to train on"
    return f"a rank has no row to train on: give {ranks.world_size} rows or more, or fewer devices"


def _left_out(surplus: Sequence[Surplus]) -> str:
    said = [f"{each.examples}{'' if each.ended else ' or more'} of rank {each.rank}" for each in surplus]
    return f"; left out, since another rank had none left: {', '.join(said)}" if said else ""


def _count(counted: Counter[Any], unread: Counter[str], found: Tokenized) -> None:
    counted.update(found.outcomes)
    unread.update(found.unread or {})
    counted["truncated"] += found.truncated


def _exchange(ranks: DataRanks, group: Any) -> Callable[[Told], list[Told]]:
    def exchange(told: Told) -> list[Told]:
        if ranks.world_size == 1:
            return [told]
        # Processes of one tensor-parallel group read the same rows, and say the same.
        by_rank = dict(from_all_ranks((ranks.rank, told), group))
        return [by_rank[rank] for rank in sorted(by_rank)]

    return exchange
