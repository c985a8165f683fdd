"""A file of completions, those of each prompt ordered by their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates, candidates_of, json_rows
from dpo_lightning.rounds.kept_rows import content_of, kept_rows
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer
from dpo_lightning.rounds.scoring import add_scored

PLACES, SCORED = "places", "all_scores"


class ScoresOfFile(Scorer):
    """Gives the scores that the rows have already."""

    @property
    def made(self) -> Mapping[str, Any]:
        """The file alone decides on them."""
        return {"scores": "of the file"}

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Return them.

        Raises:
            NoScoreError: for a row without scores.
        """
        for number, row in enumerate(rows):
            if row.scores is None:
                said = "no scores: name a scorer (--function, --reward_model, --run or --judge)"
                raise NoScoreError(said, number)
        return [row.scores or [] for row in rows]


def rank_file(file: Path, out: Path, scorer: Scorer, *, best: bool = False) -> list[dict[str, Any]]:
    """Write the rows of a file with the completions of each in the order of their scores, and return all of them.

    Completions of equal scores stay in their order. A row has `places`, those that its completions had, from 0.

    Args:
        file: Rows with `prompt` and `completions`.
        out: The file to write, which goes on where an earlier call was killed.
        scorer: Gives the scores.
        best: Write only the first completion of each row (best of n), with all scores in their old order as
            `all_scores`.

    Raises:
        InputError: for a row that is something else, has a column of the new ones or cannot be scored, naming its line,
            and for a file that is there and was made of something else; rows that were written before stay.
    """
    if out.resolve() == file.resolve():
        raise InputError(f"rank --out: {out} is the file that is read: give another path")
    read = [(line, _unranked(candidates_of(row, line), line)) for line, row in json_rows(file, "rank")]
    made = {"command": "rank", "file": content_of(file, f"rank {file}"), "scorer": dict(scorer.made), "best": best}
    with kept_rows(out, made, "rank --out") as kept:
        add_scored(kept, read, scorer, best_of if best else ranked)
    return [dict(row) for _, row in json_rows(out, "rank")]


def ranked(row: Candidates) -> dict[str, Any]:
    """Return a row with its completions from the best to the worst, and the places that they had."""
    return _taken(row, _order(row.scores or ()))


def best_of(row: Candidates) -> dict[str, Any]:
    """Return a row with its best completion alone, and the scores of all in their old order."""
    return {**_taken(row, _order(row.scores or ())[:1]), SCORED: row.scores}


def _order(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: -scores[place])


def _taken(row: Candidates, order: Sequence[int]) -> dict[str, Any]:
    taken = row._replace(
        completions=[row.completions[place] for place in order],
        scores=[row.scores[place] for place in order] if row.scores else None,
        ended=[row.ended[place] for place in order] if row.ended else None,
    )
    return {**taken.row(), PLACES: [*order]}


def _unranked(row: Candidates, place: str) -> Candidates:
    """Refuse a row that is ranked already, whose places would be lost."""
    for name in (PLACES, SCORED):
        if name in row.beside:
            raise InputError(f"{place}, {name}: the row is ranked already: give the file that it was made of")
    return row


def rank_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what there is to say of ranked rows: what the best is worth, ties, and columns in another order."""
    scores = [row.get(SCORED) or row["scores"] for row in rows]
    best, mean = fmean(map(max, scores)), fmean(value for each in scores for value in each)
    most = max(map(len, scores))
    lines = [f"{len(rows)} rows, best of up to {most}: mean score {best:.4g}, of all completions {mean:.4g}"]
    tied = [len(each) - len({*each}) for each in scores]
    first = sum(each.count(max(each)) > 1 for each in scores)
    if any(tied):
        lines.append(
            f"ties: {sum(map(bool, tied))} rows have equal scores, {first} of them the best: what came first "
            "stays first"
        )
    if names := _lists_beside(rows):
        lines.append(
            f"{', '.join(names)}: as many values as completions, in the order that these had: `{PLACES}` says which"
        )
    return lines


def _lists_beside(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    own = {"prompt", "completions", "scores", "ended", PLACES, SCORED}
    found: dict[str, None] = {}
    for row in rows:
        size = len(row.get(SCORED) or row["scores"])
        for name, value in row.items():
            if name not in own and isinstance(value, list) and len(value) == size > 1:
                found[name] = None
    return [*found]
