"""Conversions of configs in memory."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tools import tool_named
from dpo_lightning.cli.ways_over.tree import plain

AXOLOTL = {
    "base_model": "model",
    "rl": "dpo",
    "learning_rate": 1e-5,
    "datasets": [{"path": "rows.jsonl", "type": "chat_template.default"}],
}
LLAMA_FACTORY = {
    "model_name_or_path": "model",
    "stage": "dpo",
    "do_train": True,
    "dataset": "pairs",
    "dataset_dir": {
        "pairs": {"file_name": "pairs.json", "ranking": True, "columns": {"chosen": "good", "rejected": "bad"}}
    },
}


def axolotl(**changes: Any) -> Draft:
    return convert(tool_named("axolotl"), {**AXOLOTL, **changes}, "config a.yaml")


def llama_factory(**changes: Any) -> Draft:
    return convert(tool_named("llamafactory"), {**LLAMA_FACTORY, **changes}, "config f.yaml")


def config(draft: Draft) -> dict[str, Any]:
    """The values alone."""
    found: dict[str, Any] = plain(draft.tree)
    return found


def told(draft: Draft) -> dict[str, str]:
    """What is said, by field."""
    return {each.name: each.said for each in draft.told}
