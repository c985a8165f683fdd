"""The scores of a benchmark, kept row by row, and what they amount to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.benchmark.results import Results, Ties, results_of
from dpo_lightning.rounds.benchmark.rows import Benchmark
from dpo_lightning.rounds.candidates import json_rows
from dpo_lightning.rounds.kept_rows import kept_rows
from dpo_lightning.rounds.scorers.base import Scorer
from dpo_lightning.rounds.scoring import add_scored
from dpo_lightning.utils.files import replaced


def scored_rows(benchmark: Benchmark, scorer: Scorer, out: Path | None) -> list[dict[str, Any]]:
    """Return the rows of a benchmark with their scores.

    Args:
        benchmark: The rows.
        scorer: Gives the scores.
        out: The file of the results, beside which `rows_of` says where the rows are kept as they come; null keeps none.

    Raises:
        InputError: for a row that cannot be scored, naming it, and for rows that are there and were made of something
            else.
    """
    made = {"command": "evaluate", "rows": benchmark.content, "scorer": dict(scorer.made)}
    with _rows_file(out) as path:
        with kept_rows(path, made, "evaluate --out") as kept:
            add_scored(kept, benchmark.rows, scorer)
        return [dict(row) for _, row in json_rows(path, "evaluate")]


def rows_of(out: Path) -> Path:
    """Return the file with the rows of results: `results.rows.jsonl` beside `results.json`."""
    return out.with_suffix(".rows.jsonl")


def evaluated(benchmark: Benchmark, rows: list[dict[str, Any]], ties: Ties) -> Results:
    """Return the results of scored rows."""
    return results_of(rows, ties, has_subsets=benchmark.has_subsets)


def write_results(out: Path, results: Results, **beside: Any) -> None:
    """Write the results as JSON, with what else is to be said of them."""
    with replaced(out) as temporary:
        whole = {**beside, **results.plain()}
        temporary.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_out(out: Path | None, plot: Path | None) -> None:
    """Refuse names of other kinds of files, and results that were not written here.

    Raises:
        InputError: naming the option.
    """
    if out is not None and out.suffix != ".json":
        raise InputError(f"evaluate --out: give a name that ends in .json, got {str(out)!r}")
    if plot is not None and plot.suffix != ".png":
        raise InputError(f"evaluate --plot: give a name that ends in .png, got {str(plot)!r}")
    if out is not None and out.exists() and not rows_of(out).exists():
        raise InputError(f"evaluate --out: {out} is there, and {rows_of(out).name} is not beside it: give another path")


@contextmanager
def _rows_file(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield rows_of(out)
        return
    with TemporaryDirectory() as directory:
        yield Path(directory) / "rows.jsonl"
