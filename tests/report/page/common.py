"""Runs and the texts of their pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpo_lightning.report.runs import Run


def run(directory: str = "run", **files: Any) -> Run:
    """A run with these contents of its files."""
    return Run(Path(directory), **files)


def words(parts: Iterable[str]) -> str:
    """Text of HTML, without elements, its white space folded."""
    source = re.sub(r"<(style|title)\b.*?</\1>", "", "".join(parts), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source)).split())


def points(**metrics: list[float | None]) -> list[dict[str, Any]]:
    """Rows of metrics at steps 0, 1, ...; `__` in a name is a slash."""
    count = max(map(len, metrics.values()))
    named = {name.replace("__", "/"): values for name, values in metrics.items()}
    return [
        {"step": step, **{name: values[step] for name, values in named.items() if step < len(values)}}
        for step in range(count)
    ]


def pair(margin: float, *, start: float = 0.0, tokens: tuple[int, int] = (10, 10), **more: Any) -> dict[str, Any]:
    """A row of pairs.jsonl, whose margin is its log-ratio's."""
    return {
        "pair_id": 0,
        "chosen_tokens": tokens[0],
        "rejected_tokens": tokens[1],
        "rewards/chosen": margin,
        "rewards/rejected": 0.0,
        "logps/chosen": -10 + start + margin,
        "logps/rejected": -10.0,
        "logratios/chosen": margin,
        "logratios/rejected": 0.0,
        **more,
    }
