"""Ours against TRL 1.16.0 in one call: speed, memory, distance to the roofline, and equal numbers.

    python -m benchmarks.compare                                      # HH, full fine-tuning, bf16
    python -m benchmarks.compare --profile hh long-prompt long-completion --mode full lora --precision fp32 bf16
    python -m benchmarks.compare --sides tree padded trl-best --runs 1 --steps 4
    python -m benchmarks.compare --profile four --batch-pairs 12 --sides list list-padded tree padded --steps 3
    python -m benchmarks.compare --sweep length --sides tree-malloc padded-malloc trl-best --runs 1 --steps 4

Prints tables, writes every run to `benchmarks/results/compare.json` as soon as it is done, and plots at the end.
Exits 1 with one line when a side failed, or when log-probs differ. `benchmarks/README.md` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.compare_models import MODELS, save_model
from benchmarks.compare_plots import plot
from benchmarks.compare_report import disagreements, ratio_table, side_table, summarise
from benchmarks.compare_sides import LEARNING_RATE, LORA, MALLOC, RECIPE, SIDES, Spec
from benchmarks.environment import describe
from benchmarks.profiles import PROFILES, as_lists, as_pairs, make_examples, orders, prompts_of_step
from benchmarks.roofline import DTYPES, count_work, useful_flops
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.utils.files import replaced

HERE = Path(__file__).resolve().parent
SWEEP_LENGTHS = (128, 256, 512, 1024)
SWEEP_BATCHES = (2, 4, 8, 16)


class Case(NamedTuple):
    """What all sides are compared on."""

    model: str
    device: str
    profile: str
    mode: str
    precision: str
    batch_pairs: int
    sweep: str | None = None

    @property
    def name(self) -> str:
        """Its key in the results; a sweep, often of fewer steps and sides, replaces no other case."""
        name = "/".join(map(str, self[:-1])) + " pairs"
        return f"{name}, sweep of {self.sweep}" if self.sweep else name


def main() -> None:
    arguments = parse_arguments()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(arguments, Path(scratch), console)
        for case in cases(arguments):
            try:
                comparison.measure(case)
            except DPOLightningError as error:
                comparison.failures.append(f"{case.name}: {error}")
    plot(comparison.results, arguments.output)
    console.print(f"written to {os.path.relpath(arguments.output)}")
    if comparison.failures:
        sys.exit("; ".join(comparison.failures))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ours against TRL: speed, memory, roofline, equal numbers.")
    parser.add_argument("--profile", nargs="+", choices=PROFILES, default=["hh"], help="lengths of the pairs")
    parser.add_argument("--mode", nargs="+", choices=LEARNING_RATE, default=["full"])
    parser.add_argument("--precision", nargs="+", choices=DTYPES, default=["bf16"])
    of_pairs = [name for name, side in SIDES.items() if not side.lists]
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=of_pairs, help="default: all but those of lists")
    parser.add_argument("--runs", type=_at_least_one, default=3, help="runs of each side (default 3)")
    parser.add_argument("--steps", type=_at_least_one, default=8, help="measured steps of a run (default 8)")
    parser.add_argument("--warmup", type=_at_least_one, default=2, help="steps before them (default 2)")
    parser.add_argument("--batch-pairs", type=_at_least_one, default=8, help="pairs of a step (default 8)")
    parser.add_argument("--sweep", choices=("length", "batch"), help="vary the sequence length or the pairs of a step")
    parser.add_argument("--model", choices=MODELS, default="51m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared", help="folder with data/ (HH)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "compare.json")
    arguments = parser.parse_args()
    if any(SIDES[side].library == "trl" for side in arguments.sides) and find_spec("trl") is None:
        parser.error("trl is not installed: pip install -c constraints.txt -e '.[test]', or choose other --sides")
    return arguments


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def cases(arguments: argparse.Namespace) -> list[Case]:
    """All combinations; a sweep varies one more thing."""
    profiles, batches = arguments.profile, [arguments.batch_pairs]
    if arguments.sweep == "length":
        profiles = [f"fixed-{length}" for length in SWEEP_LENGTHS]
    elif arguments.sweep == "batch":
        batches = list(SWEEP_BATCHES)
    varied = product(profiles, arguments.mode, arguments.precision, batches)
    return [Case(arguments.model, arguments.device, *values, arguments.sweep) for values in varied]


@dataclass
class Comparison:
    """The cases of one call, measured one after the other; results are written after each run."""

    arguments: argparse.Namespace
    scratch: Path
    console: Console

    def __post_init__(self) -> None:
        output = self.arguments.output
        self.results: dict[str, Any] = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
        self.failures: list[str] = []
        self.model = self.scratch / "model"
        self.config = save_model(self.arguments.model, self.model, RECIPE["max_length"])
        self.environment = describe()
        self.peaks: dict[str, float] = {}

    def measure(self, case: Case) -> None:
        """Run all sides, alternating which goes first, so that a drift of the machine meets all alike."""
        arguments = self.arguments
        result, examples = self.prepare(case)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(case.name, total=arguments.runs * len(arguments.sides))
            for number in range(arguments.runs):
                for side in arguments.sides[:: 1 if number % 2 == 0 else -1]:
                    progress.update(task, description=f"{case.name}, run {number + 1} of {arguments.runs}: {side}")
                    run = self.run_side(side, case, examples["grouped" if SIDES[side].grouped else "shuffled"])
                    result["runs"][side].append(run)
                    self.write(case, result)
                    progress.console.print(f"{side}: {outcome(run)}", markup=False)
                    progress.advance(task)
        self.report(case, result)

    def prepare(self, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
        """The case without its runs, and its examples in both orders."""
        arguments = self.arguments
        steps = arguments.warmup + arguments.steps
        vocabulary, length = self.config["vocab_size"], RECIPE["max_length"]
        prompts = prompts_of_step(case.profile, case.batch_pairs)
        source, pool = make_examples(case.profile, steps, case.batch_pairs, vocabulary, length, arguments.shared)
        examples = orders(pool, arguments.warmup, arguments.steps, prompts)
        work = count_work(examples["shuffled"][arguments.warmup * prompts :])
        rank = LORA["r"] if case.mode == "lora" else None
        adapter = {"lora": LORA} if rank else {}
        result = {
            **self.environment,
            **case._asdict(),
            "config": self.config,
            "recipe": {**RECIPE, "lr": LEARNING_RATE[case.mode], **adapter},
            "source": source,
            "steps": steps,
            "warmup": arguments.warmup,
            "measured_pairs": arguments.steps * case.batch_pairs,
            "work": work._asdict(),
            "useful_flops": useful_flops(work, self.config, rank),
            "gemm_gflops": self.peak(case.precision),
            "malloc": MALLOC,
            "runs": {side: [] for side in arguments.sides},
        }
        return result, examples

    def peak(self, precision: str) -> float | None:
        """GFLOP/s of the fastest matrix product, measured once in a call."""
        if precision not in self.peaks:
            spec = {"precision": precision, "device": self.arguments.device, "config": self.config}
            run = run_process("roofline", spec, self.scratch, malloc=False)
            if "error" in run:
                self.failures.append(f"GEMM peak, {precision}: {run['error']}")
                return None
            self.peaks[precision] = run["gemm_gflops"]
            self.console.print(f"GEMM peak, {precision}: {run['gemm_gflops']:.0f} GFLOP/s")
        return self.peaks[precision]

    def run_side(self, side: str, case: Case, examples: list[Any]) -> dict[str, Any]:
        """The figures of one side in a fresh process, or its error."""
        rows = as_lists(examples) if SIDES[side].lists else as_pairs(examples)
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            spec = Spec(
                side=side,
                model=str(self.model),
                mode=case.mode,
                precision=case.precision,
                device=self.arguments.device,
                warmup=self.arguments.warmup,
                batch=len(rows) // (self.arguments.warmup + self.arguments.steps),
                examples=rows,
                scratch=scratch,
            )
            run = run_process("side_run", asdict(spec), Path(scratch), malloc=SIDES[side].malloc)
        if "error" in run:
            self.failures.append(f"{case.name}, {side}: {run['error']}")
        return run

    def write(self, case: Case, result: dict[str, Any]) -> None:
        """Replace this case's entry and keep the others; the file is whole at any time."""
        result["summary"] = summarise(result)
        self.results[case.name] = result
        with replaced(self.arguments.output) as temporary:
            temporary.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")

    def report(self, case: Case, result: dict[str, Any]) -> None:
        """Print the tables, and note what disagrees."""
        self.console.print(side_table(case.name, result), ratio_table(result))
        self.failures += [f"{case.name}, {line}" for line in disagreements(result)]


def run_process(module: str, spec: dict[str, Any], scratch: Path, *, malloc: bool) -> dict[str, Any]:
    """Run a module that turns one JSON file into another, with its wall time; or return the last line of its error."""
    source, output = scratch / "spec.json", scratch / "figures.json"
    source.write_text(json.dumps(spec), encoding="utf-8")
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", str(source), str(output)],
        cwd=HERE.parent,
        env=environment(scratch, malloc),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        return {"error": last_line(process.stderr) or f"exit code {process.returncode}"}
    return {**json.loads(output.read_text(encoding="utf-8")), "wall_s": time.perf_counter() - start}


def environment(scratch: Path, malloc: bool) -> dict[str, str]:
    """Offline, with caches of its own, and glibc's malloc as the side has it, whatever the caller's is."""
    kept = {name: value for name, value in os.environ.items() if name not in {*MALLOC, "GLIBC_TUNABLES"}}
    own = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(scratch), "TMPDIR": str(scratch), "TQDM_DISABLE": "1"}
    return {**kept, **own, **(MALLOC if malloc else {})}


def last_line(text: str) -> str:
    """What a traceback ends with."""
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def outcome(run: dict[str, Any]) -> str:
    """A run in one line."""
    if "error" in run:
        return f"failed: {run['error']}"
    return f"{sum(run['step_s']) / len(run['step_s']):.2f} s a step, {run['peak_mib']:.0f} MiB"


if __name__ == "__main__":
    main()
