"""From runs to figures: by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.compare_report import differences, disagreements, rates, summarise


def run(seconds: float, peak: float = 100.0, **fields: Any) -> dict[str, Any]:
    same = {"first_logps": [-10.0, -20.0], "losses": [0.7, 0.6], "cuda_peak_mib": None}
    return {"step_s": [seconds] * 4, "peak_mib": peak, **same, **fields}


def case(**runs: list[dict[str, Any]]) -> dict[str, Any]:
    """8 pairs a step, 4 measured of 6 steps; 32 GFLOP in all, 1 a pair."""
    named = {side.replace("_", "-"): values for side, values in runs.items()}
    figures = {"batch_pairs": 8, "steps": 6, "measured_pairs": 32, "useful_flops": 32e9, "gemm_gflops": 100.0}
    result = {**figures, "precision": "fp32", "runs": named}
    return {**result, "summary": summarise(result)}


def test_rates() -> None:
    measured = rates({"step_s": [1.0, 1.0, 2.0, 4.0], "precompute_s": 6.0}, batch_pairs=8, steps=6)
    assert measured == {
        "pairs_per_s": 32 / 8,
        "pairs_per_s_median_step": 8 / 1.5,
        "pairs_per_s_with_reference": 32 / (8 + 6 * 4 / 6),
    }


def test_sides_have_medians_and_their_place_below_the_roof() -> None:
    tree = case(tree=[run(1.0, 90.0), run(2.0, 110.0), run(4.0, 100.0)])["summary"]["sides"]["tree"]
    assert tree["pairs_per_s"] == 4.0
    assert tree["useful_gflops"] == pytest.approx(4.0)
    assert tree["of_gemm_peak"] == pytest.approx(0.04)
    assert tree["peak_mib"] == 100.0


def test_ratios_take_our_median_and_trls_best_run() -> None:
    measured = case(
        tree=[run(2.0)],
        tree_malloc=[run(1.0, 50.0)] * 3,
        bare=[run(1.9)],
        bare_malloc=[run(0.8)],
        padded=[run(1.6)],
        list=[run(5.0)],
        trl=[run(9.0, 200.0), run(8.0, 400.0)],
        trl_best=[run(4.0, 800.0, precompute_s=24.0), run(7.0, 800.0, precompute_s=24.0)],
    )
    assert measured["summary"]["ratios"] == pytest.approx(
        {
            "pairs_per_s_over_fastest_trl": 4.0,
            # 16 s of the reference belong to the measured steps: 32 pairs in 32 s, no faster than the other side.
            "pairs_per_s_with_reference_over_fastest_trl": 8.0,
            "peak_over_leanest_trl": 0.25,
            "tree_over_padded": 1.6,
            "list_over_pairs": 0.2,
            "loop_over_bare_step": 1.25,
        }
    )


def test_a_failed_run_hides_no_other() -> None:
    sides = case(tree=[{"error": "no"}, run(1.0)], padded=[{"error": "no"}])["summary"]["sides"]
    assert list(sides) == ["tree"]
    assert sides["tree"]["pairs_per_s"] == 8.0


def test_losses_are_compared_in_the_same_order_only() -> None:
    grouped = run(1.0, losses=[0.7, 0.5])
    found = differences({"tree": [run(1.0)], "padded": [grouped], "trl": [run(1.0)], "trl-lean": [grouped]})
    assert found["tree"] == found["padded"] == {"logp_difference": 0.0, "loss_difference": 0.0}
    assert differences({"tree": [run(1.0)], "trl-lean": [grouped]})["tree"] == {"logp_difference": 0.0}


@pytest.mark.parametrize(
    ("logps", "difference"),
    [([-10.0, -20.002], 1e-4), ([-10.0], float("inf")), ([float("nan"), -20.0], float("inf"))],
)
def test_the_largest_relative_difference_of_log_probs(logps: list[float], difference: float) -> None:
    measured = case(tree=[run(1.0, first_logps=logps)], trl=[run(1.0)], trl_best=[run(1.0)])
    assert measured["summary"]["sides"]["tree"]["logp_difference"] == pytest.approx(difference)
    (line,) = disagreements(measured)
    assert line.startswith("tree: log-probs differ")


def test_bf16_has_a_wider_limit() -> None:
    measured = case(tree=[run(1.0, first_logps=[-10.0, -20.002])], trl=[run(1.0)])
    assert disagreements({**measured, "precision": "bf16"}) == []
