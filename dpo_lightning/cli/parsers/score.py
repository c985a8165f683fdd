"""Arguments of `dpo-lightning score`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.rounds.scorers.options import add_scorer_arguments

_EXAMPLES = """\
examples:
  dpo-lightning score samples.jsonl --out scored.jsonl --function rewards.py:f
  dpo-lightning score samples.jsonl --out scored.jsonl \\
      --reward_model Skywork/Skywork-Reward-V2-Qwen3-0.6B
  dpo-lightning score samples.jsonl --out scored.jsonl --run runs/a/last.ckpt \\
      --config runs/a/config.yaml
  dpo-lightning score samples.jsonl --out scored.jsonl --judge qwen \\
      --endpoint http://localhost:8000/v1

A call that was killed goes on where it was. Next: dpo-lightning pair."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning score",
        description="Score completions by a function, a reward model, a run or a judge.",
        examples=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="rows of JSON with `prompt` and `completions`")
    parser.add_argument("--out", type=Path, required=True, metavar="SCORED", help="file to write, of JSON lines")
    add_scorer_arguments(parser)
    return parser
