"""The picture of results."""

from __future__ import annotations

import pytest

from dpo_lightning.report.curves import figure_class
from dpo_lightning.rounds.benchmark import picture
from dpo_lightning.rounds.benchmark.results import results_of
from tests.rounds.benchmark.test_results import ROWS


def test_a_bar_for_each_subset_with_its_interval(tmp_path, monkeypatch):
    made = []

    def figure(*args, **settings):
        made.append(figure_class()(*args, **settings))
        return made[-1]

    monkeypatch.setattr(picture, "figure_class", lambda: figure)
    results = results_of([{**each, "subset": f"$x_{{ {each['subset']}"} for each in ROWS], "half", has_subsets=True)
    picture.plot_results(results, tmp_path / "results.png", "a title with $ in it")
    axes = made[0].axes[0]
    bars = [each.get_width() for each in axes.patches]
    assert bars == pytest.approx([0.5, 1.0, 2.5 / 4])
    assert [each.get_text() for each in axes.get_yticklabels()] == [
        "$x_{ math-prm (3)",
        "$x_{ hep-go (1)",
        "all rows (4)",
    ]
    segments = axes.collections[0].get_segments()
    whole = results.whole.accuracy
    assert (segments[-1][0][0], segments[-1][1][0]) == pytest.approx((whole.low, whole.high))
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
