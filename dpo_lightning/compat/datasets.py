"""The cache of `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def fingerprint(rows: Dataset) -> str:
    """Return the hash that stands for the rows in the cache.

    Touches `Dataset._fingerprint`: `map` takes a `new_fingerprint`, which must follow from the old one, and nothing
    public tells it. Where it changes, tokenising fails at the start.
    """
    return rows._fingerprint
