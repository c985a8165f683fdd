"""Arguments of `dpo-lightning cache`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning cache info
  dpo-lightning cache prune --older_than 30 --dry_run

A run keeps log-probs there with model.reference: Precomputed."""


def parser() -> CommandParser:
    """Return the parser; `action` is the chosen one."""
    place = CommandParser(add_help=False)
    place.add_argument(
        "--cache_dir",
        type=Path,
        metavar="DIR",
        help="default: dpo_lightning/reference in $XDG_CACHE_HOME, or in ~/.cache",
    )
    parser = CommandParser(
        prog="dpo-lightning cache",
        description="List, check and remove the reference's log-probs on disk.",
        examples=_EXAMPLES,
    )
    actions = parser.add_subparsers(
        required=True, dest="action", metavar="info | verify | prune", parser_class=CommandParser
    )
    actions.add_parser("info", parents=[place], help="what is there")
    actions.add_parser("verify", parents=[place], help="compare every checksum")
    prune = actions.add_parser("prune", parents=[place], help="remove what is named; asks nothing")
    prune.add_argument("--key", action="append", default=[], help="a key, or how it begins; may be repeated")
    prune.add_argument("--older_than", type=float, metavar="DAYS", help="keys that no run has used for so long")
    prune.add_argument("--all", action="store_true", help="every key")
    prune.add_argument("--corrupt", action="store_true", help="corrupt shards, and what killed runs left")
    prune.add_argument("--dry_run", action="store_true", help="only say what would be removed")
    return parser
