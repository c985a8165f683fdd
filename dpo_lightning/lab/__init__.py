"""The preference lab: a small world with a known true reward."""

from dpo_lightning.lab.datamodule import LabDataModule
from dpo_lightning.lab.policy import PolicyRecipe
from dpo_lightning.lab.reward import true_reward

__all__ = ["LabDataModule", "PolicyRecipe", "true_reward"]
