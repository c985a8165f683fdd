"""The configuration: what differs from the defaults, and all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_lightning.report.defaults import changed, flat
from dpo_lightning.report.markup import facts, folded
from dpo_lightning.report.runs import Run

_OF_THE_COMMAND = {"model": "PreferenceModule", "data": "PreferenceDataModule"}


def settings(run: Run) -> Iterator[str]:
    """Yield what differs from the defaults, then the whole config, folded; secrets are masked."""
    if run.config is None:
        yield "<p>There is no config.yaml in the run's directory: the command saves one, Python does not.</p>"
        return
    yield facts(
        _said({key: each for key, each in changed(run.config).items() if _OF_THE_COMMAND.get(key) != each}).items()
    )
    every = flat(run.config)
    yield folded(f"all {len(every)} settings", [facts(_said(every).items())])


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
    return f"{value:g}" if isinstance(value, float) else str(value)
