"""Arguments of the commands that have no config."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from dpo_lightning.utils.text import shown


class CommandParser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line, takes no abbreviation, and keeps the lines of its texts.

    Args:
        prog: The command.
        examples: Commands that can be typed, and lines that say where the rest is; they end the help.
        settings: Settings of `argparse.ArgumentParser`.
    """

    def __init__(self, prog: str | None = None, *, examples: str | None = None, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog, epilog=examples, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the line and exit 2."""
        self.exit(2, f"error: {shown(message)}\n")
