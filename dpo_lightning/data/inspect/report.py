"""Everything that the doctor reports, as one value: for the terminal, a page, and JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpo_lightning.data.inspect.checks import CHECKS
from dpo_lightning.data.inspect.computed import Computed, histogram, tokens_computed
from dpo_lightning.data.inspect.finding import Finding, Severity, run_checks
from dpo_lightning.data.inspect.marked import MarkedExample, marked, samples
from dpo_lightning.data.inspect.scores import ModelScores
from dpo_lightning.data.inspect.survey import Split, Survey
from dpo_lightning.data.tokenize import Outcome

EXIT_CODES = {Severity.INFO: 0, Severity.WARNING: 3, Severity.ERROR: 4}
"""Exit code of the command by the gravest finding; 1 and 2 are those of wrong input and of a wrong key."""


@dataclass(frozen=True)
class Report:
    """All that was found in a source.

    Args:
        survey: What was read.
        findings: What checks have found, the gravest first.
        computed: Tokens of an epoch in each layout.
        examples: A few examples, with what is trained on marked.
        scores: What a model makes of the data; None where none was asked.
    """

    survey: Survey
    findings: list[Finding]
    computed: Computed
    examples: list[MarkedExample]
    scores: ModelScores | None = None

    @classmethod
    def of(cls, survey: Survey, scores: ModelScores | None = None) -> Report:
        """Run all checks.

        Args:
            survey: What was read.
            scores: What a model makes of the data.
        """
        computed = tokens_computed(survey.train.lengths, survey.batch_pairs, survey.seed)
        examples = [marked(each, survey) for each in samples(survey)]
        return cls(survey, run_checks(CHECKS, survey), computed, examples, scores)

    @property
    def severity(self) -> Severity:
        """The gravest severity of the findings."""
        return max((finding.severity for finding in self.findings), default=Severity.INFO)

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sequence of the training rows before truncation, prompt included, `[sequences]`."""
        whole = (each.whole for each in self.survey.train.examples)
        return np.array([prompt + each for prompt, *completions in whole for each in completions], dtype=np.int64)

    @property
    def histogram(self) -> list[tuple[int, int, int]]:
        """The lengths in bins: first, last, how many."""
        return histogram(self.lengths)

    def document(self) -> str:
        """Return the report as JSON in ASCII: no character of the data reaches a terminal as it is."""
        return json.dumps(self.as_json(), indent=1, allow_nan=False)

    def as_json(self) -> dict[str, Any]:
        """Return the report in plain types."""
        survey = self.survey
        return {
            "source": survey.source,
            "format": survey.format,
            "severity": self.severity.name.lower(),
            "splits": {name: _split(split) for name, split in survey.splits.items()},
            "findings": [_finding(finding) for finding in self.findings],
            "lengths": {"unit": survey.unit, "max_length": survey.max_length, "histogram": self.histogram},
            "tokens_computed": {**self.computed._asdict(), "speedup": round(self.computed.speedup, 3)},
            "examples": [_example(each) for each in self.examples],
            "model": None if self.scores is None else _scores(self.scores),
        }


def dropped(split: Split) -> dict[str, int]:
    """Count the examples of a split that are not trained on, by reason."""
    counts = Counter(each.outcome for each in split.examples if not each.kept)
    counts[Outcome.NO_PREFERENCE] += len(split.undecided)
    return {Outcome(outcome).reason: count for outcome, count in sorted(counts.items()) if count}


def _split(split: Split) -> dict[str, Any]:
    return {
        "place": split.place,
        "rows": split.rows,
        "looked_at": split.looked_at,
        "examples": len(split.examples),
        "kept": len(split.kept),
        "rows_kept": split.rows_kept,
        "rows_dropped": split.rows_dropped,
        "refused": len(split.refused),
        "dropped": dropped(split),
        "unread": split.columns.counts,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    rows = {name: list(each) for name, each in finding.rows.items()}
    return {**finding._asdict(), "severity": finding.severity.name.lower(), "rows": rows}


def _example(example: MarkedExample) -> dict[str, Any]:
    completions = {
        name: [{"kind": piece.kind.value, "text": piece.text} for piece in pieces]
        for name, pieces in example.completions
    }
    return {"split": example.split, "row": example.row, "prompt": example.prompt.text, "completions": completions}


def _scores(scores: ModelScores) -> dict[str, Any]:
    preferred, other = (None if math.isnan(value) else value for value in scores.nats)
    return {
        "name": scores.model,
        "examples": len(scores.examples),
        "accuracy": scores.accuracy,
        "accuracy_per_token": scores.accuracy_per_token,
        "nats_per_token": {"preferred": preferred, "other": other},
        "largest_loss": [
            {"split": each.seen.split, "row": each.seen.row, "loss": each.loss} for each in scores.largest()
        ],
    }
