"""The Trainer of a module, where there is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.errors import InputError
from dpo_lightning.utils.trainers import attached_trainer, is_fitting, is_running, saves_on_exception
from tests.helpers.runs import data, module, trainer


def test_a_module_by_itself_has_none() -> None:
    assert attached_trainer(module()) is None


def test_a_running_one_has_its_own(tmp_path: Path) -> None:
    seen: list[pl.Trainer | None] = []

    class Asks(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(attached_trainer(pl_module))

    run = trainer(max_steps=1, callbacks=[Asks()])
    model = module()
    run.fit(model, data(tmp_path))

    assert seen == [run]
    assert attached_trainer(model) is run


def test_a_callback_that_freezes_a_backbone_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^BackboneFinetuning freezes the module `backbone`, which Pref"):
        trainer(max_steps=1, callbacks=[BackboneFinetuning()]).fit(module(), data(tmp_path))


def test_who_saves_on_an_exception_is_known(tmp_path: Path) -> None:
    for saver in (OnExceptionCheckpoint(tmp_path), ModelCheckpoint(save_on_exception=True)):
        assert saves_on_exception(trainer(callbacks=[saver], enable_checkpointing=True))
    assert not saves_on_exception(trainer(callbacks=[ModelCheckpoint()], enable_checkpointing=True))


def test_only_a_fit_trains_on():
    assert not is_fitting(None)
    assert is_fitting(SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING)))


def test_a_trainer_runs_in_the_middle_of_a_run_alone(tmp_path: Path) -> None:
    asked: list[bool] = []

    class Asks(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            asked.append(is_running(trainer))

    run = trainer(max_steps=1, callbacks=[Asks()])
    assert not is_running(run)
    run.fit(module(), data(tmp_path))
    assert asked == [True]
    assert not is_running(run)
