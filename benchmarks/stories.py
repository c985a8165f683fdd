"""Time to train on real pairs, beside TRL: same model, pairs and recipe, in alternating fresh processes.

    python -m benchmarks.stories --runs 3          # full fine-tuning
    python -m benchmarks.stories --runs 3 --lora

Prints the medians and writes every run to `benchmarks/results/stories.json`, with versions, machine and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import stories_sides as sides
from benchmarks.environment import describe

HERE = Path(__file__).resolve().parent
ROWS = {
    "train_s": ("training", "s", 1),
    "wall_s": ("whole process", "s", 1),
    "peak_rss_mib": ("peak memory", "MiB", 0),
    "held_out_loss": ("held-out loss", "", 3),
    "held_out_accuracy": ("held-out accuracy", "", 3),
}
COMPARED = ("train_s", "wall_s", "peak_rss_mib")

Runs = dict[str, list[dict[str, float]]]


def main() -> None:
    arguments = parse_arguments()
    check(arguments.shared)
    console = Console()
    mode = "lora" if arguments.lora else "full"
    runs = measure(arguments.shared.resolve(), mode, arguments.runs, console)
    medians = {side: {name: median(run[name] for run in runs[side]) for name in ROWS} for side in runs}
    ratios = {name: medians["trl"][name] / medians["dpo_lightning"][name] for name in COMPARED}
    console.print(table(mode, arguments.runs, medians, ratios))
    result = {**describe(), "recipe": recipe(mode), "medians": medians, "trl_over_ours": ratios, "runs": runs}
    write(arguments.output, mode, result)
    console.print(f"written to {os.path.relpath(arguments.output)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time to train on real pairs, beside TRL.")
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared", help="folder with data/ and models/")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--lora", action="store_true", help="train rank-8 adapters instead of all weights")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "stories.json")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


def check(shared: Path) -> None:
    """Leave with one line when something is missing."""
    if find_spec("trl") is None:
        sys.exit("trl is not installed: pip install -c constraints.txt -e '.[test]'")
    for path in (sides.pairs_file(shared), sides.model_dir(shared)):
        if not path.exists():
            sys.exit(f"{path} is missing: give the folder with data/ and models/ as --shared")


def measure(shared: Path, mode: str, count: int, console: Console) -> Runs:
    """Alternate the sides, and which of them goes first, so that a drift of the machine meets both alike."""
    runs: Runs = {side: [] for side in sides.SIDES}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=2 * count)
        for number in range(count):
            for side in list(runs)[:: 1 if number % 2 == 0 else -1]:
                progress.update(task, description=f"{mode}, run {number + 1} of {count}: {side}")
                run = run_process(side, shared, mode, number)
                runs[side].append(run)
                progress.console.print(f"{side}: {run['train_s']:.1f} s, accuracy {run['held_out_accuracy']:.3f}")
                progress.advance(task)
    return runs


def run_process(side: str, shared: Path, mode: str, seed: int) -> dict[str, float]:
    """One side in a fresh process with an empty cache of tokenised data; its figures and its wall time."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "figures.json"
        words = [side, str(shared.resolve()), mode, str(seed), str(output)]
        command = [sys.executable, "-m", "benchmarks.stories_sides", *words]
        environment = {**os.environ, "HF_DATASETS_CACHE": scratch, "HF_HUB_OFFLINE": "1", "TMPDIR": scratch}
        start = time.perf_counter()
        process = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - start
        if process.returncode:
            sys.exit(f"{side} failed:\n{process.stderr[-3000:]}")
        return {**json.loads(output.read_text(encoding="utf-8")), "wall_s": wall}


def recipe(mode: str) -> dict[str, Any]:
    """What both sides were told to do. The order of the pairs is each side's default."""
    adapter = {"lora": sides.LORA} if mode == "lora" else {}
    return {**sides.RECIPE, "lr": sides.LEARNING_RATE[mode], "schedule": "constant", "precision": "float32", **adapter}


def table(mode: str, count: int, medians: dict[str, dict[str, float]], ratios: dict[str, float]) -> Table:
    result = Table(title=f"stories260K, 1,200 pairs, 2 epochs, {mode}: medians of {count}")
    for column in ("", *medians, "TRL / ours"):
        result.add_column(column, justify="right" if column else "left")
    for name, (label, unit, digits) in ROWS.items():
        values = [f"{medians[side][name]:.{digits}f}" for side in medians]
        result.add_row(f"{label} {unit}".rstrip(), *values, f"{ratios[name]:.2f}" if name in ratios else "")
    return result


def write(path: Path, mode: str, result: dict[str, Any]) -> None:
    """Replace this mode's entry and keep the other one's."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results[mode] = result
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
