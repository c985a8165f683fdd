"""Texts: the held-out pairs that are most wrong, and samples from policy and reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_lightning.report.charts.drawn import line_chart
from dpo_lightning.report.charts.frame import Series
from dpo_lightning.report.markup import folded, long_text, of_data, text
from dpo_lightning.report.progress_line import short
from dpo_lightning.report.runs import Run, finite

_MOST_WORST = 20
_MOST_PROMPTS = 24
_MOST_OF_ONE = 4  # samples of a prompt and time that are shown
_OPEN = 3
_BEGINS = 80  # characters of a prompt that a folded pair shows


def worst(run: Run) -> Iterator[str]:
    """Yield the held-out pairs with the most negative reward margin."""
    if not run.worst:
        yield "<p>There is no file of the pairs that are most wrong: the run had no whole validation of pairs.</p>"
        return
    ordered = sorted(run.worst, key=lambda row: _margin(row) or 0.0)
    for place, row in enumerate(ordered[:_MOST_WORST]):
        yield _wrong(row, is_open=place < _OPEN)


def samples(run: Run) -> Iterator[str]:
    """Yield samples by prompt: those of the reference once, those of the policy over the steps."""
    if not run.samples:
        yield "<p>No samples were taken.</p>"
        return
    yield from _mean_rewards(run)
    prompts: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.samples:
        prompts.setdefault(str(row.get("prompt") or ""), []).append(row)
    for place, (prompt, rows) in enumerate([*prompts.items()][:_MOST_PROMPTS]):
        summary = of_data(" ".join(prompt[:160].split()) or "(an empty prompt)")
        yield folded(summary, _of_prompt(prompt, rows), is_open=place < _OPEN)
    if (left := len(prompts) - _MOST_PROMPTS) > 0:
        yield f"<p class='soft'>{left:,} prompts more are in record/samples.jsonl.</p>"


def _wrong(row: Mapping[str, Any], *, is_open: bool) -> str:
    margin = _margin(row)
    named = f"row {row.get('pair_id')}" + (f", {row['source']}" if row.get("source") else "")
    begins = " ".join(str(row.get("prompt") or "")[:_BEGINS].split())
    said_margin = "unknown" if margin is None else short(margin)
    summary = f"{text(named)}: reward margin {text(said_margin)} <span class='soft'>{of_data(begins)}</span>"
    parts = [f"<h4>prompt</h4>{long_text(str(row.get('prompt') or ''))}"]
    for side in ("chosen", "rejected"):
        values = {
            "reward": finite(row.get(f"rewards/{side}")),
            "log-ratio": finite(row.get(f"logratios/{side}")),
            "tokens": finite(row.get(f"{side}_tokens")),
        }
        said = ", ".join(f"{name} {short(value)}" for name, value in values.items() if value is not None)
        parts.append(f"<h4>{side}{f' ({text(said)})' if said else ''}</h4>{long_text(str(row.get(side) or ''))}")
    return folded(summary, parts, is_open=is_open)


def _margin(row: Mapping[str, Any]) -> float | None:
    chosen, rejected = finite(row.get("rewards/chosen")), finite(row.get("rewards/rejected"))
    return None if chosen is None or rejected is None else chosen - rejected


def _of_prompt(prompt: str, rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield f"<h4>prompt</h4>{long_text(prompt)}"
    ordered = sorted(rows, key=lambda row: finite(row.get("step")) or 0.0)
    reference = next((row for row in reversed(ordered) if row.get("reference")), None)
    if reference is not None:
        yield _sampled("reference", reference, "reference")
    first, *between = ordered
    last = between.pop() if between else None
    yield _sampled(f"policy at step {first.get('step')}", first, "policy")
    if between:
        inner = "".join(_sampled(f"policy at step {row.get('step')}", row, "policy") for row in between)
        yield f"<details><summary>{len(between)} times between</summary>{inner}</details>"
    if last is not None:
        yield _sampled(f"policy at step {last.get('step')}", last, "policy")


def _sampled(title: str, row: Mapping[str, Any], who: str) -> str:
    texts = [str(each) for each in row.get(who) or ()]
    rewards = _rewards(row, who)
    parts = []
    for place, each in enumerate(texts[:_MOST_OF_ONE]):
        reward = rewards[place] if place < len(rewards) else None
        said = "" if reward is None else f"<p class='soft'>reward {text(short(reward))}</p>"
        parts.append(f'<div class="sample">{said}{long_text(each)}</div>')
    more = f"<p class='soft'>{len(texts) - _MOST_OF_ONE} more</p>" if len(texts) > _MOST_OF_ONE else ""
    return f"<h4>{text(title)}</h4>{''.join(parts)}{more}"


def _rewards(row: Mapping[str, Any], who: str) -> list[float | None]:
    found = row.get("rewards")
    values = found.get(who) if isinstance(found, Mapping) else None
    return [finite(each) for each in values] if isinstance(values, list) else []


def mean_rewards(run: Run, who: str) -> list[tuple[float, float | None]]:
    """Return the mean reward of all samples of a step, by step; `who` is `policy` or `reference`."""
    found: dict[float, list[float]] = {}
    for row in run.samples:
        step = finite(row.get("step"))
        if step is not None:
            found.setdefault(step, []).extend(each for each in _rewards(row, who) if each is not None)
    return [(step, sum(each) / len(each)) for step, each in sorted(found.items()) if each]


def _mean_rewards(run: Run) -> Iterator[str]:
    series = [
        Series(who, mean_rewards(run, who), place, dots=True) for place, who in enumerate(("policy", "reference"))
    ]
    known = [each for each in series if each.points]
    if known:
        yield f'<div class="charts">{line_chart("Mean reward of the samples", known)}</div>'
