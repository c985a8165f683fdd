"""The command's door: it says what there is without loading anything, and loads what is asked for."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

from dpo_lightning.cli.commands import COMMANDS
from dpo_lightning.cli.family import FAMILY
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.utils.version import __version__

_LIGHT = ("report",)  # commands that load neither torch nor Lightning
_BESIDE = ("torch", "lightning", "transformers", "peft", "datasets")


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 on success, 1 on wrong input or a stopped run, 2 on a wrong key or without a command."""
    words = sys.argv[1:] if args is None else args
    if words in ([], ["--help"], ["-h"]):
        print(family_help())
        sys.exit(0 if words else 2)
    if words == ["--version"]:
        print(versions())
        return
    if words[0] in _LIGHT:
        _run_light(words[0], words[1:])
        return
    from dpo_lightning.cli.main import main as run  # loads torch and Lightning, which takes seconds

    run(args)


def _run_light(command: str, words: list[str]) -> None:
    try:
        COMMANDS[command](words)
    except DPOLightningError as error:
        sys.exit(f"error: {error}")


def family_help() -> str:
    """Return all commands, with a line for each."""
    lines = ["usage: dpo-lightning COMMAND [--config FILE] [--key=value ...]", ""]
    for purpose, commands in FAMILY.items():
        lines += [f"{purpose}:", *(f"  {name:<10}{text}" for name, text in commands.items()), ""]
    lines += [
        "dpo-lightning COMMAND --help             the keys of a command",
        "dpo-lightning fit --model.help           those of the module; also --data.help",
        "dpo-lightning fit --model.objective.help DPO     those of a class by its name",
        "dpo-lightning fit --config FILE --print_config   every key with its value",
        "dpo-lightning --version                  what is installed",
    ]
    return "\n".join(lines)


def versions() -> str:
    """Return the version of the package, and of what a bug report should name."""
    beside = ", ".join(f"{name} {version(name)}" for name in _BESIDE)
    return f"dpo_lightning {__version__} ({beside}, Python {platform.python_version()})"
