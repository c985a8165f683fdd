"""Arguments of `dpo-lightning rounds`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning rounds --config configs/iterative.yaml
  dpo-lightning rounds --config configs/iterative.yaml --out runs/other --print

A call that was killed goes on where it was: docs/tutorials/on-policy.md."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning rounds",
        description="Run rounds of generate, score, pair and fit, one policy after the other.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="LOOP.yaml", help="the config of the loop")
    parser.add_argument("--out", metavar="DIR", help="directory of the rounds, in place of the config's")
    parser.add_argument("--print", action="store_true", help="print the commands of all steps, and run none")
    return parser
