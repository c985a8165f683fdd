"""Checks of what tells the better completion without reading it: length, first token, layout, where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from dpo_lightning.data.inspect.checks.words import percent
from dpo_lightning.data.inspect.contrasts import Side, contrasts
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.said import Fact
from dpo_lightning.data.inspect.statistics import Told, told_by, wilson
from dpo_lightning.data.inspect.survey import Survey
from dpo_lightning.errors import visible

_GRAVE = 0.6
"""Accuracy of a guess by one feature from which it is a warning; 0.5 is chance."""

_SLIGHT = 0.52
"""Accuracy below which nothing is said of it, however sure it is."""

_ALIKE = 0.9

_LAYOUT: dict[str, Fact] = {
    "bullet points": Fact.BULLETS,
    "numbered lists": Fact.NUMBERED,
    "code blocks": Fact.CODE,
    "headings": Fact.HEADINGS,
    "bold text": Fact.BOLD,
    "a question at the end": Fact.QUESTION,
    "an exclamation mark": Fact.EXCLAMATION,
    "no mark at the end": Fact.OPEN_END,
    "several paragraphs": Fact.PARAGRAPHS,
    "tables": Fact.TABLE,
    "emoji": Fact.EMOJI,
}


def length(survey: Survey) -> Found | None:
    """Find that the longer completion is the better one, or the shorter one, more often than chance."""
    lengths = [(good.length, bad.length) for good, bad in contrasts(survey.train, survey.seed)]
    longer, shorter = (sum(a > b for a, b in pairs) for pairs in (lengths, [(b, a) for a, b in lengths]))
    won, surely = (wilson(max(longer, shorter), longer + shorter, z) for z in (1.96, 3.0))
    if surely.low <= 0.5:
        return None
    said = (
        f"the {'longer' if longer > shorter else 'shorter'} completion is preferred in {100 * won.value:.1f} % of "
        f"{won.cases:,} comparisons (95 % interval {100 * won.low:.1f} to {100 * won.high:.1f} %)"
    )
    return Found(Severity.WARNING if won.low >= _GRAVE else Severity.INFO, said)


def first_token(survey: Survey) -> Found | None:
    """Find that the first token tells the better completion."""
    sides = contrasts(survey.train, survey.seed)
    told = _told(sides, lambda side: int(side.ids[0]), survey)
    if told is None:
        return None
    best, worst = (repr(visible(survey.decode([each]))) for each in (told.best, told.worst))  # type: ignore[list-item]
    said = f"the first of a completion's {survey.unit} tells the preferred one"
    return _found(f"{said} ({best} is preferred most, {worst} least)", told)


def layout(survey: Survey) -> Found | None:
    """Find that a form, such as a list, tells the better completion."""
    sides = contrasts(survey.train, survey.seed)
    found = {}
    for name, fact in _LAYOUT.items():
        told = _told(sides, lambda side, fact=fact: bool(side.facts & fact), survey)  # type: ignore[misc]
        if told is not None:
            found[name] = told
    if not found:
        return None
    name, told = max(found.items(), key=lambda item: item[1].accuracy)
    said = f"completions {'with' if told.best else 'without'} {name} are preferred"
    others = [other for other in found if other != name]
    return _found(said + (f"; also telling: {', '.join(others)}" if others else ""), told)


def source(survey: Survey) -> Found | None:
    """Find that a column with few values, such as the name of a model, tells the better completion."""
    sides = contrasts(survey.train, survey.seed)
    of_rows = [[each for each in sides if (each[0].seen is each[1].seen) is own] for own in (True, False)]
    named = [(names, compared) for compared in of_rows for names in _columns_of_sides(compared)]
    found = []
    for (good, bad), compared in named:
        pairs = [(a.seen.values.get(good), b.seen.values.get(bad)) for a, b in compared]
        if len({value for pair in pairs for value in pair} - {None}) < 2:
            continue
        told = told_by([a for a, _ in pairs], [b for _, b in pairs], survey.seed)
        if not told.is_noise and told.accuracy >= _SLIGHT:
            found.append(((good, bad), told))
    if not found:
        return None
    (good, bad), told = max(found, key=lambda item: item[1].accuracy)
    said = f"`{good}`" if good == bad else f"`{good}` and `{bad}`"
    return _found(f"{said} tells the preferred completion ({told.best!r} most, {told.worst!r} least)", told)


def _columns_of_sides(sides: Sequence[tuple[Side, Side]]) -> list[tuple[str, str]]:
    """Return the names of columns that say something of the better and of the worse completion."""
    if not sides:
        return []
    good, bad = sides[0]
    if good.seen is not bad.seen:
        return [(name, name) for name in good.seen.values]
    swapped = {name: name.replace("chosen", "rejected") for name in good.seen.values if "chosen" in name}
    return [(name, other) for name, other in swapped.items() if other in bad.seen.values]


def _told(sides: Sequence[tuple[Side, Side]], feature: Callable[[Side], Hashable], survey: Survey) -> Told | None:
    told = told_by([feature(good) for good, _ in sides], [feature(bad) for _, bad in sides], survey.seed)
    return None if told.is_noise or told.accuracy < _SLIGHT else told


def _found(said: str, told: Told) -> Found:
    decided = told.decided
    numbers = f"right in {100 * told.accuracy:.1f} % of held-out comparisons, of which it tells {decided.cases:,} apart"
    return Found(Severity.WARNING if told.accuracy >= _GRAVE else Severity.INFO, f"{said}: {numbers}")


def overlap(survey: Survey) -> Found | None:
    """Find pairs whose sides are nearly the same tokens."""
    kept = survey.train.kept
    pairs = [each.sides is not None and len(each.completion_ids) == 2 for each in kept]
    alike = [pair and _shared(*each.completion_ids) >= _ALIKE for pair, each in zip(pairs, kept, strict=True)]
    found, count = sum(alike), sum(pairs)
    if not found:
        return None
    said = (
        f"{found:,} of {count:,} pairs ({percent(found, count)}) have nine tenths of their {survey.unit} on both sides"
    )
    severity = Severity.WARNING if found > count / 2 else Severity.INFO
    return Found(severity, said, survey.train.rows_at(np.array(alike)))


def _shared(first: np.ndarray, second: np.ndarray) -> float:
    """Return the part that equal ends and beginnings are of the longer one."""
    short, long = sorted((len(first), len(second)))
    if short < _ALIKE * long:
        return 0.0
    head = _run(first[:short] == second[:short])
    tail = _run(first[::-1][: short - head] == second[::-1][: short - head])
    return (head + tail) / long


def _run(equal: np.ndarray) -> int:
    """Count the leading values that are true."""
    return len(equal) if equal.all() else int(np.argmin(equal))


CHECKS = (
    Check(
        "length bias",
        "The longer completion, or the shorter one, is preferred more often than chance. The model learns length "
        "before anything else. Said where three standard errors lie above chance; a warning where the 95 % interval "
        "lies above 60 %.",
        "Take an objective that corrects for length (SimPO, LengthNormalizedDPO, LengthRegularizedDPO, LDDPO), or "
        "balance the rows.",
        length,
    ),
    Check(
        "first token",
        "The first token of a completion tells which one is preferred, in halves of the data that it was not learned "
        "on. A warning from 60 % on, where 50 % is chance.",
        "Look at how the two sides were made: with a shortcut in the first token, the rest teaches little.",
        first_token,
    ),
    Check(
        "layout",
        "A list, a code block, a heading, a question at the end or the like tells which completion is preferred, in "
        "halves of the data that it was not learned on. A warning from 60 % on.",
        "Write both sides in the same form, unless the form is what the data is about.",
        layout,
    ),
    Check(
        "source column",
        "A column with few values, such as the name of the model that wrote a completion, tells which one is "
        "preferred. Of pairs, columns are compared that differ in `chosen` and `rejected`. A warning from 60 % on.",
        "Mix the sources on both sides: the model may learn whose style is preferred, and nothing else.",
        source,
    ),
    Check(
        "overlap",
        "Pairs that begin and end alike in nine tenths of their tokens. What they have in common at the beginning "
        "cancels in DPO: few tokens teach anything. A warning from half of the pairs on.",
        "Nothing, if the small difference is meant; else look for rows that were edited by accident.",
        overlap,
    ),
)
