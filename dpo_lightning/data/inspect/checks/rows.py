"""Checks of rows as they are read: refused, dropped, read in part."""

from __future__ import annotations

from dpo_lightning.data.inspect.checks.words import of_rows, percent
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.survey import Survey

# Columns that change what a row means, whoever wrote them.
_KNOWN = frozenset(
    [
        "system",
        "tools",
        "images",
        "image",
        "videos",
        "audios",
        "label",
        "labels",
        "input",
        "instruction",
        "chat_template_kwargs",
        "margin",
        "weight",
        "reasoning_content",
    ]
)


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
    counts: dict[str, int] = {}
    for split in survey.splits.values():
        for name, count in split.unread.items():
            counts[name] = counts.get(name, 0) + count
    if not counts:
        return None
    named = ", ".join(f"`{name}` ({count:,} rows)" for name, count in counts.items())
    known = [name for name in counts if name.lower() in _KNOWN]
    said = f"nobody reads {named}"
    if known:
        said += f"; {', '.join(f'`{name}`' for name in known)} may change what a row means"
    return Found(Severity.WARNING if known else Severity.INFO, said)


def lost(survey: Survey) -> Found | None:
    """Find that a third of the examples is not trained on."""
    dropped, count = sum(not each.kept for _, each in survey.examples()), survey.count
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
        "Columns that have values and that the format does not read. Some names, such as `system` or `tools`, usually "
        "change what the model should see.",
        "Name them in `data.format`, or take them out of the file so that nobody expects them to count.",
        unread,
    ),
)
