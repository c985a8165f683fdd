"""Ours against TRL 1.16.0 on a GPU, in one call: kernels, whole steps, memory, and equal numbers.

    python -m benchmarks.gpu --budget-s 320 --out runs/gpu.json      # on a GPU; the same call again adds rows
    python -m benchmarks.gpu --model 1b --profile hh --sides ours trl-best
    python -m benchmarks.gpu --model tiny --device cpu --steps 2     # does it work here?

Each side is a fresh process, with random weights that are made on the device. The file is written after each row. At
the end of the budget it prints a table of what it has, and names the rows that were not run. Exits 1 when the log-probs
or gradients of a side are not those of the others. `benchmarks/README.md` says what is measured.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

STARTED = time.monotonic()  # before the imports that take seconds

if not __package__:  # as `python benchmarks/gpu.py`
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gpu_call import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(started=STARTED))
