"""The step with everything on, by its roofline: `python -m tests.gpu_path.predict` writes what a page says of it.

A step is traced with its layers as they are written; the counts of the layers are then exchanged for those of compiled
ones. Nothing here was measured on a GPU.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tests.gpu_path.bounds import CASES, PARTS, extrapolated, small
from tests.gpu_path.layers import Count, as_written, compiled
from tests.gpu_path.trace import ATTENTION_A_SECOND, BYTES_A_SECOND, PRODUCTS_A_SECOND, SHAPES, Case

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_predicted.json"

# Pairs a second of TRL 1.16 with Liger's layers, flash attention and no checkpointing on one H200, by the roofline of
# the same rates, without its optimizer; elementwise traffic 2.2 times less than eager's.
TRL_WITH_KERNELS = {"1b full mixed hh 64": 196.0, "1b full mixed uf 16": 62.6, "8b lora true uf 8": 13.5}


def predicted(name: str, case: Case) -> dict[str, Any]:
    """Return the sums of a step, by part, and what a layer takes as written and compiled."""
    layers = SHAPES[case.shape]["num_hidden_layers"]
    found = extrapolated(case, layers)
    fewer, more = (sum(each.attention for each in small(case, number).phases.values()) for number in (1, 2))
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
        "layer": {form: {phase: count._asdict() for phase, count in each.items()} for form, each in forms.items()},
        "trl_pairs_per_s": TRL_WITH_KERNELS[name],
    }


def total(counts: dict[str, Count]) -> Count:
    """Return the sum of the passes of a layer."""
    return Count(*map(sum, zip(*counts.values(), strict=True)))


def main() -> None:
    """Write the file."""
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "rates": {
            "products_tflop_per_s": PRODUCTS_A_SECOND / 1e12,
            "attention_tflop_per_s": ATTENTION_A_SECOND / 1e12,
            "gb_per_s": BYTES_A_SECOND / 1e9,
        },
        "cases": {name: predicted(name, case) for name, case in CASES.items()},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
