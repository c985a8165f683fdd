"""Conversions of configs of TRL, and what is asked of them."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import plain
from dpo_lightning.cli.ways_over.trl import TOOL

PLACE = "config c.yaml"


def of_trl(**fields: Any) -> Draft:
    """What a config of TRL becomes, of a model and data unless others are given."""
    return convert(TOOL, {"model_name_or_path": "m", "dataset_name": "d.jsonl", **fields}, PLACE)


def at(draft: Draft, path: str) -> Any:
    """The value at a key; None where it is not written."""
    found = plain(draft.tree)
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def callback(draft: Draft, name: str) -> Any:
    """Arguments of a callback; None for one that is not written."""
    found = (each for each in at(draft, "trainer.callbacks") or [] if each["class_path"] == name)
    return next((each.get("init_args", {}) for each in found), None)


def said(draft: Draft, name: str) -> str:
    """All that is told of a field, its fate first."""
    return "; ".join(f"{each.fate.value}: {each.said}" for each in draft.told if each.name == name)
