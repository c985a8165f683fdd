"""A run whose policy is not its reference must not start."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_lightning import AdapterOff, FrozenCopy, LoRA
from dpo_lightning.callbacks import StepZeroCheck
from dpo_lightning.errors import RunError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama


def test_active_dropout_is_diagnosed(tmp_path):
    model = module(tiny_llama(attention_dropout=0.5), dropout=True)
    with pytest.raises(RunError, match=r"loss 0\.\d+ instead of 0\.6931.*dropout or another random part"):
        trainer().fit(model, data(tmp_path))


def test_another_checkpoint_is_diagnosed(tmp_path):
    other = tiny_llama(seed=1)
    other.save_pretrained(tmp_path / "other")
    model = module(saved_model(tmp_path / "model"), reference=FrozenCopy(str(tmp_path / "other")))
    with pytest.raises(RunError, match="other' has other weights than the policy"):
        trainer().fit(model, data(tmp_path))


def test_an_equal_checkpoint_passes(tmp_path):
    name = saved_model(tmp_path / "model")
    run = trainer(max_steps=1)
    run.fit(module(name, reference=FrozenCopy(name)), data(tmp_path))
    assert run.global_step == 1


def test_a_trained_adapter_against_the_base_is_diagnosed(tmp_path):
    policy = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    with pytest.raises(RunError, match="the adapter changes the policy before it was trained here"):
        trainer().fit(module(policy, reference=AdapterOff()), data(tmp_path))


def test_it_can_be_switched_off_by_name(tmp_path):
    model = module(tiny_llama(attention_dropout=0.5), dropout=True, step_zero_check=False)
    run = trainer(max_steps=1)
    run.fit(model, data(tmp_path))
    assert run.global_step == 1
    assert not any(isinstance(callback, StepZeroCheck) for callback in run.callbacks)


def test_a_check_of_the_trainer_replaces_the_modules_own(tmp_path):
    own = StepZeroCheck(tolerance=math.inf)
    run = trainer(max_steps=1, callbacks=[own])
    run.fit(module(tiny_llama(attention_dropout=0.5), dropout=True), data(tmp_path))
    assert [callback for callback in run.callbacks if isinstance(callback, StepZeroCheck)] == [own]


def test_the_check_leaves_the_random_state_alone(tmp_path):
    def losses(check: bool) -> list[float]:
        seen = []
        torch.manual_seed(3)
        model = module(lora=LoRA(r=2, dropout=0.5), step_zero_check=check)
        model.on_train_batch_end = lambda outputs, batch, index: seen.append(outputs["loss"].item())
        run = trainer(max_steps=3)
        torch.manual_seed(3)
        run.fit(model, data(tmp_path))
        return seen

    assert losses(check=True) == losses(check=False)
