"""Two runs cannot save into one directory with Lightning's `ModelCheckpoint`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import ResumableCheckpoint
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer


def plain(path: Path) -> ModelCheckpoint:
    return ModelCheckpoint(path / "saved", filename="{step}")


def resumable(path: Path) -> ModelCheckpoint:
    return ResumableCheckpoint(str(path / "saved"))


def fit(path: Path, *callbacks: pl.Callback) -> None:
    trainer(callbacks=list(callbacks), max_steps=1, enable_checkpointing=True).fit(module(), data(path))


class Beside(pl.Callback):
    """Starts another run into the same directory, in the middle of this one."""

    def __init__(self, path: Path, saver: Callable[[Path], ModelCheckpoint]) -> None:
        self.path, self.saver, self.said = path, saver, ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with pytest.raises(InputError) as refused:
            fit(self.path, self.saver(self.path))
        self.said = str(refused.value)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize(("first", "second"), [(plain, plain), (plain, resumable), (resumable, plain)])
def test_the_second_run_is_refused(tmp_path, first, second):
    beside = Beside(tmp_path, second)
    fit(tmp_path, first(tmp_path), beside)
    assert f"checkpoints {tmp_path / 'saved'}: another run is saving there" in beside.said


def test_two_callbacks_of_one_run_share_a_directory_and_leave_nothing_else(tmp_path):
    other = ModelCheckpoint(tmp_path / "saved", filename="other-{step}", every_n_train_steps=1)
    fit(tmp_path, plain(tmp_path), other)
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == ["other-step=1.ckpt", "step=1.ckpt"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_after_an_exception_another_run_may_save(tmp_path):
    class Fails(pl.Callback):
        def on_train_batch_end(self, *args: object) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fit(tmp_path, plain(tmp_path), Fails())
    fit(tmp_path, plain(tmp_path))
