"""Pairs of completions: the best against the worst, all with different scores, or a strong model's and a weak one's."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.prompts import Prompt

How = Literal["best_worst", "all", "delta"]
_OWN = ("chosen", "rejected", "chosen_score", "rejected_score", "margin", "chosen_model", "rejected_model")

CUT, EMPTY, REPEATED = "completions that were cut", "empty completions", "repeated completions"
ALONE, TIES, NEAR = "rows with fewer than two completions left", "pairs with one score", "pairs below --min_gap"
SAME, UNMATCHED, EXTRA = "pairs of one text", "prompts without a row in the other file", "completions without another"


class Rules(NamedTuple):
    """Rules by which pairs are made.

    Attributes:
        how: `best_worst`, `all`, or `delta`: chosen from one model's file, rejected from another's.
        min_gap: Least difference of the two scores; 0 takes every pair with different ones.
        keep_cut: Take completions that were cut at the most tokens too.
    """

    how: How
    min_gap: float = 0.0
    keep_cut: bool = False


class _One(NamedTuple):
    text: str
    score: float | None
    model: str | None


def ranked_pairs(rows: Sequence[tuple[str, Candidates]], rules: Rules, left: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield pairs of each row: the best completion against the worst, or all with different scores.

    Args:
        rows: Rows with scores, each behind a text that names its line.
        rules: What is taken.
        left: Gets the counts of what is left out.

    Raises:
        InputError: for a row without scores, naming it.
    """
    for place, row in rows:
        if row.scores is None:
            raise InputError(f"{place}: no scores: `dpo-lightning score` writes them, or take --how delta")
        found = sorted(_usable(row, rules, left), key=lambda each: -(each.score or 0.0))
        if len(found) < 2:
            left[ALONE] += 1
            continue
        taken = combinations(found, 2) if rules.how == "all" else [(found[0], found[-1])]
        for better, worse in taken:
            if _is_taken(better, worse, rules, left):
                yield _pair(row, better, worse)


def delta_pairs(
    strong: Sequence[tuple[str, Candidates]],
    weak: Sequence[tuple[str, Candidates]],
    rules: Rules,
    left: Counter[str],
    unmatched: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield pairs of two models, whatever the scores: delta learning, arXiv:2507.06187.

    Rows are matched by their prompts, the n-th of a prompt with the n-th of it, and their completions in order.

    Args:
        strong: Rows of the better model, each behind a text that names its line: chosen.
        weak: Rows of the other one: rejected.
        rules: What is taken; `min_gap` needs scores in both.
        left: Gets the counts of what is left out.
        unmatched: Gets the places of rows that the other file has no row for.

    Raises:
        InputError: for a row without scores where `min_gap` reads them.
    """
    others: dict[str, deque[tuple[str, Candidates]]] = defaultdict(deque)
    for place, row in weak:
        others[_key(row.prompt)].append((place, row))
    for place, row in strong:
        if not (matches := others[_key(row.prompt)]):
            unmatched.append(place)
            continue
        yield from _delta_of(row, matches.popleft()[1], rules, left, place)
    unmatched += [place for matches in others.values() for place, _ in matches]
    if unmatched:
        left[UNMATCHED] += len(unmatched)


def _delta_of(
    row: Candidates, other: Candidates, rules: Rules, left: Counter[str], place: str
) -> Iterator[dict[str, Any]]:
    if rules.min_gap and (row.scores is None or other.scores is None):
        raise InputError(f"{place}: --min_gap reads scores, and one of the two rows has none: score both, or leave it")
    better, worse = _usable(row, rules, left), _usable(other, rules, left)
    if len(better) != len(worse):
        left[EXTRA] += abs(len(better) - len(worse))
    for one, two in zip(better, worse, strict=False):
        if one.text == two.text:
            left[SAME] += 1
        elif rules.min_gap and _gap(one, two) < rules.min_gap:
            left[NEAR] += 1
        else:
            yield _pair(row, one, two)


def _key(prompt: Prompt) -> str:
    return json.dumps(prompt, sort_keys=True, ensure_ascii=False)


def _usable(row: Candidates, rules: Rules, left: Counter[str]) -> list[_One]:
    """Return the completions that may be in a pair: each text once, with the mean of its scores."""
    scores: dict[str, list[float]] = {}
    for place, text in enumerate(row.completions):
        if row.ended is not None and not row.ended[place] and not rules.keep_cut:
            left[CUT] += 1
        elif not text.strip():
            left[EMPTY] += 1
        else:
            left[REPEATED] += text in scores
            scores.setdefault(text, []).extend([] if row.scores is None else [row.scores[place]])
    return [_One(text, fmean(values) if values else None, row.model) for text, values in scores.items()]


def _gap(better: _One, worse: _One) -> float:
    return (better.score or 0.0) - (worse.score or 0.0)


def _is_taken(better: _One, worse: _One, rules: Rules, left: Counter[str]) -> bool:
    if np.float32(better.score) == np.float32(worse.score):  # as a loss gets them
        left[TIES] += 1
        return False
    if _gap(better, worse) < rules.min_gap:
        left[NEAR] += 1
        return False
    return True


def _pair(row: Candidates, better: _One, worse: _One) -> dict[str, Any]:
    """Return the row of a pair, in the form that training reads: answers to messages are messages."""
    is_chat = not isinstance(row.prompt, str)
    sides = [[{"role": "assistant", "content": one.text}] if is_chat else one.text for one in (better, worse)]
    found: dict[str, Any] = {"prompt": row.prompt, "chosen": sides[0], "rejected": sides[1]}
    if better.score is not None and worse.score is not None:
        gap = {"margin": better.score - worse.score}
        found |= {"chosen_score": better.score, "rejected_score": worse.score, **gap}
    found |= {
        f"{side}_model": one.model for side, one in (("chosen", better), ("rejected", worse)) if one.model is not None
    }
    return {**found, **{name: value for name, value in row.beside.items() if name not in _OWN}}


def pair_lines(pairs: Sequence[dict[str, Any]], rows: int, left: Counter[str]) -> list[str]:
    """Return what there is to say of pairs: how many, what was left out, margins and lengths."""
    lengths = [[len(_text(pair[side])) for pair in pairs] for side in ("chosen", "rejected")]
    longer = fmean(one > two for one, two in zip(*lengths, strict=True))
    margins = [pair["margin"] for pair in pairs if "margin" in pair]
    of_margins = (
        f"margin {fmean(margins):.4g} in the mean, from {min(margins):.4g} to {max(margins):.4g}"
        if margins
        else "no margins: the rows have no scores"
    )
    return [
        f"{len(pairs)} pairs of {rows} rows",
        f"left out: {said_of(left) or 'nothing'}",
        f"{of_margins}; chosen is the longer one in {longer:.0%} (mean {fmean(lengths[0]):.0f} characters, rejected "
        f"{fmean(lengths[1]):.0f})",
    ]


def said_of(left: Counter[str]) -> str:
    """Return the counts of what is left out, in words."""
    return ", ".join(f"{name} {count}" for name, count in left.items() if count)


def _text(side: Any) -> str:
    return side if isinstance(side, str) else str(side[0]["content"])
