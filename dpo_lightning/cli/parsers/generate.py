"""Arguments of `dpo-lightning generate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning generate runs/run/model --prompt "the rain is here"
  dpo-lightning generate runs/run/checkpoints/last.ckpt --prompt Hi --reference"""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning generate",
        description="Print what a policy says to prompts, with --reference its reference too.",
        examples=_EXAMPLES,
    )
    parser.add_argument("source", metavar="CHECKPOINT_OR_MODEL", help="a checkpoint, a model or an adapter")
    parser.add_argument(
        "--config", type=Path, metavar="RUN.yaml", help="the run's config: its policy, tokenizer and chat template"
    )
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="a prompt; may be given again")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="rows of JSON with `prompt` or `messages`")
    parser.add_argument("--plain", action="store_true", help="continue the texts as they are, without chat template")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="most tokens of a completion")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token each time")
    parser.add_argument("--samples", type=int, default=1, help="completions of each prompt")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples")
    parser.add_argument("--reference", action="store_true", help="print the reference's completions too")
    parser.add_argument("--json", action="store_true", help="print a row of JSON for each prompt")
    return parser
