"""Direct Preference Optimization, native to PyTorch Lightning."""

from dpo_lightning.batch import PairBatch, PairScores, TokenizedPair
from dpo_lightning.data import PreferenceDataModule, RowFormat
from dpo_lightning.logprobs import TokenScorer, sequence_logps
from dpo_lightning.losses import DPO, IPO, SFT, Hinge, Objective, Reads
from dpo_lightning.models import LoRA
from dpo_lightning.module import PreferenceModule
from dpo_lightning.reference import AdapterOff, FrozenAdapter, FrozenCopy, Precomputed, Reference

__all__ = [
    "DPO",
    "IPO",
    "SFT",
    "AdapterOff",
    "FrozenAdapter",
    "FrozenCopy",
    "Hinge",
    "LoRA",
    "Objective",
    "PairBatch",
    "PairScores",
    "Precomputed",
    "PreferenceDataModule",
    "PreferenceModule",
    "Reads",
    "Reference",
    "RowFormat",
    "TokenScorer",
    "TokenizedPair",
    "sequence_logps",
]
