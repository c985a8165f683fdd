"""Batches: their types, and how tokenised examples become one."""

from dpo_lightning.batch.collate import Collate, collate_padded, collate_tree, first_completions, sequence_order
from dpo_lightning.batch.columns import COLUMNS, Column, ColumnValue, Holds, checked_value
from dpo_lightning.batch.nested import preference_batch_by, preference_batch_in
from dpo_lightning.batch.types import PreferenceBatch, TokenizedExample, TreeLayout, sum_per_sequence

__all__ = [
    "COLUMNS",
    "Collate",
    "Column",
    "ColumnValue",
    "Holds",
    "PreferenceBatch",
    "TokenizedExample",
    "TreeLayout",
    "checked_value",
    "collate_padded",
    "collate_tree",
    "first_completions",
    "preference_batch_by",
    "preference_batch_in",
    "sequence_order",
    "sum_per_sequence",
]
