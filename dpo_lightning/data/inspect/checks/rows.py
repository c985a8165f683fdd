"""Checks of rows as they are read: refused, dropped, read in part."""

from __future__ import annotations

from collections import Counter

from dpo_lightning.data.inspect.checks.words import of_rows, percent, share
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.survey import Survey
from dpo_lightning.data.tokenize.first_look import TEMPLATE_LEAVES

_MANY_UNDECIDED = 0.1


def refused(survey: Survey) -> Found | None:
    """Find rows that are not understood."""
    rows = {name: [each.row for each in split.refused] for name, split in survey.splits.items() if split.refused}
    if not rows:
        return None
    name = next(iter(rows))
    first = survey.splits[name].refused[0]
    said = f"{of_rows(rows, survey)} are not understood, the first being {name} row {first.row}: {first.reason}"
    return Found(Severity.ERROR, said, rows)


def unread(survey: Survey) -> Found | None:
    """Find columns with values that the format does not read."""
    counts: dict[str, Counter[str]] = {}
    for split in survey.splits.values():
        for who, names in split.columns.unread.items():
            counts.setdefault(who, Counter()).update(names)
    if not counts:
        return None
    said = [
        f"{who} {', '.join(f'`{name}` ({count:,} rows)' for name, count in names.most_common())}"
        for who, names in counts.items()
    ]
    return Found(Severity.WARNING if TEMPLATE_LEAVES in counts else Severity.INFO, "; ".join(said))


def refused_columns(survey: Survey) -> Found | None:
    """Find columns for which a run refuses the split."""
    found = [(name, split.columns.refused) for name, split in survey.splits.items() if split.columns.refused]
    if not found:
        return None
    return Found(Severity.ERROR, "; ".join(f"{name}: {reason}" for name, reason in found))


def undecided(survey: Survey) -> Found | None:
    """Find rows without a preference."""
    rows = {name: list(split.undecided) for name, split in survey.splits.items() if split.undecided}
    if not rows:
        return None
    severity = Severity.WARNING if share(rows, survey) >= _MANY_UNDECIDED else Severity.INFO
    return Found(severity, f"{of_rows(rows, survey)} prefer none of their completions, and are not trained on", rows)


def lost(survey: Survey) -> Found | None:
    """Find that a third of the examples is not trained on."""
    undecided = sum(len(split.undecided) for split in survey.splits.values())
    dropped = sum(not each.kept for _, each in survey.examples()) + undecided
    count = survey.count + undecided
    if dropped < count / 3 or not dropped:
        return None
    return Found(Severity.WARNING, f"{dropped:,} of {count:,} examples ({percent(dropped, count)}) are not trained on")


def few(survey: Survey) -> Found | None:
    """Find that nothing is left to train on."""
    if survey.train.kept:
        return None
    return Found(Severity.ERROR, "no example is left to train on")


CHECKS = (
    Check(
        "refused rows",
        "Rows that the format does not understand. A run stops at the first one.",
        "Correct them or take them out, or name the format or the columns that they have in `data.format`.",
        refused,
    ),
    Check(
        "nothing left",
        "Every example is dropped or refused.",
        "Look at the reasons for which rows are dropped; `data.max_length` may be too small.",
        few,
    ),
    Check(
        "lost rows",
        "A third of the examples or more are not trained on, for the reasons in the list of dropped rows.",
        "Raise `data.max_length`, or mend the rows, unless the rest is what you mean to train on.",
        lost,
    ),
    Check(
        "unread columns",
        "Columns that have values and that the format does not read; a warning where a chat template leaves a key of "
        "messages, which an answer then lacks.",
        "Name them in `data.format`, or in `data.format.ignore` so that nobody expects them to count.",
        unread,
    ),
    Check(
        "refused columns",
        "A column that nobody reads and whose name says what it means, such as `system` or `tools`. A run stops there.",
        "Do what it says: map the column, or name it in `data.format.ignore`.",
        refused_columns,
    ),
    Check(
        "no preference",
        "Rows that prefer none of their completions, such as ties. They are not trained on. A warning from a tenth of "
        "the rows on.",
        "Nothing, unless there are more than you expect: look at the column of scores, or at the threshold.",
        undecided,
    ),
)
