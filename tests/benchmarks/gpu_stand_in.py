"""Stands in for `benchmarks.gpu_side`: each row does what its settings say, without a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def figures(settings: dict[str, Any], warmup: int, steps: int) -> dict[str, Any]:
    """Figures as a side has them; 2 s a step of ours, 3 s of TRL's."""
    if settings["kind"] == "ceilings":
        return {"copy_gb_per_s": 4000.0, "product_tflops": 800.0}
    if settings["kind"] != "step":
        return {"error": "InputError: not here"}
    return {
        "step_s": [3.0 if settings["side"].startswith("trl") else 2.0] * steps,
        "losses": [0.7] * (warmup + steps),
        "first_logps": [-10.0, -20.0],
        "first_gradient_norm": 1.0,
        "peak_mib": 1024.0,
        "cuda_peak_mib": None,
        "kernels": {"step_ms": 2.0, "classes_ms": {"gemm": 1.5, "elementwise": 0.5}},
    }


def main() -> None:
    job, output = (Path(argument) for argument in sys.argv[1:])
    told = json.loads(job.read_text())
    sys.stdin.readline()
    with output.open("a") as lines:
        for row in told["rows"]:
            act = row["settings"].get("act") or os.environ.get("ACT:" + row["name"], "figures")
            if act == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if act == "fail":
                sys.exit("no device here")
            if act == "hang":
                child = subprocess.Popen(["sleep", "60"])
                (output.parent / "child").write_text(str(child.pid))
                time.sleep(60)
            found = figures(row["settings"], told["warmup"], told["steps"])
            if act == "wrong":
                found["first_logps"][0] -= 0.1
            line = json.dumps({"row": row["name"], **found})
            # In two pieces: who reads meanwhile meets half a line.
            print(line[:10], end="", file=lines, flush=True)
            time.sleep(0.05)
            print(line[10:], file=lines, flush=True)


if __name__ == "__main__":
    main()
