"""The tree layout's attention, through transformers' own attention and mask interfaces."""

from dpo_lightning.attention.flash3 import FlashAttention3, use_flash_attention_3
from dpo_lightning.attention.interface import layout_inputs
from dpo_lightning.attention.selftest import tree_problem

__all__ = ["FlashAttention3", "layout_inputs", "tree_problem", "use_flash_attention_3"]
