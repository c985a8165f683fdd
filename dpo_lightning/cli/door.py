"""The command's door: it says what there is without loading anything, and loads what is asked for."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

from dpo_lightning.cli.commands import COMMANDS
from dpo_lightning.cli.family import FAMILY, KEYS_OF, NAMES
from dpo_lightning.cli.help import asks_for_help, family_help, help_of, naming_the_class, section_asked
from dpo_lightning.cli.parsers import parser_of
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.utils.processes import end_with_starter
from dpo_lightning.utils.text import nearest, shown
from dpo_lightning.utils.version import __version__

_NO_READER = 141  # what a shell gives a command that SIGPIPE has ended
_BESIDE = ("torch", "lightning", "transformers", "peft", "datasets")
_LIGHT = ("completion", "report")  # commands that load neither torch nor Lightning


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 on success, 1 on wrong input or a stopped run, 2 on a wrong key or without a command."""
    words = sys.argv[1:] if args is None else args
    end_with_starter()
    try:
        _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more, as after `| head`
        if _trains_or_measures(words):  # its connections to loaders and services may break as well
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where what is left goes when Python ends
        sys.exit(_NO_READER)


def _trains_or_measures(words: Sequence[str]) -> bool:
    return bool(words) and words[0] in FAMILY["a run"] and not asks_for_help(words[1:])


def _run(words: list[str]) -> None:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or (words[0].startswith("-") and asks_for_help(words)):
        print(family_help())
        sys.exit(0 if words else 2)
    if words == ["--version"]:
        print(versions())
        return
    command = words[0]
    if not command.startswith("-") and command not in NAMES:
        _refuse(command)
    if asks_for_help(words[1:]):
        _show_help(command, words[1:])
    elif command in _LIGHT:
        _run_light(command, words[1:])
    else:
        from dpo_lightning.cli.main import main as run  # loads torch and Lightning, which takes seconds

        run(naming_the_class(words))


def _run_light(command: str, words: list[str]) -> None:
    try:
        COMMANDS[command](words)
    except DPOLightningError as error:
        sys.exit(f"error: {error}")


def _refuse(command: str) -> None:
    close = nearest(command, NAMES)
    remedy = f"did you mean `{close}`?" if close else f"there are {', '.join(NAMES)}"
    print(f"error: unknown command `{shown(command)}`; {remedy}", file=sys.stderr)
    sys.exit(2)


def _show_help(command: str, words: Sequence[str]) -> None:
    of_keys = "--help-all" in words or section_asked(words) in KEYS_OF.get(command, ())
    if command in COMMANDS and not (command in KEYS_OF and of_keys):
        action = [word for word in words[:1] if not word.startswith("-")]
        parser_of(command).parse_known_args([*action, "--help"])  # prints and exits
    print(help_of(command, words))


def versions() -> str:
    """Return the version of the package, and of what a bug report should name."""
    beside = ", ".join(f"{name} {version(name)}" for name in _BESIDE)
    return f"dpo_lightning {__version__} ({beside}, Python {platform.python_version()})"
