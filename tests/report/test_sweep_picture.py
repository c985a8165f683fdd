"""The picture of a sweep: what is drawn, and where."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dpo_lightning.report import sweep_picture
from dpo_lightning.report.sweep_picture import Measured, draw_sweep, numbers


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    drawn: list[Figure] = []

    def made(**settings: Any) -> Figure:
        drawn.append(Figure(**settings))
        return drawn[-1]

    monkeypatch.setattr(sweep_picture, "figure_class", lambda: made)
    return drawn


def test_numbers_are_a_line_in_their_order_with_errors(figures: list[Figure], tmp_path: Path) -> None:
    points = [Measured((at,), mean, 0.5) for at, mean in (("1", 3.0), ("0.01", 1.0), ("0.1", 2.0))]
    draw_sweep(points, ["beta"], "val/loss", tmp_path / "x.png")
    (axes,) = figures[0].axes
    assert [[*line] for line in axes.lines[0].get_xydata()] == [[0.01, 1.0], [0.1, 2.0], [1.0, 3.0]]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1", "1"]
    (bars,) = axes.collections
    assert [[*map(float, ends[:, 1])] for ends in bars.get_segments()] == [[0.5, 1.5], [1.5, 2.5], [2.5, 3.5]]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_dots_and_a_second_axis_has_a_line_each(figures: list[Figure], tmp_path: Path) -> None:
    points = [Measured(at, 1.0, None) for at in product(("DPO", "IPO"), ("1", "2"))]
    draw_sweep(points, ["objective", "r"], "m", tmp_path / "x.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["DPO", "IPO"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["r=1", "r=2"]
    assert all(line.get_linestyle() == "None" for line in axes.lines)


def test_two_axes_of_three_numbers_are_a_heat_map_and_what_is_missing_is_empty(figures: list, tmp_path: Path) -> None:
    at = [*product(("10", "1", "5"), ("0.1", "0.3", "0.2"))][:-1]  # without 5, 0.2
    points = [Measured(each, float(each[0]) + float(each[1]), None) for each in at]
    draw_sweep(points, ["steps", "beta"], "m", tmp_path / "x.png")
    axes, bar = figures[0].axes
    cells = axes.images[0].get_array()
    assert cells.tolist() == [[1.1, 5.1, 10.1], [1.2, None, 10.2], [1.3, 5.3, 10.3]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10"]
    assert len(axes.texts) == 8
    assert bar.get_ylabel() == "m"


def test_a_third_axis_makes_panels(figures: list[Figure], tmp_path: Path) -> None:
    points = [Measured(at, 1.0, None) for at in product(("1", "2"), ("a", "b"), ("x", "y", "z"))]
    draw_sweep(points, ["p", "q", "r"], "m", tmp_path / "x.png")
    assert [axes.get_title() for axes in figures[0].axes if axes.get_visible()] == ["r=x", "r=y", "r=z"]


def test_only_finite_numbers_are_numbers() -> None:
    assert numbers(["1e-5", "3"]) == [1e-5, 3.0]
    assert numbers(["1", "null"]) is None
    assert numbers(["1", "inf"]) is None
