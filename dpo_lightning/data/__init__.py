"""Preference data: formats, tokenisation, batches and the DataModule."""

from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.data.batch_plans import BatchPlan, ExamplePlan, OrderedTokenPlan, TokenPlan
from dpo_lightning.data.cleaning import Clean
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.datamodule import PreferenceDataModule
from dpo_lightning.data.formats import (
    AlpacaEvalFormat,
    AlpacaFormat,
    ArenaFormat,
    AutoFormat,
    ComparedFormat,
    Example,
    Format,
    HelpSteerFormat,
    LabelledPairs,
    NoPreference,
    OpenAIFormat,
    PairFormat,
    QuestionFormat,
    RowFormat,
    SafeRLHFFormat,
    ScoredListFormat,
    ScoredPairsFormat,
    ShareGPTFormat,
    SHPFormat,
    SwiftFormat,
    UnpairedFormat,
)
from dpo_lightning.data.interfaces import PreferenceLearner, PreferenceSource
from dpo_lightning.data.loader import ExampleBatchSampler, LazyLoader
from dpo_lightning.data.mixing import ByLength, ByMargin, Order, Source
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.utils.lines import show_lines

__all__ = [
    "AlpacaEvalFormat",
    "AlpacaFormat",
    "ArenaFormat",
    "AutoFormat",
    "BatchPlan",
    "ByLength",
    "ByMargin",
    "Clean",
    "ComparedFormat",
    "DataRead",
    "Example",
    "ExampleBatchSampler",
    "ExamplePlan",
    "ExampleTokenizer",
    "Format",
    "HelpSteerFormat",
    "LabelledPairs",
    "LazyLoader",
    "NoPreference",
    "OpenAIFormat",
    "Order",
    "OrderedTokenPlan",
    "PairFormat",
    "PreferenceDataModule",
    "PreferenceLearner",
    "PreferenceSource",
    "QuestionFormat",
    "RowFormat",
    "SHPFormat",
    "SafeRLHFFormat",
    "ScoredListFormat",
    "ScoredPairsFormat",
    "ShareGPTFormat",
    "Source",
    "SwiftFormat",
    "TokenPlan",
    "UnpairedFormat",
    "collate_padded",
    "collate_tree",
]

show_lines()
