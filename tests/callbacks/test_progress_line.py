"""The line of progress: in a terminal's screen, and in a file."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from dpo_lightning.callbacks import ProgressLine
from tests.helpers.runs import data, module, trainer
from tests.helpers.terminal import Screen

NOTED = logging.getLogger("tests.callbacks.test_progress_line")


class Talks(pl.Callback):
    """Prints to both streams and logs in the middle of a run, and at its end."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step in (2, 5):
            print(f"printed at {trainer.global_step}")
            NOTED.info("logged at %d", trainer.global_step)
            print(f"warned at {trainer.global_step}", file=sys.stderr)
            pl_module.print(f"said at {trainer.global_step}")
            print("[/red] :smile:", trainer.global_step, end="\n", flush=True)
            print("[/red] in a piece", end="", flush=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        print("printed_at_the_end_" + "x" * 100)


class Fails(pl.Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        raise ValueError("a fault")


def with_line(tmp_path: Path, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """Fit six steps of two epochs, with a validation after each."""
    line: Any = [ProgressLine(), *callbacks]
    settings = {"max_epochs": 2, "max_steps": -1, "log_every_n_steps": 2, **settings}
    running = trainer(enable_progress_bar=True, callbacks=line, **settings)
    running.fit(module(), datamodule=data(tmp_path, 12))
    return running


@contextmanager
def screen_of(columns: int) -> Iterator[Screen]:
    """Put a terminal in the place of both streams, which a logger holds, too."""
    made, handler = Screen(columns), logging.StreamHandler()
    handler.setStream(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, made)
        patch.setattr("dpo_lightning.callbacks.progress_line._INTERVAL", 0)
        patch.setattr(NOTED, "propagate", False)
        NOTED.addHandler(handler)
        NOTED.setLevel(logging.INFO)
        yield made
        assert sys.stderr is sys.stdout is handler.stream is made
    NOTED.removeHandler(handler)


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_nothing_is_lost_and_the_line_is_one(columns: int, tmp_path: Path) -> None:
    with screen_of(columns) as screen:
        with_line(tmp_path, Talks())

    text = "".join(screen.lines)  # a long line goes on in the next row
    for step in (2, 5):
        assert screen.lines.count(f"printed at {step}") == screen.lines.count(f"logged at {step}") == 1
        assert text.count(f"warned at {step}") == text.count(f"said at {step}") == 1
        assert f"[/red] :smile: {step}" in text
    assert text.count("[/red] in a piece") == 2
    assert "printed_at_the_end_" + "x" * 100 in text
    assert not [line for line in screen.lines if re.match(r"(step|validation|check) \d", line)]
    shown = [moment for moment in screen.moments if re.match(r"step \d+/", moment)]
    assert {f"step {done}/6" for done in range(1, 7)} <= {" ".join(each.split()[:2]) for each in shown}
    assert all(re.fullmatch(r"step .* [\d:]+:\d\d(<[\d:]+:\d\d)?", each) for each in shown)  # whole, however slow


def test_an_error_leaves_no_line(tmp_path: Path) -> None:
    with screen_of(80) as screen, pytest.raises(ValueError, match="a fault"):
        with_line(tmp_path, Fails())

    assert not [line for line in screen.lines if line.startswith("step")]


def test_a_file_has_a_line_each_interval_and_each_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_line(tmp_path)

    lines = [line for line in capsys.readouterr().err.splitlines() if re.match("step|validation|check", line)]
    number = r"-?[\d.e+-]+"
    values = rf"loss {number}  margin {number}  accuracy {number}"
    held_out = rf"val_loss {number}  val_margin {number}  val_accuracy {number}"
    times = r"\d:\d\d(  \d:\d\d left)?"
    patterns = [
        rf"step 2/6  epoch 1/2  {values}  lr 0.001  {times}",
        rf"validation 2/2  {held_out}  {times}",
        rf"step 4/6  epoch 2/2  {values}  {held_out}  lr 0.001  {times}",
        rf"step 6/6  epoch 2/2  {values}  {held_out}  lr 0.001  {times}",
        rf"validation 2/2  {held_out}  {times}",
    ]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    assert f"val_loss {float(run.callback_metrics['val/loss']):.4g}" in lines[-1]


def test_values_that_are_not_asked_for_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(["loss"])
    trainer(enable_progress_bar=True, callbacks=[line]).fit(module(), datamodule=data(tmp_path))

    lines = capsys.readouterr().err
    assert re.search(r"step 3/3  epoch 1  loss \S+  lr 0.001", lines)
    assert "accuracy" not in lines


def test_values_are_read_at_the_interval_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them waits for the device."""
    read: list[int] = []
    values = pl.Trainer.progress_bar_metrics.fget  # type: ignore[attr-defined]

    def counted(self: pl.Trainer) -> Any:
        read.append(self.global_step)
        return values(self)

    monkeypatch.setattr(pl.Trainer, "progress_bar_metrics", property(counted))
    with_line(tmp_path, limit_val_batches=0, log_every_n_steps=3)

    assert read == [3, 6]


@pytest.mark.parametrize("loop", ["validate", "test", "predict"])
def test_evaluations_end_with_a_line_of_their_own(loop: str, tmp_path: Path) -> None:
    with screen_of(80) as screen:
        line: Any = [ProgressLine()]
        running = trainer(enable_progress_bar=True, callbacks=line)
        getattr(running, loop)(module(), datamodule=data(tmp_path, 12, test_split="train[:8]"))

    word = {"validate": "validation", "test": "test", "predict": "prediction"}[loop]
    assert any(moment.startswith(f"{word} 2/2") for moment in screen.moments)
    assert not [line for line in screen.lines if line.startswith(word)]


def test_what_forces_colours_makes_no_terminal_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with_line(tmp_path)

    assert "step 6/6" in written.getvalue()
    assert "\x1b" not in written.getvalue()


def test_a_check_before_the_run_is_counted_and_leaves_no_value(tmp_path: Path) -> None:
    with screen_of(80) as screen:
        line: Any = [ProgressLine()]
        running = trainer(enable_progress_bar=True, callbacks=line, num_sanity_val_steps=2, limit_train_batches=1)
        running.fit(module(), datamodule=data(tmp_path, 12))
        fitted = len(screen.moments)
        running.validate(module(), datamodule=data(tmp_path, 12))

    assert any(moment.startswith("check 1/2") for moment in screen.moments)
    assert "val_" not in next(moment for moment in screen.moments if moment.startswith("step "))
    validated = [moment for moment in screen.moments[fitted:] if moment.startswith("validation ")]
    assert validated
    assert not [moment for moment in validated if "loss" in moment or "epoch" in moment]


def test_other_ranks_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    line.disable()
    trainer(enable_progress_bar=True, callbacks=[line]).fit(module(), datamodule=data(tmp_path))

    assert not [each for each in capsys.readouterr().err.splitlines() if each.startswith("step")]


def test_a_stream_that_is_no_terminal_gets_no_control_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with_line(tmp_path)

    assert "step 6/6" in written.getvalue()
    assert "\x1b" not in written.getvalue()
    assert "\r" not in written.getvalue()
