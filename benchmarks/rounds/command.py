"""The command `python -m benchmarks.rounds`: three rounds against one, true reward against KL."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.frontier import Protocol, RunStore, prepare_world
from benchmarks.rounds.arms import ARMS, PROTOCOL, Arm, Stage
from benchmarks.rounds.page import write_page
from benchmarks.rounds.picture import draw
from benchmarks.rounds.results import HEADER, Results, first_of, results
from benchmarks.rounds.training import measure_first, run_arm
from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.errors import DPOLightningError, InputError

_KEPT = Path("benchmarks/results/rounds.jsonl")
_INTERRUPTED = 130  # as shells report SIGINT


class Work(NamedTuple):
    """An arm that is run with a seed; None measures the first policy."""

    arm: Arm | None
    seed: int


def main(
    arguments: Sequence[str] | None = None,
    protocol: Protocol = PROTOCOL,
    arms: Sequence[Sequence[Arm]] = ARMS,
) -> None:
    """Run the command; exit 1 on wrong input, 2 on a wrong argument, 130 after Ctrl-C.

    Args:
        arguments: Words of the command line; None takes those of the process.
        protocol: What all runs have in common.
        arms: The curves.
    """
    options = _parser().parse_args(arguments)
    try:
        _rounds(options, protocol, arms)
    except DPOLightningError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(f"stopped: what was done is in {options.runs}; the same command goes on from there", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m benchmarks.rounds", description="Three rounds of sampling and training against one of DPO."
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/rounds"), help="where world and picture go; default %(default)s")
    add("--runs", type=Path, default=_KEPT, metavar="FILE", help="what is in it is not run again; default %(default)s")
    add("--seeds", type=int, choices=range(1, 100), default=3, metavar="N", help="runs of each; default %(default)s")
    add("--docs", type=Path, metavar="FILE.md", help="write the section of this page, with the picture beside it")
    return parser


def _rounds(options: argparse.Namespace, protocol: Protocol, arms: Sequence[Sequence[Arm]]) -> None:
    if options.docs is not None and not options.docs.is_file():
        raise InputError(f"rounds --docs: there is no page {options.docs}: `python -m benchmarks.frontier` writes it")
    store, seeds = RunStore(options.runs), range(options.seeds)
    missing = [each for each in _works(arms, seeds) if store.find(_last(each, protocol, arms).key()) is None]
    if missing:
        _run(missing, protocol, arms, store, options.out / "lab")
    shown = results(store, seeds, protocol, arms)
    assert shown is not None  # every run is there
    _show(shown, options)
    if options.docs is not None:
        write_page(shown, protocol, options.seeds, options.docs)


def _works(arms: Sequence[Sequence[Arm]], seeds: Sequence[int]) -> list[Work]:
    """Return all runs, seed by seed, so that what is interrupted has a point of every arm."""
    return [Work(arm, seed) for seed in seeds for arm in (None, *(each for curve in arms for each in curve))]


def _last(work: Work, protocol: Protocol, arms: Sequence[Sequence[Arm]]) -> Stage:
    arm = work.arm or first_of(arms)
    return Stage(arm, work.seed, 0 if work.arm is None else arm.rounds, protocol)


def _run(
    missing: Sequence[Work], protocol: Protocol, arms: Sequence[Sequence[Arm]], store: RunStore, world: Path
) -> None:
    import datasets

    datasets.disable_progress_bars()
    warnings.simplefilter("ignore")  # Lightning's hints about a run that is meant to be small
    prepare_world(world, protocol)
    store.path.parent.mkdir(parents=True, exist_ok=True)
    for arm, seed in (bar := tqdm(missing, disable=not sys.stderr.isatty())):
        if arm is None:
            store.add(measure_first(protocol, world, first_of(arms), seed))
            continue
        bar.set_description(f"{arm.name}, beta {arm.beta:g}, seed {seed}")
        for run in run_arm(arm, seed, protocol, world):
            if store.find(run.task.key()) is None:  # a run that was interrupted is made again, to the same numbers
                store.add(run)


def _show(shown: Results, options: argparse.Namespace) -> None:
    table = Table(*HEADER)
    for row in shown.rows():
        table.add_row(*row)
    console = Console()
    console.print(table)
    for line in shown.summary():
        console.print(line)
    picture = options.out / "rounds.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(shown, picture)
    console.print(f"picture in {picture}, runs in {options.runs}", soft_wrap=True)
