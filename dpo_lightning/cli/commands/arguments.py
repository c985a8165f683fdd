"""Arguments of the commands that have no config."""

from __future__ import annotations

import argparse
from typing import NoReturn

from dpo_lightning.utils.text import shown


class CommandParser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit 2."""
        self.exit(2, f"error: {shown(message)}\n")
