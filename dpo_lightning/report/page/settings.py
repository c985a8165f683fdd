"""The configuration: what differs from the defaults, and all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_lightning.report.defaults import changed, flat
from dpo_lightning.report.markup import facts, folded
from dpo_lightning.report.runs import Run

_ORDER = ("model", "data", "trainer")
_OF_THE_COMMAND = {"model": "PreferenceModule", "data": "PreferenceDataModule"}


def settings(run: Run) -> Iterator[str]:
    """Yield what differs from the defaults, then the whole config, folded; secrets are masked."""
    if run.config is None:
        yield "<p>There is no config.yaml in the run's directory: the command saves one, Python does not.</p>"
        return
    ordered = {key: run.config[key] for key in sorted(run.config, key=_place)}
    differing = {key: each for key, each in changed(ordered).items() if _OF_THE_COMMAND.get(key) != each}
    yield facts(_said(differing).items())
    every = flat(ordered)
    yield folded(f"all {len(every)} settings", [facts(_said(every).items())])


def _place(key: str) -> int:
    return _ORDER.index(key) if key in _ORDER else len(_ORDER)


def _said(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: said(value) for key, value in values.items()}


def said(value: object) -> str:
    """Return a setting as YAML has it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(said, value))}]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
