"""Loggers with a file of their own begin with the points before a resume."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from dpo_lightning.report import PlotLogger
from dpo_lightning.report.history import Point
from dpo_lightning.report.replay import replay

POINTS = [
    Point(0, 0.1, {"train/loss": 0.75, "epoch": 0.0}),
    Point(10, 1.0, {"train/loss": 0.5, "epoch": 0.0}),
    Point(10, 1.2, {"val/loss": 0.25, "epoch": 0.0}),
]


def table(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader((path / "lightning_logs/version_0/metrics.csv").open()))


def test_a_table_begins_with_the_earlier_points(tmp_path):
    logger = CSVLogger(str(tmp_path))
    replay(POINTS, [logger])
    logger.log_metrics({"train/loss": 0.125, "epoch": 1}, step=19)
    logger.save()
    rows = table(tmp_path)
    assert [(row["step"], row["train/loss"], row["epoch"]) for row in rows] == [
        ("0", "0.75", "0"),
        ("9", "0.5", "0"),
        ("9", "", "0"),
        ("19", "0.125", "1"),
    ]
    assert [row["val/loss"] for row in rows] == ["", "", "0.25", ""]


def test_a_table_that_has_rows_is_left_alone(tmp_path):
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.save()
    replay(POINTS, [logger])
    assert len(table(tmp_path)) == 1


def test_a_table_of_each_step_has_its_first_row_once(tmp_path):
    logger = CSVLogger(str(tmp_path))
    replay([POINTS[0], Point(1, 0.2, {"train/loss": 0.75, "epoch": 0.0})], [logger])
    assert [row["step"] for row in table(tmp_path)] == ["0"]


def test_a_picture_has_each_point_once(tmp_path):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    for _ in range(2):
        replay(POINTS, [logger])
    assert logger.history["train/loss"] == [(0, 0.75), (10, 0.5)]
    assert logger.history["val/loss"] == [(10, 0.25)]


def test_others_have_the_points_already():
    other = Mock(spec=TensorBoardLogger)
    replay(POINTS, [other])
    assert other.log_metrics.call_count == 0
