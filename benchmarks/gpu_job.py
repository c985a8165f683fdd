"""The job of one process of `gpu.py`, as it reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_lightning import TokenizedExample


class Job:
    """What a process is told.

    Attributes:
        device: `cuda` or `cpu`.
        warmup, steps: Of a run.
        scratch: A folder of its own.
        rows: Names and settings.
    """

    def __init__(self, path: Path) -> None:
        told = json.loads(path.read_text(encoding="utf-8"))
        self.device, self.warmup, self.steps = told["device"], told["warmup"], told["steps"]
        self.scratch, self.rows, self._examples = told["scratch"], told["rows"], told["examples"]

    def examples(self, settings: dict[str, Any]) -> list[TokenizedExample]:
        """The examples of a model and profile, as they stand in the file that all sides read."""
        path = self._examples[f"{settings['model']}/{settings['profile']}"]
        return [TokenizedExample(*each) for each in json.loads(Path(path).read_text(encoding="utf-8"))]
