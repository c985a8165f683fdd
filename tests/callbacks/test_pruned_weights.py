"""Pruned weights of a run that goes on; with `ModelPruning` in tests/plugin/test_optimizers.py."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import ModelPruning

from dpo_lightning.callbacks.pruned_weights import PrunedWeights
from tests.helpers.runs import data, module, trainer


def test_a_run_that_no_longer_prunes_is_told_and_one_that_never_did_holds_nothing(tmp_path):
    rows = data(tmp_path)
    first = trainer(callbacks=[ModelPruning("l1_unstructured", amount=0.2)], max_steps=8)
    first.fit(module(), rows)
    first.save_checkpoint(tmp_path / "a.ckpt")
    assert "PrunedWeights" in torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]
    second = trainer(max_steps=9)
    with pytest.warns(UserWarning, match="this one has none: what was pruned grows again"):
        second.fit(module(), rows, ckpt_path=str(tmp_path / "a.ckpt"))
    assert PrunedWeights().state_dict() == {}
    second.save_checkpoint(tmp_path / "b.ckpt")
    assert "PrunedWeights" not in torch.load(tmp_path / "b.ckpt", weights_only=True)["callbacks"]
