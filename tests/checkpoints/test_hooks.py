"""What Lightning calls on a module when a checkpoint is written or read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import DPO, LoRA, PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import Losses, data, fit, module, saved_model, trainer


def checkpointed(path: Path, model: PreferenceModule, step: int) -> Path:
    """The checkpoint that a run writes after an optimizer step."""
    saving = ModelCheckpoint(dirpath=path / "checkpoints", every_n_train_steps=step, save_top_k=-1, filename="{step}")
    fit(path, model, callbacks=[saving], max_steps=step, enable_checkpointing=True)
    return path / "checkpoints" / f"step={step}.ckpt"


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_checkpoint_holds_the_trainable_parameters_and_resumes_strictly(tmp_path, lora):
    model = module(lora=lora, lr=1e-2)
    path = checkpointed(tmp_path, model, step=4)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert set(saved) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(("lora_" in name) == (lora is not None) for name in saved)

    _, straight = fit(tmp_path, module(lora=lora, lr=1e-2), max_steps=6)
    recorder = Losses()
    trainer(callbacks=[recorder], max_steps=6).fit(module(lora=lora, lr=1e-2), data(tmp_path), ckpt_path=str(path))
    assert recorder.losses == straight[4:]


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):
    path = checkpointed(tmp_path, module(lora=LoRA(r=4)), step=1)
    with pytest.raises(InputError, match=r"parameters are not this run's.*: give the policy and the `lora` of that"):
        trainer(max_steps=2).fit(module(), data(tmp_path), ckpt_path=str(path))


def test_load_from_checkpoint_rebuilds_objective_and_adapter(tmp_path):
    name = saved_model(tmp_path / "model")
    model = module(name, objective=DPO(beta=0.3), lora=LoRA(r=4), lr=1e-2)
    loaded = PreferenceModule.load_from_checkpoint(checkpointed(tmp_path, model, step=3))
    assert loaded.objective == DPO(beta=0.3)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
