"""Preference data: formats, tokenisation, batches and the DataModule."""

from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.data.datamodule import PreferenceDataModule
from dpo_lightning.data.formats import Example, Format, PreferencePair, RowFormat
from dpo_lightning.data.loader import LazyLoader, PairBatchSampler
from dpo_lightning.data.plans import BatchPlan, OrderedTokenPlan, PairPlan, TokenPlan
from dpo_lightning.data.tokenize import PairTokenizer
from dpo_lightning.data.unpaired import UnpairedFormat

__all__ = [
    "BatchPlan",
    "Example",
    "Format",
    "LazyLoader",
    "OrderedTokenPlan",
    "PairBatchSampler",
    "PairPlan",
    "PairTokenizer",
    "PreferenceDataModule",
    "PreferencePair",
    "RowFormat",
    "TokenPlan",
    "UnpairedFormat",
    "collate_padded",
    "collate_tree",
]
