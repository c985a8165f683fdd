"""The held-out pairs of the last validation: distributions, lengths, calibration, accuracy of groups."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dpo_lightning.report.charts.drawn import calibration, dots_chart, histogram, interval_bar
from dpo_lightning.report.charts.frame import Series
from dpo_lightning.report.markup import html_table, of_data, text
from dpo_lightning.report.progress_line import short
from dpo_lightning.report.runs import Run, finite
from dpo_lightning.report.statistics import calibrated, calibration_error, correlation, quantile_groups, share_above

_SIDES = ("chosen", "rejected")
_MOST_GROUPS = 20
_FEWEST = 8  # pairs below which neither quarters nor bins say anything


class Pair(NamedTuple):
    """Numbers of a held-out pair; None for one that the record does not have.

    Attributes:
        margin: Reward of chosen minus that of rejected.
        rewards: That of each completion.
        before: Log-prob of chosen minus that of rejected, under the reference, in nats.
        after: The same at the end.
        tokens: Scored ones of each completion.
        group: Names of its set and source.
    """

    margin: float
    rewards: tuple[float, float]
    before: float | None
    after: float | None
    tokens: tuple[float, float] | None
    group: Mapping[str, str]


def pairs_of(run: Run) -> list[Pair]:
    """Return the pairs of the last validation that have both rewards."""
    return [pair for pair in map(_pair, run.pairs) if pair is not None]


def distributions(run: Run) -> Iterator[str]:
    """Yield how log-prob margins and rewards are spread, under the reference and at the end."""
    pairs = pairs_of(run)
    if not pairs:
        yield from _of_labelled(run) if run.pairs else [_NOTHING]
        return
    before = [pair.before for pair in pairs if pair.before is not None]
    after = [pair.after for pair in pairs if pair.after is not None]
    yield f"<p>{text(_start(before, len(pairs)))}</p>"
    charts = []
    if after:
        series = [_values("reference", before, 7)] * bool(before) + [_values("policy at the end", after, 0)]
        charts.append(histogram("Log-prob of chosen minus that of rejected", series, x_title="nats"))
    charts.append(
        histogram(
            "Reward margin at the end",
            [_values("chosen minus rejected", [p.margin for p in pairs], 2)],
            x_title="reward",
        )
    )
    sides = [_values(name, [pair.rewards[place] for pair in pairs], place) for place, name in enumerate(_SIDES)]
    charts.append(histogram("Rewards at the end", sides, x_title="reward"))
    yield _charts(charts)


def lengths(run: Run) -> Iterator[str]:
    """Yield reward against length, and how far the one follows the other."""
    pairs = [(pair, pair.tokens) for pair in pairs_of(run) if pair.tokens is not None]
    if not pairs:
        yield from _lengths_of_labelled(run)
        return
    apart = [(tokens[0] - tokens[1], pair.margin) for pair, tokens in pairs]
    yield f"<p>{text(_followed('reward margin', 'difference in length', apart))}</p>"
    clouds = [
        Series(name, [(tokens[place], pair.rewards[place]) for pair, tokens in pairs], place)
        for place, name in enumerate(_SIDES)
    ]
    margins = Series("a pair", apart, 0)
    yield _charts(
        [
            dots_chart("Reward margin", [margins], _means(apart), x_title="tokens of chosen minus those of rejected"),
            dots_chart("Reward", clouds, x_title="tokens of the completion"),
        ]
    )


def calibration_of(run: Run) -> Iterator[str]:
    """Yield predicted preference against observed accuracy."""
    margins = [pair.margin for pair in pairs_of(run) if pair.margin]
    if len(margins) < _FEWEST:
        yield "<p>That needs pairs with rewards that differ, eight at least.</p>"
        return
    points = calibrated(margins)
    yield (
        "<p>The sigmoid of a reward margin is the probability that the one completion is preferred, as DPO's loss "
        "takes it; other objectives need not. "
        f"Mean distance from the diagonal: {100 * calibration_error(points):.1f} points.</p>"
    )
    chart = calibration("How often the completion of the greater reward is the chosen one", points)
    yield _charts([chart])


def accuracy(run: Run) -> Iterator[str]:
    """Yield the reward accuracy of all pairs and of groups of them, with 95 % intervals."""
    pairs = pairs_of(run)
    if not pairs:
        yield "<p>Accuracy compares the rewards of pairs, and there are none of held-out pairs.</p>"
        return
    if ties := sum(not pair.margin for pair in pairs):
        yield f"<p>{ties:,} of {len(pairs):,} pairs have equal rewards, which count half.</p>"
    rows = [_accuracy_row(name, group) for name, group in _groups(pairs) if group]
    yield html_table(("pairs", "number", "accuracy (95 %)", "", "mean margin"), rows)


_NOTHING = "<p>There is no file of held-out pairs: the run had no whole validation.</p>"


def _pair(row: Mapping[str, Any]) -> Pair | None:
    chosen, rejected = (finite(row.get(f"rewards/{side}")) for side in _SIDES)
    if chosen is None or rejected is None:
        return None
    ends = [finite(row.get(f"logps/{side}")) for side in _SIDES]
    ratios = [finite(row.get(f"logratios/{side}")) for side in _SIDES]
    starts = [None if end is None or ratio is None else end - ratio for end, ratio in zip(ends, ratios, strict=True)]
    tokens = tuple(finite(row.get(f"{side}_tokens")) for side in _SIDES)
    group = {key: str(row[key]) for key in ("set", "source") if row.get(key) is not None}
    known = None if tokens[0] is None or tokens[1] is None else (tokens[0], tokens[1])
    return Pair(chosen - rejected, (chosen, rejected), _difference(starts), _difference(ends), known, group)


def _difference(values: Sequence[float | None]) -> float | None:
    first, second = values
    return None if first is None or second is None else first - second


def _start(before: Sequence[float], count: int) -> str:
    said = f"{count:,} held-out pairs of the last validation."
    if not before:
        return f"{said} Without a reference, what the policy made of them before training is not known."
    return (
        f"{said} The reference, which is the policy before training unless the run named or moved another one, "
        f"preferred the chosen completion in {share_above(before).said} of them."
    )


def _values(name: str, values: Sequence[float], colour: int) -> Series:
    return Series(name, [(value, None) for value in values], colour)


def _charts(charts: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>'


def _followed(what: str, of: str, points: Sequence[tuple[float, float]]) -> str:
    found = correlation(points)
    if found is None:
        return f"The {what} does not vary with the {of}."
    return f"Correlation of {what} and {of}: {found:+.2f}. Near 1, the reward says little more than the length does."


def _means(points: Sequence[tuple[float, float]]) -> list[Series]:
    if len(points) < _FEWEST:
        return []
    groups = quantile_groups([x for x, _ in points], 8)
    means = [tuple(statistics.fmean(points[place][axis] for place in group) for axis in (0, 1)) for group in groups]
    return [Series("mean of an eighth", [(x, y) for x, y in means], 1, dots=True)]


def _of_labelled(run: Run) -> Iterator[str]:
    """Yield rewards by label; of other completions nothing is drawn."""
    rewards = _by_label(run, lambda row: finite(row.get("rewards")))
    if not any(rewards.values()):
        yield "<p>The record has neither rewards of pairs nor of labelled completions.</p>"
        return
    yield f"<p>{sum(map(len, rewards.values())):,} held-out completions of the last validation, by their label.</p>"
    ratios = _by_label(run, lambda row: finite(row.get("logratios")))
    named = {"Rewards at the end": rewards, "Log-ratios to the reference at the end": ratios}
    yield _charts(
        [
            histogram(
                title,
                [_values(name, each, place) for place, (name, each) in enumerate(values.items()) if each],
                x_title="nats" if "ratio" in title else "reward",
            )
            for title, values in named.items()
            if any(values.values())
        ]
    )


def _lengths_of_labelled(run: Run) -> Iterator[str]:
    points = _by_label(run, lambda row: _both(finite(row.get("tokens")), finite(row.get("rewards"))))
    if not any(points.values()):
        yield "<p>The record has no rewards with lengths.</p>"
        return
    yield f"<p>{text(_followed('reward', 'length', [each for part in points.values() for each in part]))}</p>"
    clouds = [Series(name, [*each], place) for place, (name, each) in enumerate(points.items()) if each]
    yield _charts([dots_chart("Reward", clouds, x_title="tokens of the completion")])


def _both(first: float | None, second: float | None) -> tuple[float, float] | None:
    return None if first is None or second is None else (first, second)


def _by_label(run: Run, value: Callable[[Mapping[str, Any]], Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"desirable": [], "undesirable": []}
    for row in run.pairs:
        if row.get("label") is not None and (known := value(row)) is not None:
            found["desirable" if row["label"] else "undesirable"].append(known)
    return found


def _groups(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield groups of pairs with their names as HTML: all, by set, source, length, and what the policy made of them."""
    yield "all", [*pairs]
    for key in ("set", "source"):
        counts = Counter(pair.group[key] for pair in pairs if key in pair.group)
        for name, _ in counts.most_common(_MOST_GROUPS) if len(counts) > 1 else ():
            yield f"{key} {of_data(name[:200])}", [pair for pair in pairs if pair.group.get(key) == name]
    known = [pair for pair in pairs if pair.tokens is not None]
    yield "chosen is the longer one", [pair for pair in known if pair.tokens and pair.tokens[0] > pair.tokens[1]]
    yield "chosen is the shorter one", [pair for pair in known if pair.tokens and pair.tokens[0] < pair.tokens[1]]
    yield from _quarters("tokens of both", known, lambda pair: sum(pair.tokens or ()))
    started = [pair for pair in pairs if pair.before is not None]
    yield from _quarters("log-prob margin of the reference", started, lambda pair: pair.before or 0.0)


def _quarters(name: str, pairs: Sequence[Pair], value: Callable[[Pair], float]) -> Iterator[tuple[str, list[Pair]]]:
    if len(pairs) < _FEWEST:
        return
    values = [value(pair) for pair in pairs]
    for group in quantile_groups(values, 4):
        low, high = (end(values[place] for place in group) for end in (min, max))
        yield f"{text(name)} {short(low)} to {short(high)}", [pairs[place] for place in group]


def _accuracy_row(name: str, group: Sequence[Pair]) -> tuple[str, ...]:
    margins = [pair.margin for pair in group]
    seen = share_above(margins)
    return name, f"{len(margins):,}", text(seen.said), interval_bar(seen), text(short(statistics.fmean(margins)))
