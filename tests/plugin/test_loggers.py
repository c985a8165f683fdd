"""Loggers and profilers on a preference run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from dpo_lightning import LoRA, RobustDPO
from tests.helpers import runs


def test_csv(run, tmp_path):
    logger = CSVLogger(tmp_path)
    run(logger=logger, log_every_n_steps=3)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == [0, 2, 5, 8, 11]


def test_several_at_once(run, tmp_path):
    loggers = [CSVLogger(tmp_path, name=name) for name in ("one", "two")]
    run(logger=loggers)
    one, two = ((Path(logger.log_dir) / "metrics.csv").read_text() for logger in loggers)
    assert one == two


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(run, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    run(logger=logger)
    (events,) = Path(logger.log_dir).glob("events*")
    assert all(name in events.read_bytes() for name in (b"train/loss", b"val/loss"))


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(run, tmp_path):
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    run(logger=logger)
    assert list(tmp_path.glob("wandb/offline-run*"))
    assert logger.experiment.config["objective"]["class_path"] == "dpo_lightning.DPO"
    assert {"train/loss", "val/loss"} <= dict(logger.experiment.summary).keys()
    logger.experiment.finish()  # the next logger of this process would go on with this run


def test_hyperparameters_are_plain(run, tmp_path):
    logger = CSVLogger(tmp_path)
    run(logger=logger, module=runs.module(objective=RobustDPO(), lora=LoRA(r=2)))
    held = yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())
    assert held["objective"]["class_path"].endswith("RobustDPO")
    assert held["lora"]
    flat = _flatten_dict(_convert_params(held))  # as `MLFlowLogger` and others do
    assert flat["objective/class_path"] == "dpo_lightning.RobustDPO"
    assert (flat["objective/init_args/label_smoothing"], flat["lora/r"]) == (0.1, 2)


@pytest.mark.parametrize("profiler", ["simple", "advanced", "pytorch"])
def test_a_profiler(run, profiler):
    assert run(profiler=profiler, max_epochs=1).trainer.global_step == 6
