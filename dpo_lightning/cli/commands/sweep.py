"""`dpo-lightning sweep`: a fit for every combination of values, and a comparison."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from dpo_lightning.cli.parsers.sweep import parser
from dpo_lightning.cli.sweeps.axes import Axis, axes_of
from dpo_lightning.cli.sweeps.end import end_of_sweep
from dpo_lightning.cli.sweeps.kept import FINISHED, Kept, alone_in
from dpo_lightning.cli.sweeps.plan import Planned, planned, shared_settings
from dpo_lightning.cli.sweeps.processes import StopError
from dpo_lightning.cli.sweeps.results import USUAL_METRIC
from dpo_lightning.cli.sweeps.running import Runner, command_of
from dpo_lightning.cli.sweeps.shares import shares_of
from dpo_lightning.utils.text import shown


def sweep(arguments: Sequence[str]) -> None:
    """Check all runs, run those that are not finished, and compare what there is.

    Raises:
        InputError: for a run that would not start, and a directory of another sweep.
        SystemExit: 1 where a run has failed, 128 and the number of a signal that has stopped the sweep.
    """
    options, words = parser().parse_known_args(arguments)
    axes = axes_of(options.over, options.grid)
    if options.dry_run:
        for run in _checked(Kept(options.out), axes, words, options):
            print(shown(f"{run.name}: dpo-lightning {shlex.join(command_of(run, options.out))}"))
        return
    with alone_in(options.out):
        _sweep(Kept(options.out), axes, words, options)


def _checked(kept: Kept, axes: Sequence[Axis], words: Sequence[str], options: argparse.Namespace) -> list[Planned]:
    kept.check_axes(axes)
    runs = planned(axes, words, options.out, kept.begun(), share=options.share_reference)
    kept.take(runs, axes, {**shared_settings(runs, axes), "--share_reference": options.share_reference})
    return runs


def _sweep(kept: Kept, axes: Sequence[Axis], words: Sequence[str], options: argparse.Namespace) -> None:
    runs = _checked(kept, axes, words, options)
    left = [run for run in runs if kept.runs[run.name]["status"] != FINISHED]
    shares = shares_of(options.jobs, left)
    kept.write()
    if done := len(runs) - len(left):
        print(f"{done} of {len(runs)} runs are finished already")
    if sum(run.checked.scores_each_step for run in runs) > 1:
        print("each step of each run computes the reference: --share_reference scores it once for all")
    runner = Runner(kept, left, metric=options.best or USUAL_METRIC)
    stopped: int | None = None
    try:
        runner.run(shares)
    except StopError as signalled:
        stopped = signalled.number
    failed = end_of_sweep(kept, axes, options.best, options.mode)
    if stopped is not None:
        print(shown(f"stopped: the same command goes on in {options.out}"))
        sys.exit(128 + stopped)
    if failed:
        sys.exit(1)
