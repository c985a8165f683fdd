"""Preference data: formats, tokenisation, batches and the DataModule."""

from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.data.batch_plans import BatchPlan, ExamplePlan, OrderedTokenPlan, TokenPlan
from dpo_lightning.data.cleaning import Clean
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.datamodule import PreferenceDataModule
from dpo_lightning.data.formats import Example, Format, RowFormat
from dpo_lightning.data.formats.unpaired import UnpairedFormat
from dpo_lightning.data.interfaces import PreferenceLearner, PreferenceSource
from dpo_lightning.data.loader import ExampleBatchSampler, LazyLoader
from dpo_lightning.data.tokenize import ExampleTokenizer

__all__ = [
    "BatchPlan",
    "Clean",
    "DataRead",
    "Example",
    "ExampleBatchSampler",
    "ExamplePlan",
    "ExampleTokenizer",
    "Format",
    "LazyLoader",
    "OrderedTokenPlan",
    "PreferenceDataModule",
    "PreferenceLearner",
    "PreferenceSource",
    "RowFormat",
    "TokenPlan",
    "UnpairedFormat",
    "collate_padded",
    "collate_tree",
]
