"""The step with everything on, by its roofline: `python -m tests.gpu_path.predict` writes what a page says of it.

A step is traced with its layers as they are written; the counts of the layers are then exchanged for those of compiled
ones. Nothing here was measured on a GPU.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from tests.gpu_path import trl
from tests.gpu_path.bounds import CASES, PARTS, extrapolated, small
from tests.gpu_path.layers import Count, as_written, compiled
from tests.gpu_path.trace import ATTENTION_A_SECOND, BYTES_A_SECOND, PRODUCTS_A_SECOND, SHAPES, Case

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_predicted.json"


def predicted(case: Case) -> dict[str, Any]:
    """Return what a step takes: ours by part of the step, a layer as written and compiled, and TRL's."""
    layers = SHAPES[case.shape]["num_hidden_layers"]
    found = extrapolated(case, layers)
    fewer, more = (sum(each.attention for each in small(case, number).phases.values()) for number in (1, 2))
    held = [small(case, number).held for number in (1, 2)]
    forms = {"as_written": as_written(case), "compiled": compiled(case)}
    return {
        "pairs": case.pairs,
        "layers": layers,
        "parts": {
            part: {
                "launches": round(found[part, "launches"]),
                "elementwise_gb": found[part, "gigabytes"],
                "products_tflop": found[part, "products"],
            }
            for part in PARTS
        },
        "attention_tflop": (fewer + (layers - 1) * (more - fewer)) / 1e12,
        "memory": {
            "held_gb": (held[0] + (layers - 1) * (held[1] - held[0])) / 1e9,
            "kept_gb": found["step", "kept"] / 1e9,
            "peak_gb": found["step", "peak"] / 1e9,
        },
        "layer": {form: {phase: count._asdict() for phase, count in each.items()} for form, each in forms.items()},
        "trl": _of_trl(trl.whole(case)),
    }


def _of_trl(step: trl.Step) -> dict[str, float]:
    return {
        "launches": step.models.launches,
        "elementwise_gb": step.models.elementwise / 1e9,
        "products_tflop": step.models.flops / 1e12,
        "attention_tflop": step.attention / 1e12,
        "update_gb": step.update / 1e9,
        "held_gb": step.held / 1e9,
        "kept_gb": step.kept / 1e9,
        "peak_gb": step.peak / 1e9,
    }


def total(counts: dict[str, Count]) -> Count:
    """Return the sum of the passes of a layer."""
    return Count(*map(sum, zip(*counts.values(), strict=True)))


def main() -> None:
    """Write the file."""
    result = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "torch": torch.__version__,
        "rates": {
            "products_tflop_per_s": PRODUCTS_A_SECOND / 1e12,
            "attention_tflop_per_s": ATTENTION_A_SECOND / 1e12,
            "gb_per_s": BYTES_A_SECOND / 1e9,
        },
        "cases": {name: predicted(case) for name, case in CASES.items()},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
