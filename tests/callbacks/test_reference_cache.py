"""The cache is filled before the first batch, with the pairs of the command that runs."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning import FrozenCopy, Precomputed, PreferenceDataModule
from dpo_lightning.callbacks import ReferenceCache
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_tokenizer
from tests.reference.cache.filling import rows_on_disk


def test_it_brings_its_callback_and_others_do_not(tmp_path):
    for reference, expected in ((Precomputed(str(tmp_path)), 1), (None, 0)):
        run = trainer(max_steps=1)
        run.fit(module(reference=reference), data(tmp_path))
        assert sum(isinstance(callback, ReferenceCache) for callback in run.callbacks) == expected


def test_the_pairs_that_each_command_reads(tmp_path):
    source = data(tmp_path, train_split="train[:5]", val_split="train[5:8]", test_split="train[8:12]")
    source.prepare_data()
    read = {fn: list(map(len, source.examples_used(fn))) for fn in ("fit", "validate", "test", "predict")}
    assert read == {"fit": [5, 3], "validate": [3], "test": [4], "predict": [4]}
    without = PreferenceDataModule(source.dataset, tiny_tokenizer())
    without.prepare_data()
    assert list(map(len, without.examples_used("fit"))) == [24]


def test_test_and_predict(tmp_path):
    cache, name = tmp_path / "cache", saved_model(tmp_path / "model")
    source = {"test_split": "train[:6]"}
    for command in ("test", "predict"):
        found, expected = (
            getattr(trainer(), command)(module(name, reference=reference), data(tmp_path, **source))
            for reference in (Precomputed(str(cache)), FrozenCopy())
        )
        if command == "test":
            assert found[0] == pytest.approx(expected[0], abs=1e-5)
        else:
            assert torch.allclose(found[0]["margin"], expected[0]["margin"], atol=1e-5)
    assert len(rows_on_disk(cache)) == 6


def test_beside_another_reference_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="the module's reference is not Precomputed: leave the callback out"):
        trainer(callbacks=[ReferenceCache()]).fit(module(), data(tmp_path))
