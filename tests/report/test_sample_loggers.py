"""Samples in the loggers that take them: real ones where they run offline, the client's interface of the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from dpo_lightning.report import Completions, SampledPrompt
from dpo_lightning.report.sample_loggers import log_samples

ROWS = [
    SampledPrompt(
        "the <b>sun</b>:", Completions(["up", "down"]), Completions(["no", "nay"]), Completions(["so", "la"])
    ),
    SampledPrompt("the moon:", Completions(["x", "y"]), Completions(["n", "m"]), Completions(["s", "t"])),
]


def test_tensorboard_gets_a_text_for_each_step(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path)
    assert log_samples(logger, ROWS, 0)
    assert log_samples(logger, ROWS, 4)
    logger.finalize("success")

    events = accumulator.EventAccumulator(logger.log_dir).Reload()
    assert events.Tags()["tensors"] == ["samples/text_summary"]
    found = events.Tensors("samples/text_summary")
    assert [each.step for each in found] == [0, 4]
    text = found[1].tensor_proto.string_val[0].decode()
    assert text.startswith("# Samples at step 4\n")
    assert "## 1. the &lt;b&gt;sun&lt;/b&gt;:" in text
    assert "* *policy*: down" in text


def test_wandb_gets_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    assert log_samples(logger, ROWS, 4)
    logger.experiment.finish()

    (file,) = tmp_path.rglob("*.table.json")
    found = json.loads(file.read_text())
    assert found["columns"] == ["step", "prompt", "reference", "policy"]
    assert found["data"][0] == [4, "the <b>sun</b>:", "so", "up"]
    assert len(found["data"]) == 4


def test_a_client_of_many_runs_adds_to_the_table_of_this_one() -> None:
    """MLflow's: `MlflowClient.log_table(run_id, data, artifact_file)`, where `data` has columns by name."""

    class Client:
        def __init__(self) -> None:
            self.tables: list[Any] = []

        def log_table(self, run_id: str, data: dict[str, list[Any]], artifact_file: str) -> None:
            self.tables.append((run_id, data, artifact_file))

        def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
            raise AssertionError("a table is there")

    logger = Mock(spec=["experiment", "run_id"], experiment=Client(), run_id="run-7")
    assert log_samples(logger, ROWS, 4)
    ((run, data, file),) = logger.experiment.tables
    assert (run, file) == ("run-7", "samples.json")
    assert data["policy"] == ["up", "down", "x", "y"]
    assert data["step"] == [4] * 4


def test_an_experiment_that_takes_a_text_gets_one() -> None:
    """Comet's: `Experiment.log_text(text, step)`."""
    logger = Mock(spec=["experiment"], experiment=Mock(spec=["log_text"]))
    assert log_samples(logger, ROWS, 4)
    (text,), named = logger.experiment.log_text.call_args
    assert named == {"step": 4}
    assert text.startswith("# Samples at step 4\n")


def test_a_logger_of_numbers_gets_none(tmp_path: Path) -> None:
    assert not log_samples(CSVLogger(tmp_path), ROWS, 4)
    assert not log_samples(object(), ROWS, 4)
