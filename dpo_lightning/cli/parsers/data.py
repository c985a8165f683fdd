"""Arguments of `dpo-lightning data`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_USAGE = "dpo-lightning data export --config RUN.yaml --output ROWS.jsonl [--data.KEY=VALUE]"
_EXAMPLES = """\
example:
  dpo-lightning data export --config run.yaml --output cleaned.jsonl

What is left out is said by data.clean of the config: docs/inspect.md."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning data",
        usage=_USAGE,
        description="Write the rows that a fit would train on, as they are in the source.",
        examples=_EXAMPLES,
    )
    actions = parser.add_subparsers(
        required=True, metavar="export", prog="dpo-lightning data", parser_class=CommandParser
    )
    export = actions.add_parser(
        "export",
        help="write the training rows that are left after data.clean",
        usage=_USAGE,
        description="Write the training rows that are left after data.clean, as they are in the source.",
        examples=_EXAMPLES,
    )
    export.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="RUN.yaml",
        help="the run's config, whose data is read as its objective reads it; a flag --data.KEY=VALUE wins over it",
    )
    export.add_argument("--output", type=Path, required=True, help="file to write, which must not be there")
    return parser
