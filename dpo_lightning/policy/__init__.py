"""The one model that is trained: loaded, adapted, prepared, sharded and sampled from."""

from dpo_lightning.policy.fused_layers import FusedLayers
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.utils.lines import show_lines

__all__ = ["FusedLayers", "LoRA", "PolicyOptions", "PolicySource"]

show_lines()
