"""Numbers of each round, from its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from dpo_lightning.cli.loop.steps import LAST, Round
from dpo_lightning.report.record import RunRecord, read_rows

_HEADER = ("round", "samples' score", "ended", "pairs", "val accuracy", "KL to first, nats")
_ACCURACY = "val/rewards/accuracies"


class Outcome(NamedTuple):
    """Numbers of a round; None for what nobody knows.

    Attributes:
        name: Number of the round, or `last` for the samples of the last policy.
        score: Mean score of the samples, which are of the policy that the round begins with.
        ended: Share of the samples that ended by themselves.
        pairs: Number of pairs.
        accuracy: Share of the held-out pairs that the trained policy orders as they are.
        kl: KL divergence of the sampled policy from the first one, estimated on its samples, nats per completion.
    """

    name: str
    score: float
    ended: float | None
    pairs: int | None
    accuracy: float | None
    kl: float | None


def outcomes(rounds: Sequence[Round]) -> list[Outcome]:
    """Return the numbers of rounds whose steps are done."""
    return [_outcome(each, is_first=number == 0) for number, each in enumerate(rounds)]


def _outcome(each: Round, *, is_first: bool) -> Outcome:
    scored = list(_rows(each.directory / "scored.jsonl"))
    ratios = list(_rows(each.directory / "kl.jsonl"))
    ended = [row["ended"] for row in scored if row.get("ended") is not None]
    is_last = each.directory.name == LAST
    return Outcome(
        LAST if is_last else each.directory.name.rpartition("-")[2],
        _mean_of(row["scores"] for row in scored) or 0.0,
        _mean_of(ended),
        None if is_last else sum(1 for _ in _rows(each.directory / "pairs.jsonl")),
        None if is_last else _accuracy(each.directory),
        0.0 if is_first else _mean_of(row["scores"] for row in ratios),
    )


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _mean_of(lists: Any) -> float | None:
    values = list(chain.from_iterable(lists))
    return fmean(values) if values else None


def _accuracy(directory: Path) -> float | None:
    """Return the last accuracy that the fit has logged on held-out pairs."""
    files = sorted(directory.glob("run/**/record/run.json"), key=lambda each: each.stat().st_mtime)
    points = read_rows(RunRecord(files[-1].parents[1]).points) if files else []
    found = [point[_ACCURACY] for point in points if point.get(_ACCURACY) is not None]
    return found[-1] if found else None


def table(found: Sequence[Outcome]) -> list[str]:
    """Return the rounds as lines of a table, columns that nobody knows left out."""
    cells = [
        (
            each.name,
            f"{each.score:.4g}",
            *(_shown(value, form) for value, form in zip(each[2:], (".0%", "d", ".3f", ".3g"), strict=True)),
        )
        for each in found
    ]
    columns = [column for column in zip(_HEADER, *cells, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
