"""Batches: their types, and how tokenised pairs become one."""

from dpo_lightning.batch.collate import Collate, collate_padded, collate_tree
from dpo_lightning.batch.types import PairBatch, PairColumns, TokenizedPair, TreeLayout, sum_per_sequence

__all__ = [
    "Collate",
    "PairBatch",
    "PairColumns",
    "TokenizedPair",
    "TreeLayout",
    "collate_padded",
    "collate_tree",
    "sum_per_sequence",
]
