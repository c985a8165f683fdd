"""Rows as they stand in files, read into examples."""

from dpo_lightning.data.formats.auto import AutoFormat
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.compared import ComparedFormat
from dpo_lightning.data.formats.compared_data import (
    AlpacaEvalFormat,
    ArenaFormat,
    HelpSteerFormat,
    SafeRLHFFormat,
    SHPFormat,
)
from dpo_lightning.data.formats.example import Conversation, Example, Message
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.openai import OpenAIFormat
from dpo_lightning.data.formats.pair_halves import LabelledPairs
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.data.formats.question import AlpacaFormat, QuestionFormat
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.scored import ScoredListFormat, ScoredPairsFormat
from dpo_lightning.data.formats.sharegpt import ShareGPTFormat
from dpo_lightning.data.formats.swift import SwiftFormat
from dpo_lightning.data.formats.unpaired import UnpairedFormat

__all__ = [
    "AlpacaEvalFormat",
    "AlpacaFormat",
    "ArenaFormat",
    "AutoFormat",
    "ComparedFormat",
    "Conversation",
    "Example",
    "Format",
    "HelpSteerFormat",
    "LabelledPairs",
    "Message",
    "NoPreference",
    "OpenAIFormat",
    "PairFormat",
    "QuestionFormat",
    "RowFormat",
    "SHPFormat",
    "SafeRLHFFormat",
    "ScoredListFormat",
    "ScoredPairsFormat",
    "ShareGPTFormat",
    "Side",
    "SwiftFormat",
    "UnpairedFormat",
]
