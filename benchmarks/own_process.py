"""A part of a benchmark in a process of its own: `--spec` has what it does as JSON, its last line what it found."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the folder of shared files, the file of results, and `--spec`, for the process of a part.

    Args:
        parser: The benchmark's.
        name: Name of the benchmark.
    """
    parser.add_argument(
        "--shared", type=Path, default=HERE.parents[1] / "shared", help="folder with data/ and tokenizers/"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / f"{name}.json")
    parser.add_argument("--spec", help=argparse.SUPPRESS)


def run_part(name: str, part: str, spec: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Any:
    """Run a part of a benchmark; where it fails, the benchmark ends with the last line of its error.

    Args:
        name: Name of the benchmark.
        part: What the part is called.
        spec: What it does.
        environment: Variables of its environment beside those of this process.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", "--spec", json.dumps(spec)]
    own = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False, env=own)
    if done.returncode:
        sys.exit(f"{part}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
