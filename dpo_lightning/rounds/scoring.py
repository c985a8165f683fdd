"""A file of completions that gets the scores of a scorer, row by row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates, candidates_of, json_rows
from dpo_lightning.rounds.kept_rows import KeptRows, content_of, kept_rows
from dpo_lightning.rounds.scorers.base import Scorer, scored


def score_file(file: Path, out: Path, scorer: Scorer, command: str = "score") -> list[dict[str, Any]]:
    """Write the rows of a file with the scores of each completion, and return all of them.

    Rows are scored in groups that begin at the same rows always, so that a command that goes on writes the same bytes.

    Args:
        file: Rows with `prompt` and `completions`. Scores that they have are replaced.
        out: The file to write, which goes on where an earlier call was killed.
        scorer: Gives the scores.
        command: Name of the command, in messages.

    Raises:
        InputError: for a row that is something else or cannot be scored, naming its line, and for a file that is there
            and was made of something else; rows that were written before stay.
    """
    if out.resolve() == file.resolve():
        raise InputError(f"{command} --out: {out} is the file that is read: give another path")
    made = {"command": "score", "file": content_of(file, command), "scorer": dict(scorer.made)}
    read = [(line, candidates_of(row, line)) for line, row in json_rows(file, command)]
    with kept_rows(out, made, f"{command} --out") as kept:
        add_scored(kept, read, scorer)
    return [dict(row) for _, row in json_rows(out, command)]


def add_scored(
    kept: KeptRows,
    read: Sequence[tuple[str, Candidates]],
    scorer: Scorer,
    written: Callable[[Candidates], Mapping[str, Any]] = Candidates.row,
) -> None:
    """Add the rows that a file lacks, each with its scores.

    Args:
        kept: The file; one that is whole stays as it is.
        read: All rows, each behind a text that names it.
        scorer: Gives the scores.
        written: Makes the row to write of one with scores, to which the scorer's own columns are added.

    Raises:
        InputError: for a row that cannot be scored, naming it.
    """
    for start, group in () if kept.whole else _groups(read, scorer.at_once, kept.done):
        kept.add(_scored_rows(scorer, group, written)[kept.done - start :])


def _groups(
    read: Sequence[tuple[str, Candidates]], size: int, done: int
) -> Iterator[tuple[int, Sequence[tuple[str, Candidates]]]]:
    """Yield the groups of rows that are not all done, each with the number of its first row, and show how it goes."""
    from tqdm import tqdm

    with tqdm(total=len(read), initial=done, desc="scoring", unit="row", disable=not sys.stderr.isatty()) as bar:
        for start in range(done - done % size, len(read), size):
            group = read[start : start + size]
            yield start, group
            bar.update(start + len(group) - max(done, start))


def _scored_rows(
    scorer: Scorer, group: Sequence[tuple[str, Candidates]], written: Callable[[Candidates], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    places, rows = zip(*group, strict=True)
    found = scored(scorer, rows, places)
    beside = scorer.columns() or [{}] * len(rows)
    return [
        {**written(row._replace(scores=values)), **columns}
        for row, values, columns in zip(rows, found, beside, strict=True)
    ]


def score_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what there is to say of scores: mean, spread, and rows from which no pair comes."""
    scores = [row["scores"] for row in rows]
    values = [value for each in scores for value in each]
    inside = fmean(pstdev(each) for each in scores)
    equal = sum(len(set(each)) < 2 for each in scores)
    return [
        f"{len(values)} completions of {len(rows)} prompts: mean {fmean(values):.4g}, from {min(values):.4g} to "
        f"{max(values):.4g}",
        f"standard deviation {pstdev(values):.4g}, of the completions of one prompt {inside:.4g} in the mean",
        f"{equal} of {len(rows)} rows ({equal / len(rows):.0%}) have no two different scores: no pair comes of them",
    ]
