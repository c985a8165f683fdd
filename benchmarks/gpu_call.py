"""One call of `gpu.py`: its arguments, its budget, and the file of its rows."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import textwrap
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare_models import MODELS
from benchmarks.environment import describe
from benchmarks.gpu_process import Measuring
from benchmarks.gpu_report import COLUMNS, as_text, derived, tables, wrong
from benchmarks.gpu_rows import MAX_LENGTH, MODES, PROFILES, SIDES, Asked, Row, left_out, rows_of
from benchmarks.profiles import make_examples, orders
from benchmarks.roofline import count_work
from dpo_lightning.errors import DPOLightningError, InputError
from dpo_lightning.utils.files import replaced

HERE = Path(__file__).resolve().parent
SECONDS_OF_A_SIDE = {"cuda": 120.0, "cpu": 300.0}
"""Most that one process may take."""
SECONDS_TO_START = {"cuda": 12.0, "cpu": 4.0}
"""A process is not started where less than this is left."""
SECONDS_OF_THE_TABLE = 3.0
SAID = {
    "copy_gb_per_s": "copy {:.0f} GB/s",
    "product_tflops": "product {:.3g} TFLOP/s",
    "forward_ms": "forward {:.3g} ms",
    "backward_ms": "backward {:.3g} ms",
    "both_ms": "with backward {:.3g} ms",
}
"""Figures of a kernel that the line of its row has."""
CORES_TO_LOAD_AHEAD = 8
"""With as many, the next process loads its libraries while one measures."""


def main(arguments: list[str] | None = None, started: float | None = None) -> int:
    """Make the call; `started`, on the monotonic clock, is when its budget began. Returns the exit status."""
    started = time.monotonic() if started is None else started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    asked = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return Call(asked, Path(scratch), started).run()
    except DPOLightningError as error:
        print(error, file=sys.stderr)
        return 2


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description="Ours against TRL 1.16.0 on a GPU: speed, memory and equal numbers."
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--budget-s", type=float, default=320.0, help="seconds of the whole call (default 320)")
    parser.add_argument(
        "--out", type=Path, help="file of the rows, added to (default results/gpu.json; on a CPU in runs/)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default=device)
    parser.add_argument("--model", nargs="+", choices=MODES, help="1b is trained whole, 8b by LoRA")
    parser.add_argument("--mode", nargs="+", choices=("full", "lora"), help="of all models, instead")
    parser.add_argument("--profile", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--no-kernels", action="store_true", help="whole steps only")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measured ones (default 3)")
    parser.add_argument("--steps", type=int, default=8, help="measured steps (default 8)")
    parser.add_argument(
        "--shared", type=Path, default=HERE.parents[1] / "shared", help="folder with data/, tokenizers/"
    )
    asked = parser.parse_args(arguments)
    # The page of results has a GPU's.
    asked.out = asked.out or (HERE / "results" if asked.device == "cuda" else HERE.parent / "runs") / "gpu.json"
    asked.model = asked.model or (["1b", "8b"] if asked.device == "cuda" else ["tiny"])
    if min(asked.warmup, asked.steps) < 1:
        parser.error("--warmup and --steps are 1 at least")
    return asked


class Call:
    """What is asked for, what there is of it, and how much time is left.

    Args:
        asked: The arguments.
        scratch: An empty folder.
        started: When the call began, in seconds of the monotonic clock.
    """

    def __init__(self, asked: argparse.Namespace, scratch: Path, started: float) -> None:
        self.asked, self.scratch, self.ends = asked, scratch, started + asked.budget_s - SECONDS_OF_THE_TABLE
        about = {**describe(), "device": asked.device, "warmup": asked.warmup, "steps": asked.steps}
        self.results = started_file(asked.out, about)
        self.results["left_out"] = left_out(asked.sides)
        sides = [side for side in asked.sides if side not in self.results["left_out"]]
        self.rows = rows_of(Asked(asked.model, asked.mode, asked.profile, sides, not asked.no_kernels))
        self._examples: dict[str, str] = {}
        self._number = 0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.monotonic()

    def run(self) -> int:
        """Measure what there is time for; print the tables; return the exit status."""
        waiting: list[Measuring] = []
        groups = self._groups()
        try:
            for number, group in enumerate(groups):
                if self.left < SECONDS_TO_START[self.asked.device]:
                    break
                current = waiting.pop() if waiting else self._start(group)
                if number + 1 < len(groups) and (os.cpu_count() or 1) >= CORES_TO_LOAD_AHEAD:
                    waiting.append(self._start(groups[number + 1]))
                try:
                    self._take(current)
                finally:
                    current.kill()
        finally:
            for process in waiting:
                process.kill()
        return self._report()

    def _groups(self) -> list[list[Row]]:
        """Rows to run, of one process each: those that have never been run, then those that failed."""
        found = self.results["rows"]
        new = [row for row in self.rows if row.name not in found]
        failed = [row for row in self.rows if "error" in found.get(row.name, {})]
        return [list(group) for rows in (new, failed) for _, group in groupby(rows, key=lambda row: row.process)]

    def _start(self, group: list[Row]) -> Measuring:
        self._number += 1
        told = {"device": self.asked.device, "warmup": self.asked.warmup, "steps": self.asked.steps}
        return Measuring(group, {**told, "examples": self._examples_of(group)}, self.scratch / str(self._number))

    def _take(self, process: Measuring) -> None:
        """Keep each row as soon as it is there."""
        side = SECONDS_OF_A_SIDE[self.asked.device]
        limit = min(side, self.left)
        for name, figures in process.measured(limit, lambda: f"stopped after {side:.0f} s" if limit == side else ""):
            settings = next(row.settings for row in process.rows if row.name == name)
            self.results["rows"][name] = {**settings, **figures}
            print(f"{max(self.left, 0):5.0f} s left  {name}: {outcome(figures)}", flush=True)
            self._write()

    def _write(self) -> None:
        self.results["date"] = time.strftime("%Y-%m-%d")
        self.results["not_run"] = [row.name for row in self.rows if row.name not in self.results["rows"]]
        with replaced(self.asked.out) as temporary:
            temporary.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")

    def _report(self) -> int:
        self._write()
        for table in tables(derived(self.results)):
            print(f"\n{as_text(table)}")
        if self.results["not_run"]:
            print(f"\nNot run, the budget of {self.asked.budget_s:.0f} s is spent; the same call again adds them:")
            missing = [row for row in self.rows if row.name in self.results["not_run"]]
            print(by_process(missing))
        for side, reason in self.results["left_out"].items():
            print(f"\nLeft out: {side}, since {reason}")
        failures = wrong(derived(self.results))
        for line in failures:
            print(f"\nWRONG: {line}")
        return 1 if failures else 0

    def _examples_of(self, group: list[Row]) -> dict[str, str]:
        """Files of the examples that some rows read, made at the first need, and noted in the results."""
        for settings in (row.settings for row in group if "profile" in row.settings):
            key = f"{settings['model']}/{settings['profile']}"
            if key not in self._examples:
                self._examples[key] = str(self._write_examples(key, settings))
        return self._examples

    def _write_examples(self, key: str, settings: dict[str, Any]) -> Path:
        warmup, steps, pairs = self.asked.warmup, self.asked.steps, settings["pairs"]
        vocabulary = MODELS[settings["model"]][-1]
        # One step more, which is profiled.
        source, pool = make_examples(
            settings["profile"], warmup + steps + 1, pairs, vocabulary, MAX_LENGTH, self.asked.shared.resolve()
        )
        examples = orders(pool, warmup, steps + 1, pairs)["grouped"]
        measured = examples[warmup * pairs : (warmup + steps) * pairs]
        self.results["examples"][key] = {
            "source": source,
            "pairs": len(measured),
            "work": count_work(measured)._asdict(),
        }
        path = self.scratch / f"{key.replace('/', '-')}.json"
        path.write_text(json.dumps(examples), encoding="utf-8")
        return path


def started_file(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The results to add to: those of the file, or none.

    Raises:
        InputError: for a file of another machine, commit, version or number of steps, and for one that is no such file.
    """
    if not path.is_file():
        return {"about": about, "examples": {}, "rows": {}, "not_run": []}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known, kept = found["about"], {**found, "rows": dict(found["rows"]), "examples": dict(found["examples"])}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"--out: {path} is no file of this benchmark: give another one") from None
    if different := [name for name in about if known.get(name) != about[name]]:
        raise InputError(f"--out: {path} has rows of another {different[0]}: give another file")
    return kept


def by_process(rows: list[Row]) -> str:
    """The rows of each process, steps by their profiles, in lines that fit a terminal."""
    lines = []
    for process, group in groupby(rows, key=lambda row: row.process):
        named = (row.settings["profile"] if row.settings["kind"] == "step" else row.name for row in group)
        lines.append(
            textwrap.fill(f"  {process}: {', '.join(named)}", COLUMNS, subsequent_indent="    ", break_on_hyphens=False)
        )
    return "\n".join(lines)


def outcome(figures: dict[str, Any]) -> str:
    """A row in one line."""
    if "error" in figures:
        return f"failed: {figures['error']}"
    if "step_s" in figures:
        return f"{1e3 * sum(figures['step_s']) / len(figures['step_s']):.0f} ms a step"
    return ", ".join(words.format(figures[name]) for name, words in SAID.items() if name in figures)
