"""Arguments of `dpo-lightning pair`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning pair scored.jsonl --out pairs.jsonl
  dpo-lightning pair scored.jsonl --out pairs.jsonl --how all --min_gap 0.5
  dpo-lightning pair strong.jsonl weak.jsonl --out pairs.jsonl --how delta

Next: dpo-lightning fit, with the file as data.dataset."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning pair",
        description="Write preference pairs of completions with scores, or of two models.",
        examples=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="rows of JSON with `completions` and `scores`")
    parser.add_argument(
        "other", type=Path, nargs="?", metavar="OTHER", help="delta: rows of the weaker model, whose are rejected"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PAIRS", help="file to write, of JSON lines")
    parser.add_argument(
        "--how",
        choices=("best_worst", "all", "delta"),
        default="best_worst",
        help="best against worst, all with different scores, or two models' (default: best_worst)",
    )
    parser.add_argument("--min_gap", type=float, metavar="X", help="least difference of the two scores")
    parser.add_argument(
        "--keep_cut", action="store_true", help="take completions that were cut: training puts an end behind them"
    )
    return parser
