"""Arguments of `dpo-lightning sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning sweep --config run.yaml --over model.objective.beta=0.05,0.1,0.3
  dpo-lightning sweep --config run.yaml --over model.objective=DPO,IPO,SimPO \\
    --over data.seed=0,1,2 --out runs/losses --jobs 2
  dpo-lightning sweep --config run.yaml --grid grid.yaml --dry_run

Settings of fit may follow (dpo-lightning fit --help). The same command again
goes on: what is finished stays. docs/sweeps.md has more."""


def parser() -> CommandParser:
    """Return the parser."""
    found = CommandParser(
        prog="dpo-lightning sweep",
        usage="dpo-lightning sweep --config RUN.yaml --over KEY=VALUE,VALUE [options]",
        description="Run a fit for every combination of values, each in a directory of its own, and\ncompare them.",
        examples=_EXAMPLES,
    )
    add = found.add_argument
    add(
        "--over",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="a key and its values; several --over make every combination. A value with a comma goes in brackets",
    )
    add("--grid", type=Path, metavar="FILE", help="the same as a YAML file of `key: [value, value]`")
    add("--out", type=Path, default=Path("sweep"), metavar="DIR", help="where the runs go; default: %(default)s")
    add("--jobs", type=_jobs, default=1, metavar="N", help="runs beside each other; each gets a share of the GPUs")
    add("--best", metavar="METRIC", help="metric to sort by; default: val/rewards/accuracies, or the loss")
    add("--mode", choices=("max", "min"), help="whether more of it is better; default: max, and min of losses and KL")
    add(
        "--share_reference",
        action="store_true",
        help="score the reference once for all runs (Precomputed), and not in each step of each",
    )
    add("--dry_run", action="store_true", help="check every run, print its command, and start none")
    return found


def _jobs(text: str) -> int:
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs: give 1 or more")
    return found
