"""The logger hands on what is logged."""

from __future__ import annotations

import torch
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning.report import PlotLogger
from dpo_lightning.report.point_logger import LogsStart, PointLogger


def test_steps_are_those_that_are_done():
    taken = []
    logger = PointLogger(lambda step, values: taken.append((step, values)))
    logger.log_start({"train/loss": 0.75})
    logger.log_metrics({"train/loss": torch.tensor(0.5)}, step=9)
    logger.log_metrics({"train/loss": 0.25})
    assert taken == [(0, {"train/loss": 0.75}), (10, {"train/loss": 0.5}), (1, {"train/loss": 0.25})]
    assert (logger.name, logger.version, logger.save_dir) == ("record", "", None)


def test_the_state_before_the_first_update_has_a_place_in_loggers_of_ours(tmp_path):
    assert isinstance(PointLogger(print), LogsStart)
    assert isinstance(PlotLogger(str(tmp_path / "curves.png")), LogsStart)
    assert not isinstance(CSVLogger(str(tmp_path)), LogsStart)


def test_who_walks_over_all_loggers_meets_no_error():
    PointLogger(print).experiment.add_image("sun", [0.5], 3)
