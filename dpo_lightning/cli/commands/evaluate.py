"""`dpo-lightning evaluate`: how often a scorer prefers the right completion of a benchmark's rows."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from dpo_lightning.cli.parsers.evaluate import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.errors import InputError
from dpo_lightning.report.curves import figure_class
from dpo_lightning.rounds.benchmark.evaluation import check_out, evaluated, rows_of, scored_rows, write_results
from dpo_lightning.rounds.benchmark.picture import plot_results
from dpo_lightning.rounds.benchmark.results import Ties
from dpo_lightning.rounds.benchmark.rows import Benchmark, read_benchmark
from dpo_lightning.rounds.benchmark.table import table
from dpo_lightning.rounds.scorers.base import Scorer
from dpo_lightning.rounds.scorers.options import scorer_of, shown_scorer
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.text import shown


def evaluate(arguments: Sequence[str]) -> None:
    """Print the accuracy of a scorer by subset, and write it.

    Raises:
        InputError: for a benchmark that cannot be read, a scorer that cannot be loaded, a row that cannot be scored,
            and files that cannot be written.
    """
    options = parser().parse_args(arguments)
    leave_out_noise()
    _check_files(options)
    with scorer_of(options, "evaluate") as scorer:
        benchmark = _as_asked(read_benchmark(options.file, options.split, _tell), scorer, options)
        ties: Ties = options.ties or ("half" if options.judge else "wrong")
        rows = scored_rows(benchmark, scorer, options.out)
        results = evaluated(benchmark, rows, ties)
        for line in table(results):
            print(shown(line))
        if benchmark.left_out:
            print(f"{benchmark.left_out} rows prefer neither completion and are left out")
        for line in scorer.lines(rows):
            print(shown(line))
        if options.out is not None:
            beside = {"file": options.file, "split": options.split, "left_out": benchmark.left_out}
            write_results(options.out, results, **beside, scorer=dict(scorer.made))
            print(shown(f"results in {options.out}, rows with their scores in {rows_of(options.out)}"))
    if options.plot is not None:
        plot_results(results, options.plot, f"{shown_scorer(options)} on {options.file}")
        print(shown(f"a picture in {options.plot}"))


def _check_files(options: Namespace) -> None:
    check_out(options.out, options.plot)
    for name in ("out", "plot"):
        if (path := getattr(options, name)) is not None:
            check_writable(f"evaluate --{name}", path, directory=False)
    if options.plot is not None:
        figure_class()


def _as_asked(benchmark: Benchmark, scorer: Scorer, options: Namespace) -> Benchmark:
    """Return the rows with text prompts as messages where the scorer's model is one for chats.

    Raises:
        InputError: for `--as_text` where prompts are no texts that a template would be put around.
    """
    is_read = scorer.continues_texts and any(isinstance(row.prompt, str) for _, row in benchmark.rows)
    if options.as_text and not is_read:
        raise InputError("evaluate --as_text: it is for prompts of text and a --run with a chat template: leave it out")
    if options.as_text or not is_read:
        return benchmark
    _tell("prompts of text are written by the chat template, as messages; --as_text takes them as they are")
    return benchmark.as_messages()


def _tell(line: str) -> None:
    print(shown(line), file=sys.stderr)
