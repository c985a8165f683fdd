"""The loaders of a DataModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer


def test_a_loader_beside_the_pairs_has_the_seeds_order_of_the_epoch(tmp_path):
    source = data(tmp_path, seed=3)
    loader = source.loader_beside(torch.arange(10), 4)
    first = [batch.tolist() for batch in loader]
    assert sorted(number for batch in first for number in batch) == list(range(10))
    assert [batch.tolist() for batch in loader] == first
    loader.sampler.set_epoch(1)
    assert [batch.tolist() for batch in loader] != first
    in_order = source.loader_beside(["a", "b", "c"], 2, "".join, shuffle=False)
    assert list(in_order) == ["ab", "c"]
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        source.loader_beside([1], 0)


def test_named_sets_are_a_dict_of_loaders(tmp_path):
    source = data(tmp_path, val_split={"a": "train[:4]", "b": "train[4:9]"})
    source.setup("fit")
    assert {name: len(loader) for name, loader in source.val_dataloader().items()} == {"a": 1, "b": 2}
    assert source.test_dataloader().keys() == {"a", "b"}
    assert len(source.examples("val")) == 9
    with pytest.raises(InputError, match=r"there are no val/c pairs: set data\.val_split"):
        source.examples("val/c")


def test_loaders_looked_at_after_a_fit_yield_their_batches(tmp_path: Path) -> None:
    """Before, during and after: whoever looks gets all batches, and the run goes on where it was."""
    source, run = data(tmp_path), trainer(max_epochs=2, max_steps=-1, callbacks=[Looks()])
    assert repr(source).endswith("pairs.jsonl: not read yet; batch_pairs=4, layout=auto)")
    run.fit(module(), source)

    assert run.global_step == 12
    for loader in (source.train_dataloader(), run.train_dataloader, source.train_dataloader()):
        assert len(list(loader)) == len(loader) == 6
        assert len(list(loader)) == 6
    assert str(source).endswith("pairs.jsonl: train 24, val 8; batch_pairs=4, layout=auto)")
    run.validate(module(), source, verbose=False)
    assert len(list(source.train_dataloader())) == 6


def test_a_stream_that_is_looked_at_after_a_fit_leaves_its_position_alone(tmp_path: Path) -> None:
    source = data(tmp_path, streaming=True, val_split=None, shuffle_buffer=1)
    run = trainer(max_steps=3)
    run.fit(module(), source)
    before = source.state_dict()["stream"]
    assert before

    assert len(list(source.train_dataloader())) == len(list(run.train_dataloader)) == 6
    assert source.state_dict()["stream"] == before


class Looks(pl.Callback):
    """Looks at a loader of its own in the middle of an epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            assert len(list(trainer.datamodule.val_dataloader())) == 2
