"""Checks of labelled completions: whether there are both kinds."""

from __future__ import annotations

from dpo_lightning.data.inspect.checks.words import percent
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.survey import Survey

_RARE = 0.1


def balance(survey: Survey) -> Found | None:
    """Find that one label is rare, or missing."""
    labels = [label for each in survey.train.kept for label in each.labels or ()]
    good, count = sum(labels), len(labels)
    if not count:
        return None
    said = f"{good:,} of {count:,} completions ({percent(good, count)}) are desirable"
    rare = min(good, count - good) < _RARE * count
    return Found(Severity.WARNING if rare else Severity.INFO, said)


CHECKS = (
    Check(
        "label balance",
        "How many of the labelled completions are desirable. A warning where one label has less than a tenth: without "
        "the other one there is nothing to tell apart.",
        "Weigh the labels with KTO's `desirable_weight` and `undesirable_weight` so that both count about the same.",
        balance,
    ),
)
