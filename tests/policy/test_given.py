"""A model that is given has its own settings back after the run, and those of the run in the next one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from dpo_lightning.batch import collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.given import GivenModel
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy, switched_settings
from tests.helpers.tiny import PAIRS, tiny_llama
from tools.docs.architecture_models import tiny_model

TREE = collate_tree(PAIRS)


def settings(model: nn.Module) -> list[Any]:
    return [getattr(holder, name) for holder, name in switched_settings(model)]


def gpt(**config: Any) -> Any:
    return tiny_model("gpt2", resid_pdrop=0.1, attn_pdrop=0.2, embd_pdrop=0.3, **config)


def llama() -> Any:
    model = tiny_llama(attention_dropout=0.1)
    model.model.norm = nn.Sequential(model.model.norm, nn.Dropout(0.2))
    return model


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("lora", [None, LoRA(r=2, dropout=0.5)], ids=["full", "lora"])
def test_dropout_cache_checkpointing_and_mode_come_back_and_are_switched_again(lora: Any, mode: bool) -> None:
    model = llama().train(mode)
    held, before = [*switched_settings(model)], settings(model)
    assert {0.1, 0.2, mode} <= {*before}
    given = GivenModel(model)
    options = PolicyOptions(lora, gradient_checkpointing=True)
    policy = given.prepare(partial(build_policy, model, torch.float32, options))
    during, whole = settings(model), settings(policy)
    assert not {0.1, 0.2} & {*during}

    for _ in range(2):
        given.give_back()
        assert [getattr(holder, name) for holder, name in held] == before
        assert all(module.training == mode for module in policy.modules())
        given.take_again()
        assert (settings(model), settings(policy)) == (during, whole)
    given.take_again()
    given.give_back()
    assert [getattr(holder, name) for holder, name in held] == before


def test_what_was_not_switched_is_left_as_others_leave_it() -> None:
    model = gpt()
    given = GivenModel(model)
    given.prepare(partial(build_policy, model, torch.float32, PolicyOptions(dropout=True)))
    given.give_back()
    model.transformer.drop.p = 0.7
    given.take_again()
    assert model.transformer.drop.p == 0.7
    model.transformer.drop.p = 0.6
    given.give_back()
    assert model.transformer.drop.p == 0.6


def test_a_model_that_cannot_be_prepared_is_as_it_was() -> None:
    model = gpt().eval()
    before, given = settings(model), GivenModel(model)
    options = PolicyOptions(LoRA(target_modules=["none"]))
    with pytest.raises(InputError, match="lora"):
        given.prepare(partial(build_policy, model, torch.float32, options))
    assert settings(model) == before


def test_new_adapters_are_taken_out_again() -> None:
    model = llama()
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()}
    given = GivenModel(model)
    build = partial(build_policy, model, torch.float32, PolicyOptions(LoRA(r=2, modules_to_save=["lm_head"])))
    given.prepare(build)
    given.give_back()

    assert given.take_out_adapters()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, (weight, required) in before.items():
        assert torch.equal(weight, after[name])
        assert after[name].requires_grad == required
    given.prepare(build)  # as new


def test_adapters_that_moved_the_weights_stay() -> None:
    model = llama()
    given = GivenModel(model)
    given.prepare(partial(build_policy, model, torch.float32, PolicyOptions(LoRA(r=2, init_lora_weights="pissa"))))

    assert not given.take_out_adapters()


def test_the_attention_is_its_own_again_after_a_tree() -> None:
    model = llama()
    given = GivenModel(model)
    policy = given.prepare(partial(build_policy, model, torch.float32, PolicyOptions()))
    scores = TokenScorer(policy)(TREE).logps
    for _ in range(2):
        given.give_back()
        assert model.config._attn_implementation == "sdpa"
        given.take_again()
        assert torch.equal(TokenScorer(policy)(TREE).logps, scores)
        assert model.config._attn_implementation == "tree_sdpa"
