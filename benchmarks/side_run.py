"""A side of `compare.py`, trained in a process of its own.

python -m benchmarks.side_run SPEC OUTPUT    # JSON in, figures out
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.compare_sides import SIDES, Spec


def run(spec: Spec) -> dict[str, Any]:
    """Train one side and return its figures."""
    if SIDES[spec.side].library == "trl":
        from benchmarks.side_trl import run_trl

        return run_trl(spec)
    from benchmarks.side_ours import run_bare, run_lightning

    return run_bare(spec) if SIDES[spec.side].bare else run_lightning(spec)


def main() -> None:
    spec, output = (Path(argument) for argument in sys.argv[1:])
    output.write_text(json.dumps(run(Spec.read(spec))), encoding="utf-8")


if __name__ == "__main__":
    main()
