"""Curves begin with the state before any update."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import DPO, PlotLogger, PreferenceModule, SimPO
from dpo_lightning.report.point_logger import PointLogger
from tests.helpers.runs import data, fit, module, trainer


@pytest.mark.parametrize("interval", [1, 2])
def test_the_first_point_is_the_state_before_any_update(interval: int, tmp_path: Any) -> None:
    points: list[tuple[int, dict[str, float]]] = []
    logger = PointLogger(lambda step, values: points.append((step, values)))
    fit(tmp_path, module(), logger=logger, log_every_n_steps=interval, max_steps=4)
    assert [step for step, _ in points] == [0, *range(interval, 5, interval)]
    assert points[0][1]["train/loss"] == pytest.approx(math.log(2))
    assert points[0][1]["train/logratios/chosen"] == 0


def test_accumulated_batches_are_one_point(tmp_path):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    _, losses = fit(
        tmp_path, module(objective=SimPO()), logger=logger, log_every_n_steps=2, accumulate_grad_batches=2, max_steps=2
    )
    first = logger.history["train/loss"][0]
    assert first[0] == 0
    # What a step gives Lightning is its part of the mean over the window.
    assert first[1] == pytest.approx(sum(losses[:2]), rel=1e-4)


@pytest.mark.parametrize(("interval", "steps"), [(1, ["0", "1", "2", "3"]), (2, ["0", "1", "3"])])
def test_a_table_has_the_row_once(interval: int, steps: list[str], tmp_path: Any) -> None:
    fit(
        tmp_path,
        module(),
        logger=CSVLogger(str(tmp_path)),
        log_every_n_steps=interval,
        max_steps=4,
        limit_val_batches=0,
    )
    rows = list(csv.DictReader((tmp_path / "lightning_logs/version_0/metrics.csv").open()))
    assert [row["step"] for row in rows] == steps
    assert float(rows[0]["train/loss"]) == pytest.approx(math.log(2))


def test_numbers_of_a_run_are_as_without_it(tmp_path):
    losses = []
    for logger in (False, PlotLogger(str(tmp_path / "curves.png"))):
        torch.manual_seed(0)
        losses.append(fit(tmp_path, module(), logger=logger, log_every_n_steps=2, max_steps=4)[1])
    assert losses[0] == losses[1]


def test_a_run_that_goes_on_has_no_start(tmp_path):
    run, _ = fit(tmp_path, module(), max_steps=2)
    run.save_checkpoint(tmp_path / "two.ckpt")
    logger = PlotLogger(str(tmp_path / "curves.png"))
    again = trainer(logger=logger, max_steps=4)
    again.fit(module(), data(tmp_path), ckpt_path=tmp_path / "two.ckpt")
    assert [step for step, _ in logger.history["train/loss"]] == [3, 4]


def test_a_picture_says_of_which_run_it_is(tmp_path):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    fit(tmp_path, module(objective=DPO(beta=0.25)), logger=logger)
    assert logger.title == "DPO beta 0.25 · LlamaForCausalLM · AdamW, lr 0.001"


def test_a_run_that_logs_no_step_has_no_start(tmp_path):
    points: list[int] = []
    logger = PointLogger(lambda step, values: points.append(step))
    fit(tmp_path, module(), logger=logger, log_every_n_steps=0, max_steps=2, limit_val_batches=0)
    assert points == []


class Unlogged(PreferenceModule):
    """Logs no training of its own."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Leave out what is logged here."""


def test_a_module_that_does_not_log_its_training_has_no_lone_start(tmp_path):
    points: list[dict[str, float]] = []
    logger = PointLogger(lambda step, values: points.append(dict(values)))
    fit(tmp_path, Unlogged(module().policy), logger=logger, max_steps=2, limit_val_batches=0)
    assert not any("train/loss" in values for values in points)
