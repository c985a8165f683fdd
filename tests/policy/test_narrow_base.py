"""Frozen weights in the dtype of mixed precision: the same numbers, in half the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.adapters import merge_adapter, take_out_adapters
from dpo_lightning.policy.lora import LoRA, add_lora, with_fast_adapters
from dpo_lightning.policy.narrow_base import NarrowLinear, hold_as_before, hold_narrow
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference import FrozenAdapter
from tests.helpers.tiny import tiny_llama
from tests.policy.common import BATCH, logits


def adapted(precision: str | None = None, *, rounded: bool = True, lora: LoRA = LoRA(r=2), **settings: Any) -> Any:  # noqa: B008
    """A Llama with values of bfloat16 in float32, as one loaded from a usual checkpoint."""
    model = tiny_llama(**settings)
    if rounded:
        model.bfloat16().float()
    policy = add_lora(model, lora)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return policy if precision is None else with_fast_adapters(policy, precision)


def narrow(policy: nn.Module) -> list[nn.Module]:
    return [each for each in policy.modules() if isinstance(each, NarrowLinear)]


def test_linears_are_held_so_and_the_rest_stays() -> None:
    policy = adapted("bf16-mixed")
    dtypes = {name: parameter.dtype for name, parameter in policy.named_parameters()}

    assert len(narrow(policy)) == 2 * 7
    assert {dtype for name, dtype in dtypes.items() if "base_layer" in name} == {torch.bfloat16}
    others = {dtype for name, dtype in dtypes.items() if "base_layer" not in name}
    assert others == {torch.float32}  # adapters, norms, embeddings, head


@pytest.mark.parametrize("mixed", [True, False], ids=["autocast", "float32"])
def test_gives_the_same_numbers_to_the_last_bit(mixed: bool) -> None:
    policy, other = adapted("bf16-mixed"), adapted()
    with_fast_adapters(other, "32-true")
    assert not narrow(other)

    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        assert torch.equal(logits(policy), logits(other))
        with policy.disable_adapter(), other.disable_adapter():
            assert torch.equal(logits(policy), logits(other))


@pytest.mark.parametrize(
    ("precision", "settings", "count"),
    [
        ("bf16-mixed", {"rounded": False}, 0),
        ("bf16-mixed", {"tie_word_embeddings": True}, 14),
        ("bf16-mixed", {"lora": LoRA(r=2, modules_to_save=["lm_head"])}, 14),
        ("bf16-mixed", {"lora": LoRA(r=2, target_modules=["q_proj"])}, 2),
        ("32-true", {}, 0),
        ("bf16-true", {}, 0),
    ],
    ids=["finer values", "tied head", "trained head", "one layer", "float32", "true"],
)
def test_what_stays_as_it_is(precision: str, settings: dict[str, Any], count: int) -> None:
    assert len(narrow(adapted(precision, **settings))) == count


def test_float16_has_not_all_values_of_bfloat16() -> None:
    policy = adapted()
    policy.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.data[1, 2] = 1e-30
    assert hold_narrow(policy, "16-mixed") < 14
    assert not isinstance(policy.base_model.model.model.layers[0].mlp.up_proj.base_layer, NarrowLinear)


def test_merging_and_taking_out_leave_plain_float32() -> None:
    policy, other = adapted("bf16-mixed"), adapted()
    merged = merge_adapter(policy)

    assert len(narrow(policy)) == 14
    assert not narrow(merged)
    expected = merge_adapter(other).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in merged.state_dict().items())
    base = policy.get_base_model()
    assert take_out_adapters(base)
    assert not narrow(base)
    assert {parameter.dtype for parameter in base.parameters()} == {torch.float32}


def test_can_be_held_so_again() -> None:
    policy = adapted("bf16-mixed")
    weight = policy.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight
    policy.float()
    assert hold_narrow(policy, "bf16-mixed") == 14
    assert policy.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight is weight
    hold_as_before(policy)
    assert not narrow(policy)


def test_a_copy_of_the_adapter_has_its_dtype_and_its_numbers() -> None:
    policy = adapted("bf16-mixed")
    reference = FrozenAdapter().bind(policy)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(reference.token_logps(BATCH), TokenScorer(policy)(BATCH).logps)
    copied = {parameter.dtype for name, parameter in policy.named_parameters() if ".reference." in name}
    assert copied == {torch.float32}


@pytest.mark.parametrize("products_kept", [False, True])
def test_who_merges_by_hand_gets_finer_values(products_kept: bool) -> None:
    policy = with_fast_adapters(adapted(), "bf16-mixed", products_kept=products_kept)
    layer = policy.base_model.model.model.layers[0].mlp.up_proj
    expected = layer.base_layer.weight.float() + layer.get_delta_weight("default")
    merged = policy.merge_and_unload()
    assert not narrow(merged)
    assert torch.equal(merged.model.layers[0].mlp.up_proj.weight, expected)


def test_who_merges_in_a_dtype_of_their_own_keeps_it() -> None:
    merged = adapted("bf16-mixed").bfloat16().merge_and_unload()
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_a_later_run_begins_with_the_base_as_it_was() -> None:
    policy = build_policy(adapted("bf16-mixed"), torch.float32, PolicyOptions())
    assert not narrow(policy)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
