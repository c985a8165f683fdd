"""A fit that stops or saves by a metric that it will not have is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer


def fit(path: Path, *callbacks: pl.Callback, **settings: Any) -> None:
    saves = any(isinstance(each, ModelCheckpoint) for each in callbacks)
    run = trainer(callbacks=[*callbacks], enable_checkpointing=saves, max_steps=2, val_check_interval=1)
    run.fit(module(), data(path, **settings))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("val/reward/accuracy", "val/rewards/accuracies"),
        ("val/los", "val/loss"),
        ("train_loss", "train/loss"),
        ("train/gradnorm", "train/grad_norm"),
    ],
)
def test_a_misspelt_metric_is_refused_with_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    for callback in (EarlyStopping(name), ModelCheckpoint(tmp_path / "saved", monitor=name)):
        line = rf"^{type(callback).__name__}\.monitor: nothing logs {name}; did you mean `{meant}`\?$"
        with pytest.raises(InputError, match=line):
            fit(tmp_path, callback)
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    "name",
    ["val/loss", "val_accuracy", "train/rewards/margins", "train/grad_norm", "train/kl", "train/tokens_per_second"],
)
def test_metrics_that_there_are_pass(tmp_path: Path, name: str) -> None:
    fit(tmp_path, EarlyStopping(name, patience=9))


SETS = {"near": "train[:4]", "far": "train[4:8]"}


def test_those_of_named_sets_pass(tmp_path: Path) -> None:
    fit(tmp_path, EarlyStopping("val/near/loss"), val_split=SETS)


@pytest.mark.parametrize(
    ("sets", "meant"), [(SETS, "did you mean `val/near/loss`"), ("train[:8]", "did you mean `val/loss`")]
)
def test_that_of_a_set_that_is_not_there_is_refused_before_a_step(tmp_path: Path, sets: Any, meant: str) -> None:
    with pytest.raises(InputError, match=rf"^EarlyStopping\.monitor: nothing logs val/neat/loss; {meant}"):
        fit(tmp_path, EarlyStopping("val/neat/loss"), val_split=sets)


def test_a_validation_metric_without_a_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^EarlyStopping\.monitor: there is no val/loss without a validation: set"):
        fit(tmp_path, EarlyStopping("val/loss"), val_split=None)


def test_a_name_that_somebody_else_may_log_is_left_to_lightning(tmp_path: Path) -> None:
    class Logs(pl.Callback):
        def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.log("val/mine", 1.0)

    fit(tmp_path, EarlyStopping("val/mine"), Logs())
