"""Batches: their types, and how tokenised examples become one."""

from dpo_lightning.batch.collate import Collate, collate_padded, collate_tree, first_completions, sequence_order
from dpo_lightning.batch.columns import COLUMNS, Column
from dpo_lightning.batch.types import PreferenceBatch, TokenizedExample, TreeLayout, sum_per_sequence

__all__ = [
    "COLUMNS",
    "Collate",
    "Column",
    "PreferenceBatch",
    "TokenizedExample",
    "TreeLayout",
    "collate_padded",
    "collate_tree",
    "first_completions",
    "sequence_order",
    "sum_per_sequence",
]
