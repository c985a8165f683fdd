"""How the run went: its verdict, what ran on what, and the hints that were given."""

from __future__ import annotations

from collections.abc import Iterator

from dpo_lightning.report.markup import facts, notice, text
from dpo_lightning.report.progress_line import clock, short
from dpo_lightning.report.runs import Run, finite
from dpo_lightning.report.verdict import verdict as verdict_lines
from dpo_lightning.report.words import called, counted

_STATUS = {
    "running": "The record says that the run is going on; if nothing runs, it was killed, and this is how far it came",
    "stopped": "The run was stopped before its end",
    "failed": "The run failed",
}


def verdict(run: Run) -> Iterator[str]:
    """Yield how the run went, as it said itself at its end, or by its last values."""
    if (status := run.facts.get("status")) in _STATUS:
        yield f"<p class='verdict'>{text(_STATUS[status])}.</p>"
    lines = run.facts.get("verdict") or _so_far(run)
    yield from (f"<p class='verdict'>{text(line)}</p>" for line in lines if line)


def _so_far(run: Run) -> list[str]:
    """Return the lines of a fit's end for one that has not said them; none before its first validation."""
    last = {name: value for name in run.metrics if (value := run.last(name)) is not None}
    start = {name: points[0][1] for name, points in run.metrics.items() if points[0][0] == 0}
    known = {name: value for name, value in start.items() if value is not None}
    return verdict_lines(last, len(run.pairs) or None, known) if "val/loss" in last else []


def overview(run: Run) -> Iterator[str]:
    """Yield what ran: model, objective, reference, data, steps, time, machine."""
    yield facts(
        [
            ("run", run.place or str(run.directory)),
            ("model", _model(run)),
            ("adapter", run.of("model", "lora")),
            ("objective", called(run.of("objective"))),
            ("reference", run.facts.get("reference")),
            ("optimizer", _optimizer(run)),
            ("data", _data(run)),
            ("steps", steps(run)),
            ("time", duration(run)),
            ("began", run.facts.get("began")),
            ("resumed", _resumed(run)),
            ("layout", ": ".join(str(run.facts[key]) for key in ("layout", "layout_why") if run.facts.get(key))),
            ("machine", machine(run)),
        ]
    )


def hints(run: Run) -> Iterator[str]:
    """Yield the hints, each with the step at which it was given."""
    if not run.hints:
        yield "<p>None was given.</p>"
    for hint in run.hints:
        severity = "warning" if hint.get("severity") == "warning" else "info"
        said = f"<p>{text(hint.get('text') or '')}</p>"
        yield notice(severity, str(hint.get("name") or ""), said, f"at step {hint.get('step')}")


def steps(run: Run) -> str:
    """Return how many steps were made, of how many, and epochs."""
    done, planned, epoch = (finite(run.facts.get(key)) for key in ("step", "steps_planned", "epoch"))
    if done is None:
        done = max((step for step in (finite(row.get("step")) for row in run.points) if step is not None), default=None)
    if done is None:
        return ""
    of = f" of {planned:,.0f}" if planned is not None and planned > 0 else ""
    return f"{done:,.0f}{of}" + (f", {short(epoch)} {'epoch' if epoch == 1 else 'epochs'}" if epoch is not None else "")


def duration(run: Run) -> str:
    """Return how long the run took."""
    seconds = finite(run.facts.get("seconds"))
    if seconds is None:
        seconds = max(
            (each for each in (finite(row.get("seconds")) for row in run.points) if each is not None), default=None
        )
    return "" if seconds is None else clock(max(0.0, seconds))


def machine(run: Run) -> str:
    """Return on what the run ran."""
    found = run.facts.get("machine") or {}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items() if value not in (None, ""))


def _model(run: Run) -> str:
    parameters, trainable = (finite(run.of("model", key)) for key in ("parameters", "trainable"))
    said = [str(each) for each in (run.of("model", "name"), run.of("model", "class")) if each]
    if parameters:
        said.append(f"{counted(parameters)} parameters")
        if trainable is not None:
            said.append(f"{counted(trainable)} of them trained ({100 * trainable / parameters:.3g} %)")
    return ", ".join(said)


def _optimizer(run: Run) -> str:
    name, rate = run.of("optimizer", "name"), finite(run.of("optimizer", "lr"))
    return ", ".join(filter(None, [str(name or ""), "" if rate is None else f"learning rate {rate:g}"]))


def _data(run: Run) -> str:
    train, held, tokens = (finite(run.of("data", key)) for key in ("train", "held_out", "tokens"))
    counted = {"to train on": train, "held out": held, "tokens": tokens}
    said = [f"{number:,.0f} {name}" for name, number in counted.items() if number is not None]
    return ", ".join(filter(None, [str(run.of("data", "source") or ""), *said]))


def _resumed(run: Run) -> str:
    return "; ".join(
        f"at step {each.get('step')} from {each.get('from')}"
        for each in run.facts.get("resumed") or ()
        if isinstance(each, dict)
    )
