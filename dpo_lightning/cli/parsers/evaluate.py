"""Arguments of `dpo-lightning evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.rounds.scorers.options import add_scorer_arguments

_EXAMPLES = """\
examples:
  dpo-lightning evaluate held_out.jsonl --run runs/a/checkpoints/last.ckpt \\
      --config runs/a/config.yaml --out results.json --plot results.png
  dpo-lightning evaluate allenai/reward-bench --split filtered \\
      --reward_model Skywork/Skywork-Reward-V2-Qwen3-0.6B --out results.json

Scores are kept beside --out as they come; a call that was killed goes on."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning evaluate",
        description="Measure how often a scorer prefers the right completion, by subset.",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "file", metavar="FILE", help="rows with `prompt`, `chosen`, `rejected`, `subset`; or a hub name"
    )
    parser.add_argument("--split", default="train", metavar="NAME", help="split of a hub name; a file's is train")
    parser.add_argument("--out", type=Path, metavar="RESULTS.json", help="write the results, and the rows beside them")
    parser.add_argument("--plot", type=Path, metavar="RESULTS.png", help="draw a bar for each subset")
    parser.add_argument(
        "--ties", choices=("wrong", "half"), help="what two equal scores of a pair count: wrong, of a judge half"
    )
    parser.add_argument(
        "--as_text", action="store_true", help="run: prompts of text as they are, though there is a chat template"
    )
    add_scorer_arguments(parser)
    return parser
