"""Which parameters decay, and how long the gradient is."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, AdamW, Muon, SparseAdam

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.training.parameters import decay_groups, make_optimizer
from tests.helpers.tiny import tiny_llama
from tools.docs.architecture_models import tiny_model


def names(module: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    chosen = {id(parameter) for parameter in parameters}
    return {name for name, parameter in module.named_parameters() if id(parameter) in chosen}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi", "gpt_oss", "mamba"])
def test_norms_and_biases_do_not_decay(architecture: str) -> None:
    model = tiny_model(architecture)
    decayed, kept = decay_groups(model)
    not_decayed = names(model, kept["params"])

    assert kept["weight_decay"] == 0.0
    assert "weight_decay" not in decayed
    for name, parameter in model.named_parameters():
        exempt = "norm" in name or "ln_" in name or name.endswith("bias") or parameter.ndim < 2
        assert (name in not_decayed) == exempt, name
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_biases_of_stacked_experts_are_biases() -> None:
    model = tiny_model("gpt_oss")
    stacked = [name for name, p in model.named_parameters() if p.ndim == 2 and name.endswith("bias")]

    assert stacked
    assert names(model, decay_groups(model)[1]["params"]) >= set(stacked)


def test_the_optimizers_own_decay_reaches_matrices_only() -> None:
    linear = nn.Linear(2, 2)
    nn.init.ones_(linear.weight)
    nn.init.ones_(linear.bias)
    optimizer = AdamW(decay_groups(linear), lr=0.1, weight_decay=0.5)
    linear.weight.grad, linear.bias.grad = torch.zeros(2, 2), torch.zeros(2)

    optimizer.step()

    # 1 - lr x weight decay = 0.95.
    assert linear.weight.flatten().tolist() == pytest.approx([0.95] * 4)
    assert linear.bias.tolist() == [1.0, 1.0]


def test_only_trainable_parameters() -> None:
    policy = build_policy(tiny_llama(), torch.float32, PolicyOptions(lora=LoRA(r=2, use_dora=True)))
    groups = decay_groups(policy)
    trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}

    assert names(policy, [p for group in groups for p in group["params"]]) == trainable
    assert all("magnitude" in name for name in names(policy, groups[1]["params"]))


def test_no_empty_group() -> None:
    assert len(decay_groups(nn.Linear(2, 2, bias=False))) == 1
    assert len(decay_groups(nn.LayerNorm(2))) == 1


def test_nothing_to_train_is_said_so() -> None:
    with pytest.raises(InputError, match=r"^the policy has no trainable parameters: set `lora`"):
        decay_groups(tiny_llama().requires_grad_(False))


def test_an_optimizer_of_one_group_gets_one() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    made = make_optimizer(partial(LBFGS, lr=0.1), model)
    assert [len(group["params"]) for group in made.param_groups] == [4]
    assert len(make_optimizer(AdamW, model).param_groups) == 2

    def refuses(parameters: object) -> AdamW:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        make_optimizer(refuses, model)


@pytest.mark.parametrize("kind", [Muon, SparseAdam])
def test_an_optimizer_that_does_not_take_these_parameters_is_one_line(kind: type) -> None:
    with pytest.raises(InputError, match=r"^model\.optimizer: .*AdamW$") as caught:
        make_optimizer(kind, tiny_llama())
    assert "\n" not in str(caught.value)


def test_an_error_in_ones_own_maker_stays_what_it_is() -> None:
    def maker(_: object) -> torch.optim.Optimizer:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$") as caught:
        make_optimizer(maker, tiny_llama())
    assert not isinstance(caught.value, InputError)
