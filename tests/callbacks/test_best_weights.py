"""The weights of the best checkpoint, and who knows which it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from dpo_lightning.callbacks.best_weights import best_weights, monitoring_checkpoint, weights_replaced
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer
from tests.helpers.shards import write_shards


def with_callbacks(*callbacks: Any) -> Any:
    return SimpleNamespace(checkpoint_callbacks=list(callbacks))


def test_the_one_with_a_monitor_knows() -> None:
    keep = ModelCheckpoint("kept", monitor="val/loss")
    assert monitoring_checkpoint(with_callbacks(ModelCheckpoint("all"), keep)) is keep


@pytest.mark.parametrize(
    ("callbacks", "there"),
    [
        ([], "none of them does"),
        ([ModelCheckpoint("all")], "none of them does"),
        ([ModelCheckpoint("none", monitor="val/loss", save_top_k=0)], "none of them does"),
        ([ModelCheckpoint("a", monitor="x"), ModelCheckpoint("b", monitor="y")], "2 of them do"),
    ],
)
def test_without_exactly_one_it_is_refused(callbacks: list[Any], there: str) -> None:
    with pytest.raises(InputError, match=f"one ModelCheckpoint with a monitor says .*, and {there}: set its monitor"):
        monitoring_checkpoint(with_callbacks(*callbacks))


def test_a_file_and_shards_hold_the_same(tmp_path) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", monitor="train/loss", every_n_train_steps=1, save_top_k=1)
    model = module(lr=1e-2)
    run = trainer(callbacks=[keep], enable_checkpointing=True, max_steps=2)
    run.fit(model, data(tmp_path))

    found, step = best_weights(run)
    keep.best_model_path = str(write_shards(torch.load(keep.best_model_path, weights_only=True), tmp_path / "shards"))
    again, same_step = best_weights(run)

    saved = torch.load(tmp_path / "kept" / f"epoch=0-step={step}.ckpt", weights_only=True)
    assert saved["global_step"] == step == same_step
    assert found.keys() == dict(model.policy.named_parameters()).keys()
    assert all(torch.equal(again[name], value) for name, value in found.items())


def test_where_none_was_saved_it_says_so() -> None:
    with pytest.raises(InputError, match="no checkpoint was saved with the metric that is monitored"):
        best_weights(with_callbacks(ModelCheckpoint("kept", monitor="val/loss")))


def test_weights_are_replaced_inside_the_block_only() -> None:
    policy = nn.Linear(2, 2)
    before = policy.weight.detach().clone()
    state = {name: torch.ones_like(value) for name, value in policy.named_parameters()}
    with weights_replaced(policy, state):
        assert policy.weight.eq(1).all()
    assert torch.equal(policy.weight, before)
    with weights_replaced(policy, {}):
        assert torch.equal(policy.weight, before)


def test_weights_of_another_policy_are_refused() -> None:
    policy = nn.Linear(2, 2)
    with pytest.raises(InputError, match="the best checkpoint lacks bias"):
        weights_replaced(policy, {"weight": policy.weight}).__enter__()
