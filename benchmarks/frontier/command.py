"""The command `python -m benchmarks.frontier`: every objective on the lab's pairs, true reward against KL."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.frontier import (
    HEADER,
    Experiment,
    Frontier,
    Protocol,
    RunStore,
    Task,
    draw,
    entries_named,
    prepare_world,
    work,
    write_page,
)
from benchmarks.frontier.catalogue import CATALOGUE
from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.errors import DPOLightningError, InputError

_INTERRUPTED = 130  # as shells report SIGINT


def main(arguments: Sequence[str] | None = None, base: Protocol = Protocol()) -> None:  # noqa: B008 - frozen
    """Run the command; exit 1 on wrong input or where a run failed, 2 on a wrong argument, 130 after Ctrl-C.

    Args:
        arguments: Words of the command line; None takes those of the process.
        base: Settings of a run that no option names.
    """
    try:
        _frontier(_parser(base).parse_args(arguments), base)
    except DPOLightningError as error:
        sys.exit(f"error: {error}")


def _parser(base: Protocol) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m benchmarks.frontier", description="True reward against KL, for each objective."
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/frontier"), help="where world, runs and picture go; default %(default)s")
    add("--runs", type=Path, metavar="FILE", help="what is in it is not run again; default runs.jsonl of --out")
    add("--seeds", type=_positive, default=3, metavar="N", help="runs of each objective; default %(default)s")
    add("--first_seed", type=_natural, default=0, metavar="N", help="the others follow it; default %(default)s")
    add("--objectives", type=_names, metavar="NAME,...", help="only these of the catalogue")
    add("--no_sweep", action="store_true", help="leave the sweeps over beta out")
    add("--workers", type=_positive, default=2, metavar="N", help="processes, of one thread each; default %(default)s")
    add("--pairs", type=_positive, default=base.pairs, metavar="N", help="training pairs; default %(default)s")
    add("--prompts", type=_positive, default=base.prompts, metavar="N", help="to sample from; default %(default)s")
    add("--docs", type=Path, metavar="FILE.md", help="write a page about it, with the picture beside it")
    return parser


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"at least {least}, got {text!r}")
    return int(text)


_natural, _positive = partial(_at_least, 0), partial(_at_least, 1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in re.split(r",(?! )", text)]  # a comma within a name has a space after it


def _frontier(options: argparse.Namespace, base: Protocol) -> None:
    entries = CATALOGUE if options.objectives is None else entries_named(options.objectives)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    protocol = replace(base, pairs=options.pairs, prompts=options.prompts)
    experiment = Experiment(entries, seeds, protocol, sweeping=not options.no_sweep)
    options.runs = options.runs or options.out / "runs.jsonl"
    store = RunStore(options.runs)
    missing = experiment.missing(store)
    failed = _run(missing, len(experiment.tasks()), store, options) if missing else 0
    if frontier := experiment.frontier(store):
        _show(frontier, protocol, options)
    if failed:
        raise InputError(f"frontier: {failed} runs failed; the same command tries them again")


def _run(missing: Sequence[Task], wanted: int, store: RunStore, options: argparse.Namespace) -> int:
    """Make the missing runs and return how many failed."""
    world, failed = options.out / "lab", 0
    lists = {each.entry.completions for each in missing if each.entry.completions is not None}
    prepare_world(world, missing[0].protocol, lists)
    with _progress() as progress, _told_on_interrupt(store.path):
        bar = progress.add_task("", total=wanted, completed=wanted - len(missing))
        for task, result in work(missing, world, options.workers):
            if isinstance(result, Exception):
                failed += 1
                progress.print(f"failed: {task.name}, seed {task.seed}: {result}", markup=False, soft_wrap=True)
            else:
                store.add(result)
            progress.update(bar, advance=1, description=f"{task.name}, seed {task.seed}")
    return failed


def _progress() -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    )


@contextmanager
def _told_on_interrupt(path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped: what was done is in {path}; the same command goes on from there", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _show(frontier: Frontier, protocol: Protocol, options: argparse.Namespace) -> None:
    table = Table(*HEADER)
    for row in frontier.rows():
        table.add_row(*row)
    console = Console()
    console.print(table)
    picture = options.out / "frontier.png"
    draw(frontier, picture)
    console.print(f"picture in {picture}, runs in {options.runs}", soft_wrap=True)
    if options.docs is not None:
        write_page(frontier, protocol, options.docs)
        console.print(f"page in {options.docs}", soft_wrap=True)
