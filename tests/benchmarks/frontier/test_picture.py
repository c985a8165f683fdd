"""The picture shows every point, and no label covers another."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmarks.frontier import Protocol, draw, write_page
from benchmarks.frontier.labels import place_labels
from tests.benchmarks.frontier.made_up import crowded

PNG = b"\x89PNG"


def test_crowded_labels_do_not_overlap():
    figure = Figure(figsize=(8, 6))
    axes = figure.subplots()
    points = {str(n): (1 + 0.01 * (n % 6), 1 + 0.01 * (n // 6)) for n in range(36)}
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 2)
    figure.draw_without_rendering()
    labels = place_labels(axes, points)
    assert [text.get_text() for text in axes.texts] == list(points)
    assert not any(one.overlaps(other) for one, other in combinations(labels, 2))
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in axes.texts:
        text.update_positions(renderer)
    drawn = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without its line
    assert not any(one.overlaps(other) for one, other in combinations(drawn, 2))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written."""
    figures, save = [], Figure.savefig

    def watched(figure, *args, **settings):
        figures.append(figure)
        save(figure, *args, **settings)

    monkeypatch.setattr(Figure, "savefig", watched)
    return figures


def test_every_entry_has_its_point_its_error_and_its_place_in_the_legend(tmp_path, drawn):
    frontier = crowded()
    draw(frontier, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(PNG)
    (figure,) = drawn
    (axes,) = figure.axes
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    for number, point in enumerate(frontier.entries, 1):
        (container,) = [each for each in axes.containers if each.get_label() == f"{number} {point.name}"]
        line, _, bars = container
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (point.kl.mean, point.reward.mean)
        assert len(bars) == 2
        assert f"{number} {point.name}" in told
    assert [text.get_text() for text in axes.texts] == [str(n + 1) for n in range(len(frontier.entries))]
    assert {"starting policy (SFT)", "DPO, sweep", "IPO, sweep"} <= set(told)


def test_the_page_has_the_numbers_and_the_picture(tmp_path):
    frontier = crowded()
    write_page(frontier, Protocol(), tmp_path / "lab.md")
    text = (tmp_path / "lab.md").read_text()
    assert "](lab_frontier.png)" in text
    assert (tmp_path / "lab_frontier.png").read_bytes().startswith(PNG)
    for number, point in enumerate(frontier.entries, 1):
        assert f"| {number} | {point.name} | {point.reward.mean:.2f} ± 0.01 | {point.kl.mean:.2f} ± 0.01 |" in text
        assert f"`{point.entry.objective!r}`" in text
    assert "1,024 fresh completions" in text
    assert "over 3 seeds" in text
    assert "The best completion is worth 6." in text
