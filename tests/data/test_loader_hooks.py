"""The loaders of a DataModule."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.errors import InputError
from tests.helpers.runs import data


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
