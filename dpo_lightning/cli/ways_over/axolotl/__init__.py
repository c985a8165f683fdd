"""axolotl: the configs of `axolotl train` with `rl`, as of 0.18.0."""

from dpo_lightning.cli.ways_over.axolotl.tool import TOOL

__all__ = ["TOOL"]
