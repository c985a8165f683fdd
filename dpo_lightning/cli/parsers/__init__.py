"""Arguments of the commands beside the Trainer's, one file each: without torch, so that help is there at once."""

from __future__ import annotations

import argparse
from importlib import import_module

from dpo_lightning.cli.commands import COMMANDS, module_of
from dpo_lightning.cli.family import KEYS_OF
from dpo_lightning.compat.argparse import actions_of


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command beside the Trainer's."""
    parser: argparse.ArgumentParser = import_module(f"{__name__}.{module_of(command)}").parser()
    return parser


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return those of all of them, by command."""
    return {name: parser_of(name) for name in COMMANDS}


def command_of_flag(name: str) -> str | None:
    """Return the command beside the Trainer's that takes a config, and a flag of this name, which is no key."""
    flag = f"--{name}"
    return next((each for each in KEYS_OF if flag in _flags(parser_of(each))), None)


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    own = (action for action in actions_of(parser) if action.dest not in ("help", "config"))
    return {flag for action in own for flag in action.option_strings}
