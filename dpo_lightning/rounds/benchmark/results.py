"""Results of a scorer on a benchmark: how often the right completion has the greatest score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple

from dpo_lightning.report.statistics import Interval, wilson
from dpo_lightning.rounds.benchmark.rows import RIGHT
from dpo_lightning.rounds.benchmark.sections import TIES, Section, mean_of_sections, sections_of, ties_score

Ties = Literal["wrong", "half"]
"""What a pair with two equal scores counts."""


class Part(NamedTuple):
    """Rows of a benchmark, and how many a scorer has right.

    Attributes:
        accuracy: Share of the rows that are right, with its 95 % interval.
        ties: Rows whose right completion shares the greatest score.
        longer_wins: What the share would be if the longer text always won.
        when_longer: The share among rows whose right completion is the longest text, with its interval.
        when_shorter: The same where it is not.
    """

    accuracy: Interval
    ties: int
    longer_wins: float
    when_longer: Interval | None
    when_shorter: Interval | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        shares = {name: _plain(getattr(self, name)) for name in ("when_longer", "when_shorter")}
        return {**_plain(self.accuracy), "ties": self.ties, "longer_wins": self.longer_wins, **shares}


class Results(NamedTuple):
    """Results on a benchmark.

    Attributes:
        whole: All rows.
        subsets: Those of each subset, in the order of the file; empty where the rows have none.
        sections: RewardBench's sections, where the subsets are RewardBench's.
        ties_score: RewardBench 2's score of its subset of ties; None where there is none.
        ties: What two equal scores of a pair count.
    """

    whole: Part
    subsets: Mapping[str, Part]
    sections: Mapping[str, Section]
    ties_score: float | None
    ties: Ties

    @property
    def mean_of_sections(self) -> float | None:
        """RewardBench's mean over its sections; None where a subset of it is missing."""
        return mean_of_sections(self.sections)

    @property
    def mean_of_subsets(self) -> float | None:
        """Mean over subsets, each of the same weight, that of ties by its own score; None without subsets."""
        values = [self.share(name) for name in self.subsets]
        return fmean(values) if values else None

    def share(self, subset: str) -> float:
        """Return the accuracy of a subset, of ties their score."""
        is_score = self.ties_score is not None and subset.lower() == TIES
        return self.ties_score if is_score else self.subsets[subset].accuracy.share  # type: ignore[return-value]

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            **self.whole.plain(),
            "equal_scores_of_a_pair": self.ties,
            "mean_of_subsets": self.mean_of_subsets,
            "mean_of_sections": self.mean_of_sections,
            "ties_score": self.ties_score,
            "sections": {
                name: {"accuracy": each.accuracy, "subsets": each.subsets, "of": each.of}
                for name, each in self.sections.items()
            },
            "subsets": {name: part.plain() for name, part in self.subsets.items()},
        }


def results_of(rows: Sequence[Mapping[str, Any]], ties: Ties, *, has_subsets: bool) -> Results:
    """Return the results of rows with scores.

    Args:
        rows: Rows with `completions`, `scores`, `right` (how many completions are right, the first ones) and `subset`.
        ties: What two equal scores of a pair count. Among more completions, k equal ones count 1 / k.
        has_subsets: Whether the rows have subsets.
    """
    by_subset: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_subset.setdefault(row["subset"], []).append(row)
    subsets = {name: part_of(each, ties) for name, each in by_subset.items()} if has_subsets else {}
    of_ties = next((each for name, each in by_subset.items() if name.lower() == TIES), None)
    sections = sections_of({name: each.accuracy.share for name, each in subsets.items()}) if subsets else {}
    return Results(part_of(rows, ties), subsets, sections, None if of_ties is None else ties_score(of_ties), ties)


def part_of(rows: Sequence[Mapping[str, Any]], ties: Ties) -> Part:
    """Return the results of some rows together."""
    found = [(right_share(row["scores"], row[RIGHT], ties), *_by_length(row, ties)) for row in rows]
    tied = sum(_is_tie(row["scores"], row[RIGHT]) for row in rows)
    longer = [[share for share, length, _ in found if (length == 1) is is_longer] for is_longer in (True, False)]
    when = [wilson(fmean(each), len(each)) if each else None for each in longer]
    shares = wilson(fmean(share for share, _, _ in found), len(found))
    return Part(shares, tied, fmean(length for _, _, length in found), *when)


def right_share(scores: Sequence[float], right: int, ties: Ties) -> float:
    """Return how right the scores of a row are, from 0 to 1.

    Of a pair it is 1 where the right completion has the greater score, as in RewardBench; of one right completion among
    more, RewardBench 2's 1 / k where it is one of k with the greatest. Of several right ones, each must be above every
    wrong one.

    Args:
        scores: Scores, those of right completions first.
        right: How many are right.
        ties: What two equal scores of a pair count.
    """
    if right > 1:
        return float(min(scores[:right]) > max(scores[right:]))
    if scores[0] < max(scores):
        return 0.0
    same = scores.count(scores[0]) if isinstance(scores, list) else [*scores].count(scores[0])
    if len(scores) == 2 and same == 2:
        return 0.5 if ties == "half" else 0.0
    return 1 / same


def _is_tie(scores: Sequence[float], right: int) -> bool:
    return min(scores[:right]) == max(scores[right:])


def _by_length(row: Mapping[str, Any], ties: Ties) -> Iterator[float]:
    lengths = [float(len(each)) for each in row["completions"]]
    yield float(min(lengths[: row[RIGHT]]) > max(lengths[row[RIGHT] :]))
    yield right_share(lengths, row[RIGHT], ties)


def _plain(interval: Interval | None) -> Any:
    if interval is None:
        return None
    return {"accuracy": interval.share, "rows": interval.of, "low": interval.low, "high": interval.high}
