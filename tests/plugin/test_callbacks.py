"""Lightning's callbacks on a preference run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichModelSummary,
    RichProgressBar,
    ThroughputMonitor,
    Timer,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import Linear
from tests.helpers import runs


def test_early_stopping_on_a_validation_metric(run):
    assert run(EarlyStopping("val/loss", patience=1, min_delta=1e9), max_epochs=9).trainer.current_epoch == 2


def test_early_stopping_on_a_training_metric(run):
    stop = EarlyStopping("train/loss", patience=1, min_delta=1e9, check_on_train_epoch_end=True)
    assert run(stop, max_epochs=9).trainer.current_epoch == 2


@pytest.mark.parametrize(("mode", "step"), [("min", 12), ("max", 6)])
def test_model_checkpoint_keeps_the_best(run, tmp_path, mode, step):
    keep = ModelCheckpoint(tmp_path / "kept", monitor="val/loss", mode=mode, save_top_k=1, filename="{step}")
    fitted = run(keep, enable_checkpointing=True)
    assert [str(path) for path in (tmp_path / "kept").glob("*.ckpt")] == [keep.best_model_path]
    assert keep.best_model_path.endswith(f"step={step}.ckpt")
    assert (float(keep.best_model_score) == fitted.metrics["val/loss"]) == (mode == "min")


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({"every_n_train_steps": 4, "save_top_k": -1}, {"step=4", "step=8", "step=12"}),
        ({"every_n_epochs": 2, "save_top_k": -1}, {"step=12"}),
        ({"monitor": "val/loss", "save_top_k": 2}, {"step=6", "step=12"}),
        ({"save_last": True}, {"step=12", "last"}),
        ({"save_last": "link"}, {"step=12", "last"}),
        ({"train_time_interval": timedelta(seconds=0), "save_top_k": -1}, {f"step={n}" for n in range(1, 13)}),
    ],
    ids=["every n steps", "every n epochs", "top k", "last", "link", "by time"],
)
def test_model_checkpoint_saves_when_it_is_told(run, tmp_path, settings, saved):
    run(ModelCheckpoint(tmp_path / "kept", filename="{step}", **settings), enable_checkpointing=True)
    assert {path.stem for path in (tmp_path / "kept").glob("*.ckpt")} == saved
    assert (tmp_path / "kept/last.ckpt").is_symlink() is (settings.get("save_last") == "link")


def test_a_timer_stops_the_run(run):
    assert run(Timer(timedelta(seconds=0)), max_epochs=9).trainer.global_step <= 1


def test_the_learning_rate_is_logged(run, tmp_path):
    logger = CSVLogger(tmp_path)
    run(LearningRateMonitor("step"), module=runs.module(schedule=Linear(warmup=2)), logger=logger)
    assert "lr-AdamW" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_the_device_is_logged(run, tmp_path):
    logger = CSVLogger(tmp_path)
    run(DeviceStatsMonitor(cpu_stats=True), logger=logger)
    assert "cpu_percent" in (Path(logger.log_dir) / "metrics.csv").read_text()


@pytest.mark.filterwarnings("ignore:When using the `ThroughputMonitor`")  # flops are the user's to say
def test_the_throughput_is_logged(run, tmp_path):
    logger = CSVLogger(tmp_path)
    run(ThroughputMonitor(batch_size_fn=lambda batch: batch.examples, window_size=2), logger=logger)
    assert "train/device/batches_per_sec" in (Path(logger.log_dir) / "metrics.csv").read_text()


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
def test_a_progress_bar(run, bar):
    assert run(bar(), enable_progress_bar=True, max_epochs=1).trainer.progress_bar_metrics["loss"] > 0


@pytest.mark.parametrize("summary", [ModelSummary, RichModelSummary])
def test_a_model_summary(run, summary, capsys, caplog):
    with caplog.at_level("INFO"):
        run(summary(), enable_model_summary=True, max_epochs=1)
    said = capsys.readouterr().out + "".join(each for each in caplog.messages if "\nobjective  " not in each)
    assert "policy" in said
    assert "reference" not in said
    assert "19.6 K" in said  # weights of the policy, once
