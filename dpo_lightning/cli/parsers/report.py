"""Arguments of `dpo-lightning report`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning report lightning_logs/version_0
  dpo-lightning report runs/a runs/b --out two.html"""


def parser() -> CommandParser:
    """Return the parser."""
    found = CommandParser(
        prog="dpo-lightning report",
        description="Write one HTML page of a run, or one that compares several, from the files that\nruns leave.",
        examples=_EXAMPLES,
    )
    found.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN_DIR",
        help="directory of a run (as lightning_logs/version_0), a checkpoint of it, or a directory of runs",
    )
    found.add_argument(
        "--out",
        type=Path,
        metavar="PAGE",
        help="the file; default: report.html in the run's directory, of several comparison.html in the one they share",
    )
    return found
