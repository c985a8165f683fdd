"""What the benchmark of the cache makes of its runs."""

from __future__ import annotations

import pytest

from benchmarks.reference_cache import summarise, table


def run(epoch_s: float, *losses: float) -> dict[str, object]:
    return {"epoch_s": epoch_s, "start_s": 1.0, "peak_mib": 10.0, "wall_s": 20.0, "losses": list(losses)}


def test_means_and_the_largest_difference_of_a_loss() -> None:
    runs = {
        "online": [run(10.0, 0.5, 0.4), run(12.0, 0.5, 0.4)],
        "cached-first": [run(9.0, 0.5, 0.4)],
        "cached": [run(8.0, 0.5, 0.4), run(8.5, 0.5, 0.43)],
    }
    summary = summarise(runs)  # type: ignore[arg-type]
    assert summary["online"]["epoch_s"] == 11.0
    assert summary["epoch_over_online"] == pytest.approx(8.25 / 11)
    assert summary["largest_loss_difference"] == pytest.approx(0.03)
    assert table({"model": "51m", "mode": "full", "summary": summary}).row_count == 3
