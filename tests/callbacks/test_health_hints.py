"""Hints of a run: read when it logs, said once, written, and not repeated by a run that goes on."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.optim import AdamW
from torch.utils.data import DataLoader

from dpo_lightning import InputError, PreferenceModule
from dpo_lightning.callbacks import HealthHints, ResumableCheckpoint, health_hints
from dpo_lightning.report.record import RunRecord, add_row, read_rows
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama

STEPS = 68  # of 4 pairs: a hint takes 256 examples
STUCK: dict[str, Any] = {"lr": 1e-9}
pytestmark = pytest.mark.filterwarnings("ignore:learning rate 1e-09 is")


@contextmanager
def messages() -> Iterator[list[str]]:
    """The lines of hints that are told meanwhile."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(lambda record: bool(re.match("(warning|hint) [a-z-]+: ", record.getMessage())))
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(handler)
    yield told
    logger.removeHandler(handler)


def fit(path: Path, model: Any, ckpt_path: str | None = None, **settings: Any) -> tuple[pl.Trainer, list[str]]:
    runner = trainer(
        **{
            "max_steps": STEPS,
            "log_every_n_steps": 4,
            "logger": CSVLogger(str(path), name=None, version="run"),
            **settings,
        }
    )
    with messages() as told:
        runner.fit(model, data(path), ckpt_path=ckpt_path)
    return runner, told


def watching(runner: Any) -> HealthHints:
    return next(each for each in runner.callbacks if isinstance(each, HealthHints))


def test_a_run_that_does_not_move_is_told_once(tmp_path: Path) -> None:
    runner, said = fit(tmp_path, module(**STUCK))

    (line,) = said
    assert line.startswith("warning loss-stuck: loss 0.6931 is still that of the start, 0.6931, after 64 steps: raise")
    assert line.endswith("; see docs/reading-the-curves.md#loss-stuck")
    (row,) = read_rows(RunRecord(Path(runner.log_dir or "")).hints)
    assert (row["step"], row["name"], row["severity"]) == (64, "loss-stuck", "warning")
    assert row["text"] in line


def test_a_run_that_learns_has_none_and_leaves_no_file(tmp_path: Path) -> None:
    runner, said = fit(tmp_path, module(lr=1e-3))
    assert said == []
    assert not RunRecord(Path(runner.log_dir or "")).hints.exists()


def test_the_examples_that_are_held_out_are_counted(tmp_path: Path) -> None:
    runner, _ = fit(tmp_path, module(lr=1e-3), max_steps=6)
    assert watching(runner).held_out == 8


def test_ranks_that_share_a_model_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_hints, "from_all_ranks", lambda value: [value] * 4)
    monkeypatch.setattr(health_hints, "_examples", lambda *_: 8)
    monkeypatch.setattr(health_hints, "logs_this_step", lambda _: False)
    ranks = {"num_replicas": 2, "rank": 1}
    runner: Any = Mock(world_size=4, global_step=0, distributed_sampler_kwargs=ranks, sanity_checking=False)
    hints = HealthHints()
    hints.on_train_batch_end(runner, Foreign(), None, None, 0)
    hints.on_validation_start(runner, Foreign())
    hints.on_validation_batch_end(runner, Foreign(), None, None, 0)
    hints.on_validation_end(runner, Foreign())
    assert (hints.state_dict()["seen"], hints.held_out) == (16, 16)


def test_a_run_that_goes_on_does_not_repeat_them(tmp_path: Path) -> None:
    def go(on_from: str | None, version: str) -> tuple[pl.Trainer, list[str]]:
        saving = ResumableCheckpoint(str(tmp_path / "saved"), every_n_train_steps=STEPS)
        steps = STEPS if on_from is None else STEPS + 8
        logger = CSVLogger(str(tmp_path), name=None, version=version)
        checkpoints = {"callbacks": [saving], "enable_checkpointing": True, "logger": logger}
        return fit(tmp_path, module(**STUCK), on_from, max_steps=steps, **checkpoints)

    (first, said), (second, repeated) = go(None, "run"), go("last", "resumed")
    assert (len(said), repeated) == (1, [])
    assert second.global_step == STEPS + 8
    before, after = (watching(each).state_dict() for each in (first, second))
    assert [(row["step"], row["name"]) for row in after["given"]] == [(STEPS - 4, "loss-stuck")]
    assert read_rows(RunRecord(Path(second.log_dir or "")).hints) == after["given"]
    assert (before["seen"], after["seen"]) == (4 * STEPS, 4 * (STEPS + 8))
    assert before["start_loss"] == after["start_loss"] == pytest.approx(math.log(2))
    assert after["curves"]["train/loss"][: STEPS // 4] == before["curves"]["train/loss"]
    json.dumps(after)  # plain types, which a checkpoint can hold


def test_a_second_fit_begins_anew(tmp_path: Path) -> None:
    hints = HealthHints()
    _, first = fit(tmp_path, module(**STUCK), callbacks=[hints])
    _, second = fit(tmp_path, module(**STUCK), callbacks=[hints])
    assert (len(first), len(second)) == (1, 1)


def test_one_that_is_unwanted_is_left_out(tmp_path: Path) -> None:
    _, said = fit(tmp_path, module(**STUCK), callbacks=[HealthHints(without=["loss-stuck"])])
    assert said == []


@pytest.mark.parametrize(
    ("name", "line"), [("loss-stick", "did you mean `loss-stuck`"), ("x", "there are updates-lost")]
)
def test_an_unknown_name_is_refused(name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        HealthHints(without=[name])


def test_updates_below_the_precision_are_said_once_and_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner, said = fit(tmp_path, module(lr=1e-6), max_steps=4, precision="bf16-true")
    assert said == []
    assert caplog.text.count("too coarse") == 1  # by StartNotes
    (row,) = read_rows(RunRecord(Path(runner.log_dir or "")).hints)
    assert row["name"] == "updates-lost"
    assert row["text"].startswith(("9", "100%"))


def test_a_file_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record").write_text("in the way")
    with pytest.warns(UserWarning, match=r"hints.jsonl could not be written"):
        runner, said = fit(tmp_path, module(**STUCK))
    assert (len(said), runner.global_step) == (1, STEPS)


@pytest.mark.parametrize("barebones", [False, True])
def test_a_run_that_logs_nowhere_leaves_nothing(
    barebones: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = pl.Trainer(barebones=True, max_steps=STEPS, accelerator="cpu") if barebones else trainer(max_steps=STEPS)
    quiet.fit(module(**STUCK), data(tmp_path))
    assert not (tmp_path / "record").exists()


class Foreign(pl.LightningModule):
    """A module of somebody else, with batches of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).square().mean()
        self.log_dict({"train/loss": loss, "train/grad_norm": 100.0 ** (self.global_step / 10)})
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def test_a_foreign_module_has_the_hints_of_what_it_logs(tmp_path: Path) -> None:
    runner = trainer(max_steps=20, callbacks=[HealthHints()], logger=CSVLogger(str(tmp_path), name=None, version="run"))
    with messages() as told:
        runner.fit(Foreign(), DataLoader(torch.ones(40, 1), batch_size=2))
    assert [line.split(":")[0] for line in told] == ["warning gradient-grows"]


class Samples(pl.Callback):
    """Writes samples that have become longer, as SampleTable does."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        record, texts = RunRecord(Path(trainer.log_dir or "")), ["a b c"] * 16
        add_row(record.samples, {"step": 0, "prompt": "p", "policy": texts, "reference": texts})
        add_row(record.samples, {"step": 1, "prompt": "p", "policy": ["a b c d e f g"] * 16, "reference": texts})


def test_a_run_says_that_its_samples_drift(tmp_path: Path) -> None:
    few: dict[str, Any] = {"max_steps": 2, "log_every_n_steps": 1}
    _, said = fit(tmp_path, module(lr=1e-3), callbacks=[Samples()], **few)
    assert [line.split(":")[0] for line in said] == ["warning length-drift"]
    _, said = fit(tmp_path, module(lr=1e-3), **few)
    assert said == []  # those of the run before are no samples of this one


def test_every_run_has_it(tmp_path: Path) -> None:
    model = PreferenceModule(tiny_llama(), optimizer=partial(AdamW, lr=1e-3))
    runner, _ = fit(tmp_path, model, max_steps=1)
    assert watching(runner).without == []
