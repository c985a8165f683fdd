"""The data, as the doctor has seen a sample of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_lightning.report.markup import length_bars, notice, table, text
from dpo_lightning.report.runs import Run, finite

_GRAVE = ("error", "warning", "info")


def data(run: Run) -> Iterator[str]:
    """Yield rows, findings and lengths, or why there are none."""
    if run.data is None:
        yield (
            "<p>The doctor has not looked at the data of this run: it does at the end of a fit of the command, "
            "unless the rows stream. <code>dpo-lightning inspect --config config.yaml</code> does at any time.</p>"
        )
        return
    yield f"<p>{text(run.data.get('source') or '')}, read as {text(run.data.get('format') or 'no format')}.</p>"
    splits = {name: each for name, each in (run.data.get("splits") or {}).items() if isinstance(each, Mapping)}
    if splits:
        yield table(
            [("split", "rows", "looked at", "refused", "examples", "kept", "dropped"), *map(_row, splits.items())]
        )
    yield from _sampled(splits)
    yield from map(_finding, _findings(run.data.get("findings")))
    yield from _lengths(run.data.get("lengths") or {})


def _row(named: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, split = named
    counts = (finite(split.get(key)) for key in ("rows", "looked_at", "refused", "examples", "kept"))
    dropped = split.get("dropped")
    reasons = [f"{count} {reason}" for reason, count in dropped.items()] if isinstance(dropped, Mapping) else []
    said = ("" if count is None else f"{count:,.0f}" for count in counts)
    return (name, *said, "; ".join(reasons) or "none")


def _sampled(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if any(each.get("rows") != each.get("looked_at") for each in splits.values()):
        yield (
            "<p class='soft'>This is a sample of the rows; repeats and held-out rows among the training rows are found "
            "within it alone. <code>dpo-lightning inspect --config config.yaml</code> looks at all.</p>"
        )


def _findings(found: Any) -> list[Mapping[str, Any]]:
    known = [each for each in found or () if isinstance(each, Mapping)]
    return sorted(
        known, key=lambda each: _GRAVE.index(each["severity"]) if each.get("severity") in _GRAVE else len(_GRAVE)
    )


def _finding(finding: Mapping[str, Any]) -> str:
    severity = str(finding.get("severity") if finding.get("severity") in _GRAVE else "info")
    said = str(finding.get("said") or "")
    sentence = f"{said[:1].upper()}{said[1:]}."
    remedy = f"<p class='remedy'>{text(finding.get('remedy') or '')}</p>"
    return notice(severity, str(finding.get("name") or ""), f"<p>{text(sentence)}</p>{remedy}")


def _lengths(lengths: Mapping[str, Any]) -> Iterator[str]:
    histogram = lengths.get("histogram")
    bins = [each for each in map(_bin, histogram) if each is not None] if isinstance(histogram, list) else []
    if bins:
        yield "<h3>Lengths</h3>"
        yield from length_bars(bins, str(lengths.get("unit") or "tokens"), finite(lengths.get("max_length")))


def _bin(each: Any) -> tuple[float, float, float] | None:
    numbers = [finite(number) for number in each] if isinstance(each, list) else []
    known = [number for number in numbers if number is not None]
    return (known[0], known[1], known[2]) if len(known) == len(numbers) == 3 else None
