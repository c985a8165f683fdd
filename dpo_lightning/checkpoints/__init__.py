"""Checkpoints that are whole: how they are written, examined and found."""

from dpo_lightning.checkpoints.directory import newest_good, saved_steps, sharded_save
from dpo_lightning.checkpoints.hooks import CheckpointHooks
from dpo_lightning.checkpoints.integrity import MANIFEST, damage, problem
from dpo_lightning.checkpoints.io import (
    DurableCheckpointIO,
    SaveError,
    load_plain,
    local_copy,
    refuse_damaged,
    refuse_others,
)
from dpo_lightning.checkpoints.settings import SettingsMode, checked_mode

__all__ = [
    "MANIFEST",
    "CheckpointHooks",
    "DurableCheckpointIO",
    "SaveError",
    "SettingsMode",
    "checked_mode",
    "damage",
    "load_plain",
    "local_copy",
    "newest_good",
    "problem",
    "refuse_damaged",
    "refuse_others",
    "saved_steps",
    "sharded_save",
]
