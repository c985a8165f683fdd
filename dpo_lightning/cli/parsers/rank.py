"""Arguments of `dpo-lightning rank`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.rounds.scorers.options import add_scorer_arguments

_EXAMPLES = """\
examples:
  dpo-lightning rank samples.jsonl --out ranked.jsonl \\
      --run runs/a/checkpoints/last.ckpt --config runs/a/config.yaml
  dpo-lightning rank scored.jsonl --out best.jsonl --best

Equal scores keep their order. A call that was killed goes on where it was."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning rank",
        description="Order the completions of each prompt by their scores, the best one first.",
        examples=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="rows of JSON with `prompt` and `completions`")
    parser.add_argument("--out", type=Path, required=True, metavar="RANKED", help="file to write, of JSON lines")
    parser.add_argument("--best", action="store_true", help="write only the best of each prompt (best of n)")
    add_scorer_arguments(parser)
    return parser
