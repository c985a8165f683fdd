"""The doctor: what is in the data, looked at before the GPU hours go."""

from dpo_lightning.data.inspect.checks import CHECKS
from dpo_lightning.data.inspect.finding import Check, Finding, Found, Severity, run_checks
from dpo_lightning.data.inspect.report import EXIT_CODES, Report
from dpo_lightning.data.inspect.survey import Seen, Split, Survey

__all__ = [
    "CHECKS",
    "EXIT_CODES",
    "Check",
    "Finding",
    "Found",
    "Report",
    "Seen",
    "Severity",
    "Split",
    "Survey",
    "run_checks",
]
