"""The measurements of one process of `gpu.py`.

python -m benchmarks.gpu_side JOB FIGURES    # JSON in; a line of JSON a row out. It waits for a line on its input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare_sides import LORA
from benchmarks.gpu_job import Job


def measure(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """The figures of one row."""
    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    measured: Callable[[Job, dict[str, Any]], dict[str, Any]]
    if settings["kind"] != "step":
        from benchmarks.gpu_kernels import KINDS

        measured = KINDS[settings["kind"]]
    elif settings["side"].startswith("trl"):
        from benchmarks.gpu_trl import train as measured
    else:
        from benchmarks.gpu_ours import train as measured
    return measured(job, settings)


def main() -> None:
    path, output = (Path(argument) for argument in sys.argv[1:])
    job = Job(path)
    load_libraries({row["settings"].get("side", "") for row in job.rows})
    sys.stdin.readline()  # the process before it has the device until then
    with output.open("a", encoding="utf-8") as lines:
        for row in job.rows:
            print(json.dumps({"row": row["name"], **figures_or_error(job, row["settings"])}), file=lines, flush=True)
            gc.collect()
            if job.device == "cuda":
                torch.cuda.empty_cache()
    # Threads of a library may hang at the end, and the figures are written.
    sys.stderr.flush()
    os._exit(0)


def load_libraries(sides: set[str]) -> None:
    """Import what takes seconds, while another process has the device."""
    import peft  # noqa: F401

    import benchmarks.gpu_kernels
    import benchmarks.gpu_ours

    if any(side.startswith("trl") for side in sides):
        import benchmarks.gpu_trl  # noqa: F401


def figures_or_error(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """The figures, or one line about what went wrong; the process goes on with its other rows."""
    try:
        return measure(job, settings)
    except Exception as error:
        traceback.print_exc()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]}


def lora_rank(mode: str) -> int | None:
    """The rank of the adapters; None where all weights are trained."""
    return LORA["r"] if mode == "lora" else None


if __name__ == "__main__":
    main()
