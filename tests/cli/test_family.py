"""Every command is of the family."""

from __future__ import annotations

from lightning.pytorch.cli import LightningCLI

from dpo_lightning.cli.commands import COMMANDS
from dpo_lightning.cli.family import FAMILY


def test_every_command_is_of_the_family() -> None:
    listed = [name for commands in FAMILY.values() for name in commands]
    assert sorted(listed) == sorted([*COMMANDS, *LightningCLI.subcommands()])
