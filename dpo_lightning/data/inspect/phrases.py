"""Sentences and tables of a report that terminal and page share."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_lightning.data.inspect.finding import Finding, Rows, Severity
from dpo_lightning.data.inspect.report import Report, dropped
from dpo_lightning.data.inspect.scores import ModelScores
from dpo_lightning.data.inspect.survey import TRAIN

_NAMED = 8


def verdict(report: Report) -> str:
    """Say how many findings of which severity there are."""
    counts = [(severity, sum(each.severity is severity for each in report.findings)) for severity in Severity]
    return ", ".join(f"{count} {_noun(severity, count)}" for severity, count in reversed(counts))


def _noun(severity: Severity, count: int) -> str:
    if severity is Severity.INFO:
        return "for information"
    return severity.name.lower() + ("" if count == 1 else "s")


def named_rows(rows: Rows, most: int = _NAMED) -> str:
    """Name the first rows of each split."""
    parts = []
    for split, each in rows.items():
        more = f" and {len(each) - most:,} more" if len(each) > most else ""
        parts.append(f"{split} {', '.join(map(str, each[:most]))}{more}")
    return "; ".join(parts)


def named(split: str, row: int) -> str:
    """Name a row, and its split where it is of one of several sources."""
    return f"{row}" if split == TRAIN else f"{split} {row}"


def severity_of(finding: Finding) -> str:
    """Return the word for a finding's severity."""
    return finding.severity.name.lower()


def sentence(finding: Finding) -> str:
    """Return what was found as a sentence."""
    return f"{finding.said[:1].upper()}{finding.said[1:]}."


def split_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a table of what was read: a header and a row for each split."""
    header = ("split", "rows", "looked at", "refused", "examples", "kept", "dropped")
    table: list[tuple[str, ...]] = [header]
    for name, split in report.survey.splits.items():
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in dropped(split).items()) or "none"
        counts = (split.looked_at, len(split.refused), len(split.examples), len(split.kept))
        rows = "a stream" if split.rows is None else f"{split.rows:,}"
        table.append((name, rows, *(f"{count:,}" for count in counts), reasons))
    return table


def nothing_left(report: Report) -> str | None:
    """Say that no row is trained on, and why; None where one is."""
    train = report.survey.train
    if train.kept:
        return None
    refused, dropped_rows = len(train.refused), train.rows_dropped
    return f"No row can be trained on: of {train.looked_at:,}, {refused:,} are refused and {dropped_rows:,} dropped."


def computed_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a table of the tokens of an epoch in each layout."""
    computed, unit = report.computed, report.survey.unit
    ways = (
        (f"padded, {report.survey.batch_pairs} examples a batch in any order", computed.padded),
        ("padded, similar lengths together", computed.grouped),
        ("packed, the prompt for each completion", computed.packed),
        ("tree, the prompt once", computed.tree),
    )
    shares = (f"{count / computed.tree:.2f}" if computed.tree else "" for _, count in ways)
    return [
        ("layout", unit, "times the tree"),
        *((way, f"{n:,}", each) for (way, n), each in zip(ways, shares, strict=True)),
    ]


def computed_note(report: Report) -> str:
    """Say what the table of layouts means."""
    return (
        f"The tree computes {report.computed.speedup:.2f} times fewer {report.survey.unit} than padded rows: about the "
        "speed-up where the model is bound by computing."
    )


def sampled(report: Report) -> str | None:
    """Say that some of the rows were looked at; None where all were."""
    splits = report.survey.splits.values()
    said = [
        f"{split.looked_at:,} of {split.rows:,} rows of {split.place}, at random"
        for split in splits
        if split.rows is not None and split.looked_at < split.rows
    ]
    said += [f"the first {split.looked_at:,} rows of {split.place}, a stream" for split in splits if split.rows is None]
    if not said:
        return None
    return f"Not all rows were looked at: {'; '.join(said)}. Repeats are found among these alone (--most_rows)."


def score_lines(scores: ModelScores) -> Sequence[str]:
    """Say what a model makes of the data."""
    lines = [f"{len(scores.examples):,} training examples under {scores.model}."]
    if scores.accuracy is not None and scores.accuracy_per_token is not None:
        lines.append(
            f"The preferred completion is the more likely one in {100 * scores.accuracy:.1f} % of pairs, by the mean "
            f"over tokens in {100 * scores.accuracy_per_token:.1f} %."
        )
    preferred, other = scores.nats
    lines.append(f"Mean log-prob of a token: {preferred:.3f} nats of preferred completions, {other:.3f} of the others.")
    rows = ", ".join(f"{named(each.seen.split, each.seen.row)} ({each.loss:.2f})" for each in scores.largest())
    lines.append(f"Largest loss in nats: rows {rows}.")
    return lines
