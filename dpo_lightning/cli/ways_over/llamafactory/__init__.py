"""LLaMA-Factory: the configs of `llamafactory-cli train` with stage dpo or kto, as of 0.9.6.dev0."""

from dpo_lightning.cli.ways_over.llamafactory.tool import TOOL

__all__ = ["TOOL"]
