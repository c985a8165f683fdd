"""The tools whose configs are read."""

from __future__ import annotations

from importlib import import_module

from dpo_lightning.cli.ways_over.conversion import Tool

NAMES = ("trl", "axolotl", "llamafactory")
"""Names of the tools in the command; the tool of each is `TOOL` in the package of its name."""


def tool_named(name: str) -> Tool:
    """Return the tool of a name."""
    tool: Tool = import_module(f"{__package__}.{name}").TOOL
    return tool
