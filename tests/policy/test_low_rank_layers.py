"""PEFT's layers with products of our own: the same numbers, and PEFT's own forward where they are more than that."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy import low_rank_layers
from dpo_lightning.policy.low_rank_layers import JointLinear, multiply_jointly
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.policy.common import BATCH
from tests.policy.test_narrow_base import adapted


def plain_peft(policy: Any) -> Any:
    """Of a copy, with PEFT's own layers."""
    other = copy.deepcopy(policy)
    for layer in other.modules():
        if isinstance(layer, JointLinear):
            layer.__class__ = Linear
    return other


def logps_and_gradients(policy: nn.Module) -> dict[str, Tensor]:
    logps = TokenScorer(policy)(BATCH).logps
    (logps * torch.arange(len(logps)).sin()).sum().backward()
    found = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.grad is not None}
    policy.zero_grad()
    return {**found, "logps": logps.detach()}


def distance(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """The mean of the tensors' relative distances."""
    pairs = [(value.double(), others[name].double()) for name, value in some.items()]
    return sum(float((one - other).norm() / other.norm()) for one, other in pairs) / len(pairs)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each product was of."""
    seen: list[int] = []
    products = low_rank_layers.low_rank_products

    def counted(hidden: Tensor, layers: Any, dtype: torch.dtype) -> Any:
        seen.append(len(layers))
        return products(hidden, layers, dtype)

    monkeypatch.setattr(low_rank_layers, "low_rank_products", counted)
    return seen


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "autocast"])
def test_gives_what_peft_gives(mixed: bool, checkpointing: bool, calls: list[int]) -> None:
    policy = adapted("bf16-mixed" if mixed else "32-true").train()
    other = plain_peft(policy)
    if checkpointing:
        policy = build_policy(policy, torch.float32, PolicyOptions(gradient_checkpointing=True))
        multiply_jointly(policy)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        ours, pefts = logps_and_gradients(policy), logps_and_gradients(other)
    exact = logps_and_gradients(other.double())

    assert ours.keys() == pefts.keys() == exact.keys()
    assert all(each.dtype == torch.float32 for each in ours.values())
    assert distance(ours, exact) <= 1.2 * distance(pefts, exact) <= (0.1 if mixed else 1e-5)
    assert calls == [3, 1, 2, 1] * (len(calls) // 4) != []  # q k v, o, gate and up, down


def other_lora(**settings: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        model = nn.ModuleDict({"q_proj": nn.Linear(4, 6), "k_proj": nn.Linear(4, 6)})
        config = {"r": 2, "target_modules": ["q_proj", "k_proj"], "init_lora_weights": False, **settings}
        return get_peft_model(model, LoraConfig(**config))  # type: ignore[arg-type]

    return make


def hooked() -> nn.Module:
    policy = other_lora()()
    for each in policy.modules():
        if isinstance(each, Linear):
            each.lora_B["default"].register_forward_hook(lambda _, __, output: 2 * output)
    return policy


@pytest.mark.parametrize(
    ("make", "joint"),
    [
        (other_lora(), True),
        (other_lora(use_rslora=True), True),
        (other_lora(use_dora=True), False),
        (other_lora(lora_bias=True), False),
        (other_lora(lora_dropout=0.5), False),
        (other_lora(bias="lora_only"), False),
        (hooked, False),
    ],
    ids=["plain", "rslora", "dora", "bias of its own", "dropout", "trained bias", "hook"],
)
def test_what_is_no_plain_lora_takes_pefts_forward(
    make: Callable[[], nn.Module], joint: bool, calls: list[int]
) -> None:
    policy: Any = make().train()
    other = copy.deepcopy(policy)
    assert multiply_jointly(policy) == 2
    hidden = torch.randn(3, 4)
    for name in ("q_proj", "k_proj"):
        found = []
        for each in (policy, other):
            torch.manual_seed(1)
            found.append(each.base_model.model[name](hidden))
        torch.testing.assert_close(found[0], found[1])

    assert calls == ([2] if joint else [])


def test_another_input_scale_or_adapter_between_siblings_is_seen() -> None:
    policy: Any = other_lora()()
    policy.add_adapter("second", policy.peft_config["default"])
    other = copy.deepcopy(policy)
    multiply_jointly(policy)
    ours, theirs = (each.base_model.model for each in (policy, other))
    hidden, another = torch.randn(3, 4), torch.randn(3, 4)

    def agree(name: str, value: Tensor) -> None:
        torch.testing.assert_close(ours[name](value), theirs[name](value))

    agree("q_proj", hidden)
    agree("k_proj", another)
    agree("q_proj", hidden)
    hidden.mul_(3)
    agree("k_proj", hidden)
    agree("q_proj", hidden)
    for each in (policy, other):
        each.set_adapter("second")
    agree("k_proj", hidden)
    with policy.disable_adapter(), other.disable_adapter():
        agree("q_proj", hidden)
    with torch.no_grad():
        agree("q_proj", hidden)
    with torch.inference_mode():
        agree("q_proj", torch.randn(3, 4))
    agree("k_proj", hidden)
    assert ours["k_proj"](hidden).requires_grad


def test_other_weights_between_siblings_are_seen() -> None:
    policy: Any = other_lora()()
    other = copy.deepcopy(policy)
    multiply_jointly(policy)
    ours, theirs = (each.base_model.model for each in (policy, other))
    hidden = torch.randn(3, 4)
    for change in (
        lambda layer: layer.lora_B["default"].weight.add_(1.0),
        lambda layer: layer.lora_A["default"].weight.mul_(2.0),
        lambda layer: layer.base_layer.weight.neg_(),
        lambda layer: layer.set_scale("default", 3.0),
    ):
        ours["q_proj"](hidden)
        before = theirs["k_proj"](hidden)
        with torch.no_grad():
            for each in (ours, theirs):
                change(each["k_proj"])
        assert not torch.allclose(theirs["k_proj"](hidden), before)
        torch.testing.assert_close(ours["k_proj"](hidden), theirs["k_proj"](hidden))


def test_a_copy_and_a_pickle_hold_no_results_and_have_siblings_of_their_own() -> None:
    policy: Any = other_lora()()
    multiply_jointly(policy)
    layers = policy.base_model.model
    expected = layers["q_proj"](torch.ones(1, 4))  # k_proj's waits
    for again in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        copied = again.base_model.model
        assert copied["q_proj"].siblings is copied["k_proj"].siblings is not layers["q_proj"].siblings
        assert copied["q_proj"].siblings.layers[0] is copied["q_proj"]
        assert torch.equal(copied["q_proj"](torch.ones(1, 4)), expected)
