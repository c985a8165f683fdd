"""`dpo-lightning completion`: scripts that `python -m tools.docs.cli` has made from the parsers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo_lightning.cli.parsers.completion import parser

DIRECTORY = Path(__file__).parents[1] / "completions"
"""Scripts, each with the name of its shell."""


def completion(arguments: Sequence[str]) -> None:
    """Print the script of a shell."""
    print(DIRECTORY.joinpath(parser().parse_args(arguments).shell).read_text(encoding="utf-8"), end="")
