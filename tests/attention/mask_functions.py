"""Mask functions of transformers that its lowest version lacks, with a stand-in for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import masking_utils

from dpo_lightning.attention.rules import Rule


def _window(reach: int) -> Rule:
    return lambda _, __, query, key: (query - key <= reach) & (key - query <= reach)


def _remapped(rule: Rule, positions: Tensor) -> Rule:
    return lambda row, head, query, key: rule(row, head, positions[row, query], positions[row, key])


def _within_groups(groups: Tensor) -> Rule:
    def same(row: Any, _: Any, query: Any, key: Any) -> Any:
        return (groups[row, query] == groups[row, key]) & (groups[row, query] >= 0)

    return same


def _of(name: str, stand_in: Any) -> Any:
    return getattr(masking_utils, name, stand_in)


both_ways: Rule = _of("bidirectional_mask_function", lambda _, __, query, ___: query >= 0)
window_both_ways: Callable[[int], Rule] = _of("sliding_window_bidirectional_mask_function", _window)
within_groups: Callable[[Tensor], Rule] = _of("blockwise_overlay", _within_groups)
remapped: Callable[[Rule, Tensor], Rule] = _of("remap_positions_for_packed_sequence", _remapped)
