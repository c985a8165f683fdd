"""The training rows of a run as a stream: opened, looked at, and read epoch by epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.streaming.interleaving import interleaved
from dpo_lightning.data.streaming.loader import Start
from dpo_lightning.data.streaming.row_streams import RawRow
from dpo_lightning.data.streaming.shuffling import shuffled
from dpo_lightning.data.streaming.source import HEAD, StreamSource
from dpo_lightning.data.streaming.steps import Step, Surplus, Told, filled, steps
from dpo_lightning.data.streaming.tokens import (
    TRUNCATED,
    StreamTokenizer,
    Taken,
    Tokenized,
    chunks,
    examples_from,
    tokenized_chunks,
)
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.outcomes import REPEATS
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import DataRanks, from_all_ranks

_NAMED = 12  # fields that a line names


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
    """Rows to train on, of one source or of several, of which nobody knows how many there are.

    Args:
        sources: The sources, one without a name or several with one.
    """

    def __init__(self, sources: Sequence[StreamSource]) -> None:
        self.sources = sources
        self.tokenize = StreamTokenizer([each.tokenize for each in sources])
        self._counted: Counter[Any] = Counter()
        self._unread: Counter[Any] = Counter()
        self._again: Counter[int] = Counter()
        self._surplus: list[Surplus] = []

    @property
    def first(self) -> TokenizedExample:
        """The first example that is kept.

        Raises:
            InputError: where none of the first rows of a source has one.
        """
        for source in self.sources:
            if not source.taken:
                place = f"{source.key}: {source.place}"
                raise InputError(f"{place}: none of the first {len(source.head)} rows can be trained on")
        return self.sources[0].taken[0].example

    def states(self) -> dict[str, dict[str, Any]] | None:
        """Return what a checkpoint says of several sources: content and weight of each; None of a single one."""
        if self.sources[0].name is None:
            return None
        return {str(each.name): {"content": each.content, "weight": each.weight} for each in self.sources}

    def content(self, shuffle_buffer: int) -> str:
        """Return the hash of all that decides on the tokens, and of the shuffle."""
        from datasets.fingerprint import Hasher

        return Hasher.hash(([(each.content, each.weight) for each in self.sources], shuffle_buffer))

    def epoch(self, settings: StreamSettings, start: Start, ranks: DataRanks, group: Any = None) -> Iterator[Step]:
        """Yield the steps of an epoch from a start on; the dropped rows are said at its end.

        Every rank must call. Row `i` of a source is of rank `i mod world_size`, and in its order by a shuffle of all of
        them with a buffer, whose first rows are read again and left out where the run goes on in the middle.

        Raises:
            InputError: naming a row that cannot be read, or a source without a row for this rank.
        """
        self._check_ranks(ranks)
        self._counted, self._unread, self._again = Counter(), Counter(), Counter()
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
        for step in steps(batches, _exchange(ranks, group), rank, window, start.accumulate, self._surplus.extend):
            found_any = True
            yield step
        if not found_any:
            raise InputError(f"{'; '.join(f'{each.key}: {each.place}' for each in self.sources)}: {_too_few(ranks)}")
        self.report(f"epoch {start.epoch}", ranks)

    def _check_ranks(self, ranks: DataRanks) -> None:
        for source in self.sources:
            if len(source.head) < min(ranks.world_size, HEAD):
                raise _no_row(source, ranks)

    def _own(self, ranks: DataRanks) -> Iterator[RawRow]:
        def begin(number: int) -> Iterator[RawRow]:
            rows = islice(self.sources[number].rows(number), ranks.rank, None, ranks.world_size)
            first = next(rows, None)
            if first is None:
                raise _no_row(self.sources[number], ranks)
            return chain([first], rows)

        begins = [partial(begin, number) for number in range(len(self.sources))]
        again = self._again
        return interleaved(begins, [each.weight for each in self.sources], lambda number: again.update([number]))

    def report(self, when: str, ranks: DataRanks) -> None:
        """Say how many examples were kept since the last report, and why others were not; nothing without any."""
        counted, self._counted = self._counted, Counter()
        unread, self._unread = self._unread, Counter()
        again, self._again = self._again, Counter()
        surplus, self._surplus = self._surplus, []
        if not any(counted.values()):
            return
        whose = "" if ranks.world_size == 1 else " on rank 0"
        for number, source in enumerate(self.sources):
            own = Counter({key: count for (of, key), count in counted.items() if of == number})
            last = _left_out(surplus) if number == len(self.sources) - 1 else ""
            rank_zero_info(f"{source.place}, {when}: {_said(own, whose)}{_said_again(again[number])}{last}")
            late = Counter({name: count for (of, name), count in unread.items() if of == number})
            if late:
                said = ", ".join(f"`{name}` ({count})" for name, count in late.most_common(_NAMED))
                beyond = f"not read (in so many rows), and not in the first {HEAD}"
                rank_zero_info(f"{source.place}, {when}: {beyond}: {said}")


def _said(counted: Counter[Any], whose: str) -> str:
    dropped = [f"{counted[each]} {each.reason}" for each in Outcome if each and counted[each]]
    return (
        f"{counted[Outcome.KEPT]} examples kept{whose} ({counted[TRUNCATED]} of them truncated)"
        + (f"; dropped {', '.join(dropped)}" if dropped else "")
        + (f"; {counted[REPEATS]} {REPEATS}" if counted[REPEATS] else "")
    )


def _said_again(times: int) -> str:
    return f"; begun again {times} times before the others ended" if times else ""


def _no_row(source: StreamSource, ranks: DataRanks) -> InputError:
    return InputError(f"{source.key}: {source.place}: {_too_few(ranks)}")


def _too_few(ranks: DataRanks) -> str:
    if ranks.world_size == 1:
        return "no row is left to train on"
    return f"a rank has no row to train on: give {ranks.world_size} rows or more, or fewer devices"


def _left_out(surplus: Sequence[Surplus]) -> str:
    said = [f"{each.examples}{'' if each.ended else ' or more'} of rank {each.rank}" for each in surplus]
    return f"; left out, since another rank had none left: {', '.join(said)}" if said else ""


def _count(counted: Counter[Any], unread: Counter[Any], found: Tokenized) -> None:
    counted.update(found.counted)
    unread.update(found.unread)


def _exchange(ranks: DataRanks, group: Any) -> Callable[[Told], list[Told]]:
    def exchange(told: Told) -> list[Told]:
        if ranks.world_size == 1:
            return [told]
        # Processes of one tensor-parallel group read the same rows, and say the same.
        by_rank = dict(from_all_ranks((ranks.rank, told), group))
        return [by_rank[rank] for rank in sorted(by_rank)]

    return exchange
