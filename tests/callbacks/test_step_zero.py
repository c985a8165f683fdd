"""A run whose policy is not its reference must not start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from dpo_lightning import (
    DPO,
    KTO,
    NCA,
    SPPO,
    AdapterOff,
    FrozenAdapter,
    FrozenCopy,
    LoRA,
    PairScores,
    Precomputed,
    UnpairedScores,
)
from dpo_lightning.callbacks import StepZeroCheck
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.training.examples import comparison_of
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama


class NoisyRouter(nn.Module):
    """Adds noise to embeddings in train mode, as PhiMoE's router does to its input."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of, self.router_jitter_noise, self.input_jitter_noise = of, 0.5, 0.0

    def forward(self, *args):
        found = self.of(*args)
        return found + self.router_jitter_noise * torch.randn_like(found) if self.training else found


def test_noise_of_routers_is_named(tmp_path):
    model = tiny_llama()
    model.model.norm = NoisyRouter(model.model.norm)
    with pytest.raises(RunError, match=r"random part of it is active: its routers have router_jitter_noise, which"):
        trainer().fit(module(model), data(tmp_path))


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


def test_a_steep_objective_starts_where_rounding_alone_differs(tmp_path):
    # SPPO's slope is 1000 a nat, at a loss of 500,000: in bfloat16, batches of other shapes round otherwise.
    name, cache = saved_model(tmp_path / "model"), Precomputed(cache_dir=str(tmp_path / "cache"))
    run = trainer(max_steps=1, precision="bf16-true")
    pairs = data(tmp_path, 64, layout="padded")
    run.fit(module(name, objective=SPPO(), reference=cache), pairs)
    assert run.global_step == 1


@pytest.mark.parametrize("objective", [DPO(), NCA(), SPPO(), KTO()], ids=str)
def test_what_the_objective_makes_of_a_log_ratio_does_not_matter(objective):
    # A reference that is a nat off, on both completions, and of each completion alone.
    logps = torch.tensor([-3.0, -4.0])
    pair = PairScores(logps, logps, logps - 1, logps - 1, *torch.ones(2, 2, dtype=torch.int64))
    single = UnpairedScores(logps, logps - 1, torch.ones(2, dtype=torch.int64), torch.tensor([True, False]))
    scores = single if isinstance(objective, KTO) else pair
    assert comparison_of(objective).logratios(scores).abs().max() == 1 > StepZeroCheck().tolerance


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


class OtherInTraining(torch.nn.Module):
    def forward(self, hidden):
        return hidden * 3 if self.training else hidden


def test_a_layer_that_computes_otherwise_in_training_is_not_called_dropout(tmp_path):
    policy, other = tiny_llama(), tiny_llama()
    policy.model.norm = torch.nn.Sequential(policy.model.norm, OtherInTraining())
    other.model.norm = torch.nn.Sequential(other.model.norm, torch.nn.Identity())
    with pytest.raises(RunError, match="nothing is random: a layer of the policy computes otherwise in train mode"):
        trainer().fit(module(policy, reference=other), data(tmp_path))


@dataclass(frozen=True)
class Both(DPO):
    def __call__(self, scores):
        return super().__call__(scores), scores


def test_a_loss_that_is_none_of_each_example_is_refused_here_already(tmp_path):
    with pytest.raises(InputError, match=r"^the loss of a micro-batch with 4 examples is a tuple: return the loss of"):
        trainer(max_steps=1).fit(module(objective=Both()), data(tmp_path, val_split=None))


def test_an_adapter_that_is_a_no_op_is_not_blamed():
    policy = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
    assert "second matrices are all 0" in AdapterOff().bind(policy).diagnose()
    assert "adapter equals the reference's copy" in FrozenAdapter().bind(policy).diagnose()


def test_a_second_fit_says_that_the_module_was_trained(tmp_path: Path) -> None:
    model = module(optimizer=partial(torch.optim.SGD, lr=100.0))
    trainer(max_steps=2).fit(model, data(tmp_path))
    with pytest.raises(RunError, match="the module was trained before, by an earlier fit"):
        trainer(max_steps=2).fit(model, data(tmp_path))
