"""The record of a fit: facts and curves, also of one that goes on, is stopped, or fails."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import PlotLogger
from dpo_lightning.callbacks import KeepRecord, record_places
from dpo_lightning.report import history
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from tests.helpers.runs import data, module, trainer


def runner(path: Path, *callbacks: Any, logger: Any = None, **settings: Any) -> pl.Trainer:
    """A Trainer that keeps its record."""
    logger = CSVLogger(str(path)) if logger is None else logger
    return trainer(logger=logger, callbacks=[KeepRecord(), *callbacks], log_every_n_steps=2, **settings)


def record(path: Path, version: int = 0) -> RunRecord:
    return RunRecord(path / f"lightning_logs/version_{version}")


def facts(path: Path, version: int = 0) -> dict[str, Any]:
    found = read_document(record(path, version).facts)
    assert found is not None
    return found


def steps(path: Path, version: int = 0, name: str = "train/loss") -> list[int]:
    return [row["step"] for row in read_rows(record(path, version).points) if name in row]


def test_a_fit_leaves_its_facts_and_its_curves(tmp_path):
    run = runner(tmp_path, max_steps=6, val_check_interval=3)
    run.fit(module(), data(tmp_path))
    assert steps(tmp_path) == [0, 2, 4, 6]
    assert steps(tmp_path, name="val/loss") == [3, 6]
    first = read_rows(record(tmp_path).points)[0]
    assert first["train/loss"] == pytest.approx(math.log(2))
    found = facts(tmp_path)
    assert (found["status"], found["step"], found["steps_planned"], found["epoch"]) == ("finished", 6, 6, 1.0)
    assert found["objective"]["name"] == "DPO"
    assert (found["places"]["started_in"], found["places"]["home"]) == (str(Path.cwd()), str(Path.home()))
    assert found["resumed"] == []
    assert found["ended"] >= found["began"]
    assert type(run.logger) is CSVLogger
    assert run.loggers == [run.logger]


def test_a_run_that_goes_on_has_one_curve(tmp_path):
    run = runner(tmp_path, max_steps=4, val_check_interval=4)
    run.fit(module(), data(tmp_path))
    run.save_checkpoint(tmp_path / "four.ckpt")
    plot = PlotLogger(str(tmp_path / "curves.png"))
    again = runner(tmp_path, logger=[CSVLogger(str(tmp_path)), plot], max_steps=10, val_check_interval=4)
    again.fit(module(), data(tmp_path), ckpt_path=tmp_path / "four.ckpt")
    assert steps(tmp_path, 1) == [0, 2, 4, 6, 8, 10]
    assert steps(tmp_path, 1, "val/loss") == [4, 10]
    earlier = read_rows(record(tmp_path).points)
    assert read_rows(record(tmp_path, 1).points)[: len(earlier)] == earlier
    assert [step for step, _ in plot.history["train/loss"]] == [0, 2, 4, 6, 8, 10]
    found = facts(tmp_path, 1)
    assert [(each["from"], each["step"]) for each in found["resumed"]] == [(str(tmp_path / "four.ckpt"), 4)]
    assert found["began"] == facts(tmp_path)["began"]
    seconds = [row["seconds"] for row in read_rows(record(tmp_path, 1).points)]
    assert seconds == sorted(seconds)


class SavesAtOnce(pl.Callback):
    """Saves where Lightning's ModelCheckpoint does, before the step is logged."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Save step 4."""
        if trainer.global_step == 4:
            trainer.save_checkpoint(Path(trainer.default_root_dir, "four.ckpt"))


def test_a_step_that_was_logged_after_it_was_saved_is_there(tmp_path):
    run = runner(tmp_path, SavesAtOnce(), max_steps=6, default_root_dir=tmp_path)
    run.fit(module(), data(tmp_path))
    runner(tmp_path, max_steps=6).fit(module(), data(tmp_path), ckpt_path=tmp_path / "four.ckpt")
    assert steps(tmp_path, 1) == [0, 2, 4, 6]


def test_a_long_run_has_its_whole_curve_from_its_record(tmp_path, monkeypatch):
    for module_of in (history, record_places):
        monkeypatch.setattr(module_of, "MOST_POINTS", 8)
    run = runner(tmp_path, max_steps=30, limit_val_batches=0)
    run.fit(module(), data(tmp_path))
    run.save_checkpoint(tmp_path / "thirty.ckpt")
    tables = torch.load(tmp_path / "thirty.ckpt", weights_only=False)["callbacks"]["KeepRecord"]["history"]
    assert sum(len(table["rows"]) for table in tables) <= 8
    again = runner(tmp_path, max_steps=32, limit_val_batches=0)
    again.fit(module(), data(tmp_path), ckpt_path=tmp_path / "thirty.ckpt")
    assert steps(tmp_path, 1) == [*range(0, 33, 2)]


def test_points_of_another_run_in_the_same_place_are_left_out(tmp_path):
    run = runner(tmp_path, SavesAtOnce(), max_steps=6, default_root_dir=tmp_path)
    run.fit(module(), data(tmp_path))
    text = record(tmp_path).facts.read_text().replace(facts(tmp_path)["began"], "2001-01-01T00:00:00+00:00")
    record(tmp_path).facts.write_text(text)
    runner(tmp_path, max_steps=6).fit(module(), data(tmp_path), ckpt_path=tmp_path / "four.ckpt")
    assert steps(tmp_path, 1) == [0, 2, 6]


def test_a_checkpoint_without_a_record_begins_one(tmp_path):
    before = trainer(max_steps=4)
    before.fit(module(), data(tmp_path))
    before.save_checkpoint(tmp_path / "four.ckpt")
    runner(tmp_path, max_steps=6).fit(module(), data(tmp_path), ckpt_path=tmp_path / "four.ckpt")
    assert steps(tmp_path) == [6]
    assert facts(tmp_path)["resumed"][0]["step"] == 4


def test_a_checkpoint_with_a_record_needs_none_of_a_run(tmp_path):
    run = runner(tmp_path, max_steps=4)
    run.fit(module(), data(tmp_path))
    run.save_checkpoint(tmp_path / "four.ckpt")
    after = trainer(max_steps=5)
    after.fit(module(), data(tmp_path), ckpt_path=tmp_path / "four.ckpt")
    assert after.global_step == 5


def test_a_second_fit_of_one_trainer_goes_on(tmp_path, monkeypatch):
    run, model, pairs = runner(tmp_path, max_steps=2), module(step_zero_check=False), data(tmp_path)
    run.fit(model, pairs)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 9000)  # idle
    run.fit_loop.epoch_loop.max_steps = 4
    run.fit(model, pairs)
    assert steps(tmp_path) == [0, 2, 4]
    assert facts(tmp_path)["step"] == 4
    assert facts(tmp_path)["seconds"] < 9000


class Fails(pl.Callback):
    """Raises in the third batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Raise."""
        if batch_idx == 2:
            raise self.error


def test_a_run_that_fails_says_so(tmp_path):
    run = runner(tmp_path, Fails(ValueError("a fault")), max_steps=6)
    with pytest.raises(ValueError, match="a fault"):
        run.fit(module(), data(tmp_path))
    found = facts(tmp_path)
    assert (found["status"], found["step"], found["verdict"]) == ("failed", 2, ["ValueError: a fault"])
    assert steps(tmp_path) == [0, 2]
    assert len(run.loggers) == 1


def test_a_run_that_is_interrupted_is_stopped(tmp_path):
    with pytest.raises(SystemExit):
        runner(tmp_path, Fails(KeyboardInterrupt()), max_steps=6).fit(module(), data(tmp_path))
    assert facts(tmp_path)["status"] == "stopped"


def test_a_time_limit_stops_before_the_end(tmp_path):
    class Enough(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = trainer.global_step >= 3

    runner(tmp_path, Enough(), max_steps=9).fit(module(), data(tmp_path))
    assert (facts(tmp_path)["status"], facts(tmp_path)["step"]) == ("stopped", 3)


@pytest.mark.parametrize("settings", [{"logger": False}, {"fast_dev_run": 2}, {"barebones": True}])
def test_a_run_that_logs_nothing_keeps_nothing(settings: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    quiet: dict[str, Any] = {"callbacks": [KeepRecord()], "max_steps": 2, "log_every_n_steps": 1, **settings}
    run = (
        trainer(**quiet)
        if "barebones" not in settings
        else pl.Trainer(callbacks=[KeepRecord()], max_steps=2, **settings)
    )
    run.fit(module(), data(tmp_path))
    assert not [*tmp_path.rglob("record")]


def test_an_evaluation_keeps_none(tmp_path):
    run = runner(tmp_path)
    run.validate(module(), data(tmp_path), verbose=False)
    run.predict(module(), data(tmp_path))
    assert not [*tmp_path.rglob("record")]


def test_a_record_that_cannot_be_written_ends_no_run(tmp_path):
    directory = tmp_path / "lightning_logs/version_0"
    directory.mkdir(parents=True)
    (directory / "record").write_text("in the way")
    run = runner(tmp_path, logger=CSVLogger(str(tmp_path), version=0), max_steps=2)
    with pytest.warns(UserWarning, match=r"record.* could not be written"):
        run.fit(module(), data(tmp_path))
    assert run.global_step == 2
