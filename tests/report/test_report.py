"""Curves and tables."""

from __future__ import annotations

import struct
from pathlib import Path

from dpo_lightning.report import PlotLogger, SampledPrompt, plot_curves
from dpo_lightning.report.samples import mean_reward, summarise
from tests.helpers.runs import data, module, trainer


def size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def test_curves_become_a_picture(tmp_path):
    plot_curves({"train/loss": [(1, 0.7), (2, 0.5)], "val/loss": [(2, 0.6)]}, tmp_path / "curves.png")
    assert size(tmp_path / "curves.png") == (1200, 840)


def test_the_logger_draws_what_a_fit_logged(tmp_path):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    trainer(logger=logger, max_steps=6).fit(module(), data(tmp_path))
    assert [step for step, _ in logger.history["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in logger.history["val/rewards/accuracies"]] == [6]
    assert size(tmp_path / "curves.png")[0] == 1200


def test_a_validation_leaves_the_picture_of_the_fit(tmp_path):
    path = tmp_path / "curves.png"
    trainer(logger=PlotLogger(str(path))).validate(module(), data(tmp_path), verbose=False)
    assert not path.exists()


def test_mean_reward_by_hand():
    rows = [SampledPrompt("p", ["a", "bb"], ["ccc", "cc"]), SampledPrompt("q", ["", "a"], ["c", "cc"])]
    assert mean_reward(rows, "before", lambda prompt, text: len(text)) == (1.0, 0.408248290463863)
    assert "1.00 ± 0.41 before, 2.00 ± 0.41 after (+1.00)" in summarise(rows, lambda prompt, text: len(text))
