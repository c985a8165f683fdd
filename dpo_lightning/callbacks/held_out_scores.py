"""Scores of each held-out example, gathered over a validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.batch.types import PreferenceBatch
from dpo_lightning.callbacks.worst_pairs import examples_of, with_texts, worst_pairs
from dpo_lightning.compat.lightning_loops import evaluated_loaders
from dpo_lightning.report.record import RunRecord, write_rows
from dpo_lightning.run import source_of
from dpo_lightning.utils.files import spared
from dpo_lightning.utils.ranks import data_ranks, to_rank_zero
from dpo_lightning.utils.set_names import names_of_sets
from dpo_lightning.utils.text import one_line

ID = "pair_id"
_WHOLE = (ID, "chosen_tokens", "rejected_tokens", "tokens")
_WRITTEN = (
    "loss",
    *(f"{name}/{side}" for name in ("rewards", "logps", "logratios") for side in ("chosen", "rejected")),
    *("rewards", "logps", "logratios"),
)
_LABEL = "desirable"


class _Part(NamedTuple):
    """Values of a batch, on its device, or of many of them, on the host.

    Attributes:
        names: Names of the values, whole numbers first.
        whole: `[W, n]`, int64.
        values: `[V, n]`, float32.
        set: Number of the set.
        sources: Source of each example; None where there is one.
    """

    names: tuple[str, ...]
    whole: Any
    values: Any
    set: int
    sources: tuple[str, ...] | None

    def without_last(self) -> _Part:
        """Return the values of all examples but the last one."""
        sources = None if self.sources is None else self.sources[:-1]
        return self._replace(whole=self.whole[:, :-1], values=self.values[:, :-1], sources=sources)


class HeldOutScores:
    """Collects what a validation step returns of each example: numbers alone are kept, on the device until its end.

    Whatever a module returns, and whatever fails in reading it, ends no run: the scores are left out, with one line.

    Attributes:
        validated: How many examples the last validation had; None before one.
    """

    def __init__(self) -> None:
        self.validated: int | None = None
        self._parts: list[_Part] = []
        self._failure: str | None = None
        self._is_told = False

    def begin(self) -> None:
        """Forget a validation that was interrupted."""
        self._parts, self._failure = [], None

    def add(self, outputs: Any, batch: Callable[[], PreferenceBatch | None], number: int) -> None:
        """Add the examples of a batch to the set with that number; what is no mapping of such values adds nothing.

        Args:
            outputs: What the step returned.
            batch: Finds the preference batch; not asked for other outputs.
            number: Number of the set.
        """
        if self._failure is not None or not isinstance(outputs, Mapping):
            return
        with self._guarded():
            if isinstance(outputs.get(ID), Tensor) and outputs[ID].dim() == 1:
                self._parts.append(_part(outputs, batch(), number))

    def write(self, trainer: pl.Trainer, record: RunRecord) -> None:
        """Write `pairs.jsonl` and `worst.jsonl` of the validation that ends, on rank 0; every rank must call."""
        parts = self._gathered(data_ranks(trainer).rank)
        with self._guarded():
            loaders, count = evaluated_loaders(trainer)
            sets = names_of_sets(loaders, count)
            found = _in_order(parts, sets)
            self.validated = len(found) or None
            data = source_of(trainer)
            if found:
                worst = with_texts(worst_pairs(found), data and data.tokenizer, [*examples_of(loaders)], sets)
                with spared(record.pairs):
                    write_rows(record.pairs, found)
                    write_rows(record.worst, worst)
        if self._failure is not None and not self._is_told:
            self._is_told = True
            rank_zero_warn(f"the record of this run lacks scores of held-out examples: {self._failure}")

    def rows(self, sets: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row of `pairs.jsonl` for each example of all ranks, by set and row, on rank 0; every rank must call.

        Args:
            sets: Names of the sets; none for one without a name.
        """
        return _in_order(self._gathered(0), sets)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep why the scores of this validation are left out: of a module's own outputs or data, anything may fail."""
        try:
            yield
        except Exception as error:
            self._failure, self._parts = one_line(f"{type(error).__name__}: {error}", 300), []

    def _gathered(self, rank: int) -> list[list[_Part]]:
        """Return the parts of each rank that has data of its own, on rank 0, and none elsewhere; all ranks must call.

        Args:
            rank: That of the data: ranks that share a model have the same.
        """
        own: list[_Part] = []
        with self._guarded():
            own = [
                part._replace(whole=part.whole.cpu().numpy(), values=part.values.cpu().numpy())
                for part in self._joined()
            ]
        self._parts = []
        found = to_rank_zero((rank, own, self._failure))
        self._failure = next((failure for _, _, failure in found if failure is not None), self._failure)
        if self._failure is not None:
            return []
        of_ranks = {number: parts for number, parts, _ in reversed(found)}
        return [of_ranks[number] for number in sorted(of_ranks)]

    def _joined(self) -> Iterator[_Part]:
        """Yield the parts, those of the same set and names as one, so that there is one transfer for each."""
        together: dict[tuple[Any, ...], list[_Part]] = {}
        for part in self._parts:
            together.setdefault((part.names, part.set, part.sources is None), []).append(part)
        for parts in together.values():
            sources = None if parts[0].sources is None else tuple(name for part in parts for name in part.sources or ())
            whole, values = torch.cat([part.whole for part in parts], 1), torch.cat([part.values for part in parts], 1)
            yield parts[0]._replace(whole=whole, values=values, sources=sources)


def _part(outputs: Mapping[str, Any], batch: PreferenceBatch | None, number: int) -> _Part:
    """Return the values of a batch's examples."""
    count = outputs[ID].shape
    there = {name: each for name, each in outputs.items() if isinstance(each, Tensor) and each.shape == count}
    whole = {name: there[name].long() for name in _WHOLE if name in there}
    if _LABEL in there:
        whole["label"] = there[_LABEL].long()
    values = {name: there[name].float() for name in _WRITTEN if name in there}
    stacked = torch.stack([*values.values()]) if values else torch.empty(0, *count)
    return _Part((*whole, *values), torch.stack([*whole.values()]), stacked, number, _sources(batch, *count))


def _in_order(parts: list[list[_Part]], sets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of all ranks, by set and row."""
    found = [row for part in _once(parts) for row in _rows(part, sets)]
    order = {name: number for number, name in enumerate(sets)}
    return sorted(found, key=lambda row: (order.get(row["set"], 0), row[ID]))


def _once(of_ranks: list[list[_Part]]) -> Iterator[_Part]:
    """Yield the parts of all ranks without the examples that torch's `DistributedSampler` repeats.

    It deals the examples out in turns, and begins anew until each rank has as many: the last p ranks end with what the
    first p ranks began with.
    """
    for number in dict.fromkeys(part.set for parts in of_ranks for part in parts):
        of_set = [[part for part in parts if part.set == number] for parts in of_ranks]
        if not all(len(parts) == 1 for parts in of_set):
            yield from (part for parts in of_set for part in parts)
            continue
        dealt = [part for (part,) in of_set]
        repeated = _repeated(dealt)
        for rank, part in enumerate(dealt):
            yield part.without_last() if rank >= len(dealt) - repeated else part


def _repeated(dealt: list[_Part]) -> int:
    """Return how many ranks end with an example that another one began with."""
    ranks, counts = len(dealt), {part.whole.shape[1] for part in dealt}
    if len(counts) != 1 or not all(counts):
        return 0
    begun = [(part.names, part.whole[:, 0].tolist()) for part in dealt]
    ended = [(part.names, part.whole[:, -1].tolist()) for part in dealt]
    for repeated in range(ranks - 1, 0, -1):
        # With fewer examples than ranks the sampler begins anew more than once.
        first = begun[: ranks - repeated] * ranks if counts == {1} else begun
        if ended[ranks - repeated :] == first[:repeated]:
            return repeated
    return 0


def _sources(batch: PreferenceBatch | None, count: int) -> tuple[str, ...] | None:
    """Return the source of each example, or of each labelled completion."""
    if batch is None or SOURCE not in batch.texts:
        return None
    names = batch.texts[SOURCE]
    if len(names) == count:
        return names
    return tuple(names[place] for place in batch.example_of_sequence[:count].tolist())


def _rows(part: _Part, sets: Sequence[str]) -> Iterator[dict[str, Any]]:
    name = sets[part.set] if part.set < len(sets) else None
    columns = [*part.whole.tolist(), *part.values.tolist()]
    for place, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(part.names, values, strict=True))
        if "label" in row:
            row["label"] = bool(row["label"])
        source = None if part.sources is None else part.sources[place]
        yield {ID: row.pop(ID), "set": name, "source": source, **row}
