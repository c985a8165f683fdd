"""Lightning writes, finds and loads checkpoints through the doors that we put there."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy

from dpo_lightning.compat.lightning_checkpoints import (
    FindsLast,
    datamodule_key,
    dump_checkpoint,
    intercept_loading,
    save_again,
    save_nothing,
    writes_shards,
)
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer


def test_the_last_checkpoint_is_asked_of_the_callback(tmp_path: Path) -> None:
    class Finds(FindsLast):
        def last_checkpoint(self, trainer: pl.Trainer) -> Path | None:
            return tmp_path / "here.ckpt"

    (tmp_path / "here.ckpt").write_text("no checkpoint")
    fit = trainer(callbacks=[Finds(tmp_path / "saved")], enable_checkpointing=True)
    with pytest.raises(InputError, match=r"here.ckpt: it is no whole torch checkpoint"):
        fit.fit(module(), data(tmp_path), ckpt_path="last")
    assert ModelCheckpoint(tmp_path)._find_last_checkpoints(trainer()) == set()


def test_saving_is_put_off_and_on_again(tmp_path: Path) -> None:
    fit = trainer(max_steps=1)
    fit.fit(module(), data(tmp_path))
    save_nothing(fit, "a reason")
    with pytest.warns(UserWarning, match=r"no checkpoint .*saved.ckpt: a reason"):
        fit.save_checkpoint(tmp_path / "saved.ckpt")
    assert not (tmp_path / "saved.ckpt").exists()
    save_again(fit)
    fit.save_checkpoint(tmp_path / "saved.ckpt")
    assert (tmp_path / "saved.ckpt").exists()


def test_a_dumped_checkpoint_is_the_saved_one(tmp_path: Path) -> None:
    fit = trainer(max_steps=1)
    fit.fit(module(), data(tmp_path))
    fit.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert dump_checkpoint(fit).keys() == saved.keys()
    assert datamodule_key(fit.datamodule) in saved


@pytest.mark.parametrize("shards", [True, False])
def test_a_strategy_that_shards_is_known(shards: bool) -> None:
    assert writes_shards(ModelParallelStrategy(save_distributed_checkpoint=shards)) is shards
    assert not writes_shards(trainer().strategy)


def test_loading_goes_through_what_is_put_around_it_once() -> None:
    strategy, seen = trainer().strategy, []
    for _ in range(2):
        intercept_loading(strategy, lambda load, path, **options: seen.append((path, options)))
    strategy.load_checkpoint("a.ckpt", weights_only=True)
    assert seen == [("a.ckpt", {"weights_only": True})]
