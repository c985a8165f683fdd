"""Preference losses: pure functions, and the objectives that carry their settings."""

from dpo_lightning.losses.base import (
    MarginObjective,
    Objective,
    Observation,
    Reads,
    Rewards,
    UnpairedObjective,
)
from dpo_lightning.losses.dpo import DPO, dpo
from dpo_lightning.losses.hinge import Hinge, hinge
from dpo_lightning.losses.ipo import IPO, ipo
from dpo_lightning.losses.sft import SFT, sft

__all__ = [
    "DPO",
    "IPO",
    "SFT",
    "Hinge",
    "MarginObjective",
    "Objective",
    "Observation",
    "Reads",
    "Rewards",
    "UnpairedObjective",
    "dpo",
    "hinge",
    "ipo",
    "sft",
]
