"""The words of the doctor: a finding, how grave it is, and the check that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from dpo_lightning.data.inspect.survey import Survey


class Severity(IntEnum):
    """How grave a finding is.

    `INFO` is a fact to know, `WARNING` costs quality or makes a number wrong, `ERROR` stops the training.
    """

    INFO = 0
    WARNING = 1
    ERROR = 2


Rows = Mapping[str, Sequence[int]]
"""Rows of the source data, from 0, by split."""


class Found(NamedTuple):
    """Result of a check.

    Attributes:
        severity: How grave it is here.
        said: One sentence with the numbers.
        rows: The rows that show it; none where it is a property of all of them.
        remedy: What to do here, in place of the check's own sentence.
    """

    severity: Severity
    said: str
    rows: Rows = {}  # noqa: RUF012 - nobody writes to it
    remedy: str | None = None


class Check(NamedTuple):
    """A look for one kind of fault.

    Attributes:
        name: Its name in reports.
        meaning: What it finds, and why that matters, in a sentence or two.
        remedy: One sentence on what to do.
        find: Looks at what was read; None where there is nothing to say.
    """

    name: str
    meaning: str
    remedy: str
    find: Callable[[Survey], Found | None]


class Finding(NamedTuple):
    """Line of a report, of a check that has found something.

    Attributes:
        name: The check's name.
        severity: How grave it is.
        said: One sentence with the numbers.
        remedy: One sentence on what to do.
        rows: The rows that show it.
    """

    name: str
    severity: Severity
    said: str
    remedy: str
    rows: Rows


def run_checks(checks: Sequence[Check], survey: Survey) -> list[Finding]:
    """Return what checks find, the gravest first, otherwise in their order."""
    found = [(check, check.find(survey)) for check in checks]
    findings = [
        Finding(check.name, each.severity, each.said, each.remedy or check.remedy, each.rows)
        for check, each in found
        if each is not None
    ]
    return sorted(findings, key=lambda finding: -finding.severity)
