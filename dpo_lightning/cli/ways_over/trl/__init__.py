"""TRL's DPO: the config of `trl dpo --config`, and the recipes of the alignment handbook."""

from dpo_lightning.cli.ways_over.trl.tool import TOOL

__all__ = ["TOOL"]
