"""The tables of predictions have the figures that are there by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tools.docs import predicted

RATES = {"products_tflop_per_s": 780.0, "attention_tflop_per_s": 330.0, "gb_per_s": 4100.0}


def case() -> dict[str, Any]:
    """Ours: 10 ms of products, 1 of attention, 5 - 2 of memory, 1 of the optimizer; TRL's: 20, 2, 6 and 2."""
    counts = {"as_written": (40, 8.2e9, 6e9), "compiled": (10, 4.1e9, 4e9)}
    return {
        "pairs": 4,
        "layers": 2,
        "attention_tflop": 0.33,
        "parts": {
            "body": {"launches": 100, "elementwise_gb": 20.5, "products_tflop": 7.8},
            "update": {"launches": 7, "elementwise_gb": 4.1, "products_tflop": 0.0},
        },
        "layer": {
            form: {"policy": {"launches": launches, "elementwise": size, "kept": kept}}
            for form, (launches, size, kept) in counts.items()
        },
        "memory": {"held_gb": 10.0, "kept_gb": 14.0, "peak_gb": 15.0},
        "trl": {
            "launches": 321,
            "products_tflop": 15.6,
            "attention_tflop": 0.66,
            "elementwise_gb": 24.6,
            "update_gb": 8.2,
            "held_gb": 12.0,
            "kept_gb": 20.0,
            "peak_gb": 28.0,
        },
    }


def test_times_are_counts_over_rates() -> None:
    assert predicted.ours(case(), RATES) == pytest.approx((10, 1, 3, 1))
    assert predicted.ours(case(), RATES, fused=False) == pytest.approx((10, 1, 5, 1))
    assert predicted.theirs(case(), RATES) == pytest.approx((20, 2, 6, 2))
    assert predicted.theirs(case(), RATES).step == pytest.approx(30)


def test_memory_is_less_by_what_compiled_layers_do_not_keep() -> None:
    assert predicted.our_memory(case()) == pytest.approx((10, 14 - 4, 10 + 15 - 4))
    assert predicted.their_memory(case()) == pytest.approx((12, 20, 40))


def test_tables_say_that_they_are_of_no_gpu() -> None:
    cases = dict.fromkeys(predicted._CASES, case())

    said = predicted.predicted({"date": "2027-01-02", "rates": RATES, "cases": cases})

    assert said.startswith("**Predictions of 2027-01-02, not measurements")
    # 4 pairs in 15 ms, and TRL's in 30.
    assert "64 pairs | 10.0 | 1.0 | 3.0 | 1.0 | 47 | 15 | 17 | 267 | 133 | 2.00 |" in said
    assert "64 pairs | 20.0 | 2.0 | 6.0 | 2.0 | 321 | 30 |" in said
    assert "64 pairs | 10.0 | 10.0 | 21.0 | 12.0 | 20.0 | 40.0 | 0.53 |" in said
    assert said.count("8 B, LoRA, long prompts") == 3
