"""Curves become a picture that hides none of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.figure import Figure

from dpo_lightning.report import plot_curves
from tests.report.png import size

RUN = {
    f"{stage}/{name}": [(step, value + step / 100) for step in (0, 10, 20)]
    for stage in ("train", "val")
    for value, name in enumerate(
        ("loss", "rewards/accuracies", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen")
    )
}
WITH_REFERENCE = {**RUN, "train/logratios/chosen": [(0, 0.0), (20, -4.0)]}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, laid out."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **kwargs: Any) -> None:
        save(figure, *args, **kwargs)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


def test_curves_become_a_picture(tmp_path):
    plot_curves({"train/loss": [(1, 0.7), (2, 0.5)], "val/loss": [(2, 0.6)]}, tmp_path / "curves.png")
    assert size(tmp_path / "curves.png") == (1200, 700)


@pytest.mark.parametrize("history", [RUN, WITH_REFERENCE, {"train/loss": [(0, 0.7)]}, {}], ids=str)
def test_no_legend_covers_a_curve(history: Any, tmp_path: Any, drawn: list[Figure]) -> None:
    plot_curves(history, tmp_path / "curves.png", "DPO beta 0.1 · a-model · AdamW, lr 5e-07")
    (figure,) = drawn
    everything = [axes.get_window_extent() for axes in figure.axes]
    for axes in figure.axes:
        if (legend := axes.get_legend()) is not None:
            box = legend.get_window_extent()
            assert not any(box.overlaps(other) for other in everything)
            assert box.x1 <= figure.bbox.x1


def test_a_panel_shows_what_the_run_has(tmp_path, drawn):
    plot_curves(RUN, tmp_path / "curves.png")
    plot_curves(WITH_REFERENCE, tmp_path / "curves.png", "which run")
    titles = [[axes.get_title() for axes in figure.axes] for figure in drawn]
    assert titles[0][-1] == "log-probs (nats)"
    assert titles[1][-1] == "log-ratios to the reference (nats)"
    assert drawn[1].get_suptitle() == "which run"


def test_curves_begin_at_step_0_and_leave_out_what_is_no_number(tmp_path, drawn):
    plot_curves({"train/loss": [(0, 0.69), (10, math.nan), (20, math.inf), (30, 0.5)]}, tmp_path / "curves.png")
    (line,) = drawn[0].axes[0].lines
    assert [*line.get_xdata()] == [0, 30]
    assert [axes.texts[0].get_text() for axes in drawn[0].axes[1:]] == ["nothing was logged"] * 3
