"""Arguments of `dpo-lightning pivots`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.rounds.scorers.options import add_scorer_arguments

_EXAMPLES = """\
examples:
  dpo-lightning pivots samples.jsonl --out pairs.jsonl --policy runs/run/model \\
      --function checks.py:right --threshold 1
A killed call goes on where it was. Next: dpo-lightning fit --data.eos never."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning pivots",
        description="Find the tokens that decide on an answer's success; write pairs of them.",
        examples=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="rows with `prompt` and `completions`, of `generate`")
    parser.add_argument("--out", type=Path, required=True, metavar="PAIRS", help="file to write, of JSON lines")
    parser.add_argument("--threshold", type=float, required=True, metavar="X", help="score from which it is a success")
    parser.add_argument(
        "--gap", type=float, default=0.2, metavar="P", help="change of the chance that makes a token pivotal"
    )
    parser.add_argument(
        "--between", type=float, nargs=2, default=[0.2, 0.8], metavar=("P", "Q"), help="chances of prompts to search"
    )
    parser.add_argument(
        "--alternatives", type=int, default=3, metavar="N", help="tokens tried in a pivotal one's place"
    )
    _add_policy(parser)
    add_scorer_arguments(parser, shows_judge=False)
    return parser


def _add_policy(parser: argparse.ArgumentParser) -> None:
    policy = parser.add_argument_group("what goes on with the answers")
    policy.add_argument("--policy", required=True, metavar="MODEL", help="a checkpoint, a model or an adapter")
    policy.add_argument("--policy_config", type=Path, metavar="FILE", help="its run's config")
    policy.add_argument("--server", metavar="URL", help="a server that samples from it, given tokens")
    policy.add_argument("--server_model", metavar="NAME", help="its name there")
    policy.add_argument("--server_key_variable", metavar="NAME", help="variable with the key, OPENAI_API_KEY")
    policy.add_argument("--samples", type=int, default=32, metavar="N", help="continuations that estimate a chance")
    policy.add_argument("--max_new_tokens", type=int, default=256, metavar="N", help="most tokens of a continuation")
    policy.add_argument("--temperature", type=float, default=1.0, metavar="X", help="softmax temperature, above 0")
    policy.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the samples")
