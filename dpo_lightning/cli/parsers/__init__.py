"""Arguments of the commands beside the Trainer's, one file each: without torch, so that help is there at once."""

from __future__ import annotations

import argparse
from importlib import import_module

from dpo_lightning.cli.commands import COMMANDS


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command beside the Trainer's."""
    parser: argparse.ArgumentParser = import_module(f"{__name__}.{command}").parser()
    return parser


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return those of all of them, by command."""
    return {name: parser_of(name) for name in COMMANDS}
