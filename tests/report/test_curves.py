"""Curves become a picture."""

from __future__ import annotations

from dpo_lightning.report import plot_curves
from tests.report.png import size


def test_curves_become_a_picture(tmp_path):
    plot_curves({"train/loss": [(1, 0.7), (2, 0.5)], "val/loss": [(2, 0.6)]}, tmp_path / "curves.png")
    assert size(tmp_path / "curves.png") == (1200, 840)
