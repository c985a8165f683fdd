"""Pivotal tokens: the tokens of an answer that decide on its success, and pairs of them with what could stand there."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.bisection import Segment, bisected, is_pivotal
from dpo_lightning.rounds.candidates import Candidates, candidates_of, json_rows
from dpo_lightning.rounds.continuations import Continuation, Continuer
from dpo_lightning.rounds.kept_rows import content_of, kept_rows
from dpo_lightning.rounds.scorers.base import Scorer, scored
from dpo_lightning.utils.files import replaced

_SEARCHING, _CONFIRMING = 0, 1


class PivotSettings(NamedTuple):
    """Settings of a search.

    Attributes:
        threshold: Score from which an answer is a success.
        gap: Change of the chance of success from which a token is pivotal.
        least: Least chance of a prompt that is searched: below it hardly any answer succeeds.
        most: Its most: above it hardly any fails.
        alternatives: Other tokens that are tried at most in the place of a pivotal one, the likeliest first.
    """

    threshold: float
    gap: float = 0.2
    least: float = 0.2
    most: float = 0.8
    alternatives: int = 3


class _Prefix(NamedTuple):
    """First tokens of an answer: the share of continuations that succeed, and which of them go on with which token."""

    chance: float
    firsts: Mapping[int, list[bool]]


class RowSearch:
    """A search through the answers of one row.

    Args:
        place: Text that names the row, in an error.
        number: Its number, on which the random numbers depend.
        row: The row.
        continuer: Goes on with answers.
        scorer: Judges them.
        settings: What counts as pivotal.
    """

    def __init__(
        self,
        place: str,
        number: int,
        row: Candidates,
        continuer: Continuer,
        scorer: Scorer,
        settings: PivotSettings,
    ) -> None:
        self._place, self._number, self._row = place, number, row
        self._continuer, self._scorer, self._settings = continuer, scorer, settings
        self._known: dict[tuple[int, tuple[int, ...]], _Prefix] = {}
        self._before: list[int] = []

    def searched(self) -> dict[str, Any]:
        """Search all answers, and return what was found: the chances along each of them, and the pairs.

        Raises:
            InputError: for a prompt that cannot be written or continued, and an answer that cannot be judged.
        """
        answers = [self._tokens(number) for number in range(len(self._row.completions))]
        self._begin(answers[0][0])
        chance = self._prefix([]).chance
        found: dict[str, Any] = {"prompt": self._row.prompt, "p": chance, "answers": [], "pairs": [], "without_pair": 0}
        if not self._settings.least <= chance <= self._settings.most:
            return found
        for before, ids in answers:
            self._begin(before)
            segments = self._segments(ids)
            found["answers"].append([self._said(ids, each) for each in segments])
            for segment in segments:
                self._add(ids, segment, found)
        return found

    def _begin(self, before: list[int]) -> None:
        """Go on behind these tokens of the prompt: a template may begin some answers otherwise."""
        if before != self._before:
            self._known.clear()
        self._before = before

    def _tokens(self, number: int) -> tuple[list[int], list[int]]:
        row = self._row
        before, ids = self._continuer.tokens.of(row.prompt, row.completions[number], row.beside)
        ended = row.ended is None or row.ended[number]
        return before, [*ids, self._continuer.end] if ended else ids

    def _segments(self, ids: list[int]) -> list[Segment]:
        return bisected(len(ids), lambda count: self._prefix(ids[:count]).chance, self._settings.gap)

    def _said(self, ids: list[int], segment: Segment) -> list[Any]:
        text = self._continuer.answer(ids[segment.start : segment.end])
        return [text, segment.before, segment.after]

    def _add(self, ids: list[int], segment: Segment, found: dict[str, Any]) -> None:
        """Add the pair of a segment that is a pivotal token; one that is in the list is not added again."""
        if not is_pivotal(segment, self._settings.gap) or ids[segment.start] == self._continuer.end:
            return
        pair = self._pair(ids[: segment.start], ids[segment.start], raises=segment.change > 0)
        if pair is None:
            found["without_pair"] += 1
        elif pair not in found["pairs"]:
            found["pairs"].append(pair)

    def _pair(self, prefix: list[int], token: int, *, raises: bool) -> dict[str, Any] | None:
        for other in self._others(prefix, token, worse=raises):
            chosen, rejected = (token, other) if raises else (other, token)
            if self._gain(prefix, chosen, rejected, _SEARCHING) < self._settings.gap:
                continue
            if self._gain(prefix, chosen, rejected, _CONFIRMING) < self._settings.gap:
                continue  # the first chances were chosen for their difference: by chance, it may be
            row = self._continuer.tokens.pair(self._row, (self._before, prefix), chosen, rejected)
            if row is not None:
                return {**row, **self._chances(prefix, chosen, rejected)}
        return None

    def _others(self, prefix: list[int], token: int, *, worse: bool) -> list[int]:
        """Return what else continuations went on with, those first that most often did so to the other end."""
        firsts = {each: ended for each, ended in self._prefix(prefix).firsts.items() if each != token}
        fits = {each: sum(good != worse for good in ended) for each, ended in firsts.items()}
        ranked = sorted(firsts, key=lambda each: (-fits[each], len(firsts[each]), each))
        return [each for each in ranked if fits[each]][: self._settings.alternatives]

    def _gain(self, prefix: list[int], chosen: int, rejected: int, turn: int) -> float:
        better, worse = (self._prefix([*prefix, each], turn).chance for each in (chosen, rejected))
        return better - worse

    def _chances(self, prefix: list[int], chosen: int, rejected: int) -> dict[str, float]:
        ids = {"p_before": prefix, "p_chosen": [*prefix, chosen], "p_rejected": [*prefix, rejected]}
        return {name: self._prefix(each, _CONFIRMING).chance for name, each in ids.items()}

    def _prefix(self, ids: list[int], turn: int = _SEARCHING) -> _Prefix:
        key = turn, tuple(ids)
        if key not in self._known:
            self._known[key] = self._judged(ids, turn)
        return self._known[key]

    def _judged(self, ids: list[int], turn: int) -> _Prefix:
        if ids[-1:] == [self._continuer.end]:
            continuations = [Continuation(self._continuer.answer(ids), None)]
        else:
            entropy = (self._continuer.sampling.seed, self._number, turn, *ids)
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            continuations = self._continuer.continued(self._before, ids, seed)
        texts = [each.text for each in continuations]
        (scores,) = scored(self._scorer, [Candidates(self._row.prompt, texts, beside=self._row.beside)], [self._place])
        good = [score >= self._settings.threshold for score in scores]
        firsts: dict[int, list[bool]] = defaultdict(list)
        for each, succeeded in zip(continuations, good, strict=True):
            if each.first is not None:
                firsts[each.first].append(succeeded)
        return _Prefix(sum(good) / len(good), firsts)


class Pivots(NamedTuple):
    """Counts of a search.

    Attributes:
        rows: Prompts.
        outside: Prompts whose chance was too small or too great to search.
        pairs: Pairs of single tokens.
        without_pair: Pivotal tokens of which no pair came.
        shown: Some of the pairs.
    """

    rows: int
    outside: int
    pairs: int
    without_pair: int
    shown: list[dict[str, Any]]


def search_file(file: Path, out: Path, continuer: Continuer, scorer: Scorer, settings: PivotSettings) -> Pivots:
    """Search a file of completions for pivotal tokens, and write the pairs.

    What was searched is in `NAME.searched.jsonl` beside the file of pairs, a row for each prompt, on disk as it comes.

    Args:
        file: Rows with `prompt`, `completions` and, where it is known, `ended`.
        out: The file of pairs; none is written where there is no pair.
        continuer: Goes on with answers.
        scorer: Judges them.
        settings: What counts as pivotal.

    Raises:
        InputError: for rows that are something else, a file made of something else, and where there is no pair.
    """
    trace = searched_path(out)
    if out.exists() and not trace.exists():
        raise InputError(f"pivots --out: {out} is there, and nothing says what it was made of: give another path")
    rows = [(line, candidates_of(row, line)) for line, row in json_rows(file, "pivots")]
    made = {"command": "pivots", "file": content_of(file, "pivots"), **continuer.made, "scorer": dict(scorer.made)}
    with kept_rows(trace, {**made, **settings._asdict()}, "pivots --out") as kept:
        for number, (place, row) in () if kept.whole else _shown(rows, kept.done):
            kept.add([RowSearch(place, number, row, continuer, scorer, settings).searched()])
    searched = [json.loads(line) for line in trace.read_text(encoding="utf-8").split("\n")[:-1]]
    found = _counts(searched, settings)
    if not found.pairs:
        raise InputError(
            f"pivots: no pair of pivotal tokens in {found.rows} rows, {found.outside} of them with a chance outside "
            f"{settings.least:g} to {settings.most:g}: {trace} has the chances: lower --gap, or take other prompts"
        )
    pairs = [pair for row in searched for pair in row["pairs"]]
    with replaced(out) as temporary:
        temporary.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in pairs), encoding="utf-8")
    return found


def searched_path(out: Path) -> Path:
    """Return where the chances are that belong to a file of pairs."""
    return out.with_name(f"{out.stem}.searched.jsonl")


def _counts(searched: Sequence[Mapping[str, Any]], settings: PivotSettings) -> Pivots:
    pairs = [pair for row in searched for pair in row["pairs"]]
    outside = sum(not settings.least <= row["p"] <= settings.most for row in searched)
    largest = sorted(pairs, key=lambda each: each["p_rejected"] - each["p_chosen"])[:3]
    return Pivots(len(searched), outside, len(pairs), sum(row["without_pair"] for row in searched), largest)


def _shown(rows: Sequence[tuple[str, Candidates]], done: int) -> Iterator[tuple[int, tuple[str, Candidates]]]:
    from tqdm import tqdm

    with tqdm(total=len(rows), initial=done, desc="searching", unit="row", disable=not sys.stderr.isatty()) as bar:
        for number, row in enumerate(rows[done:], start=done):
            yield number, row
            bar.update()
