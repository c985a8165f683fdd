"""Preference losses: pure functions, and the objectives that carry their settings."""

from dpo_lightning.losses.functional import dpo, hinge, ipo, sft
from dpo_lightning.losses.objectives import DPO, IPO, SFT, Hinge, Objective

__all__ = ["DPO", "IPO", "SFT", "Hinge", "Objective", "dpo", "hinge", "ipo", "sft"]
