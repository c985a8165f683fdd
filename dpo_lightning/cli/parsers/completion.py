"""Arguments of `dpo-lightning completion`."""

from __future__ import annotations

from dpo_lightning.cli.commands.arguments import CommandParser

SHELLS = ("bash", "zsh", "fish")
"""Shells that there is a script for."""

_EXAMPLES = """\
to try it:
  eval "$(dpo-lightning completion bash)"
  eval "$(dpo-lightning completion zsh)"
  dpo-lightning completion fish | source

To keep it, put the line at the end of ~/.bashrc, of ~/.zshrc (after compinit),
or of ~/.config/fish/config.fish."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning completion",
        description="Print a script that lets the shell complete commands, keys, class names and\nfiles with TAB.",
        examples=_EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that it is for")
    return parser
