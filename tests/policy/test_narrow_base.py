"""Frozen weights in the dtype of mixed precision: the same numbers, in half the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.adapters import merge_adapter, take_out_adapters
from dpo_lightning.policy.lora import LoRA, add_lora, with_fast_adapters
from dpo_lightning.policy.narrow_base import hold_as_before, hold_copy_narrow, hold_narrow, linear_weights
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference import FrozenAdapter
from dpo_lightning.utils.narrow_linear import NarrowLinear
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


def frozen(name: str) -> Any:
    """A small model of an architecture, with values that are not of half precision."""
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 320}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    kind: Any = {
        "phi": transformers.PhiConfig,
        "qwen2": transformers.Qwen2Config,
        "mixtral": transformers.MixtralConfig,
    }
    torch.manual_seed(0)
    if name == "llama":
        model: Any = tiny_llama()
    elif name == "tied":
        model = tiny_llama(tie_word_embeddings=True)
    elif name == "gpt2":
        config = transformers.GPT2Config(vocab_size=320, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=False)
        model = transformers.GPT2LMHeadModel(config)
    else:
        model = transformers.AutoModelForCausalLM.from_config(kind[name](**sizes, **heads))
    for each in model.parameters():
        if each.ndim == 1:
            each.data.normal_(1.0, 0.1)  # biases that are not 0
    return model.eval().requires_grad_(False)


GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "count"),
    [("llama", 15), ("tied", 14), ("gpt2", 1), ("qwen2", 15), ("phi", 13), ("mixtral", 9)],
)
def test_a_copy_gives_the_same_log_probs_to_the_last_bit(name: str, count: int) -> None:
    model, copied = frozen(name), frozen(name)
    assert hold_copy_narrow(copied, "32-true", GPU) == hold_copy_narrow(copied, "bf16-true", GPU) == 0
    for precision, dtype in (("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)):
        assert hold_copy_narrow(copied, precision, GPU) == count
        assert linear_weights(model) >= sum(each.numel() for each in copied.parameters() if each.dtype == dtype) > 0
        for mixed in (True, False):
            with torch.autocast("cpu", dtype, enabled=mixed), torch.no_grad():
                assert torch.equal(TokenScorer(copied)(BATCH).logps, TokenScorer(model)(BATCH).logps)
                assert torch.equal(logits(copied), logits(model))
        hold_as_before(copied)
        held = copied.state_dict()
        assert all(torch.equal(value, held[key]) for key, value in model.state_dict().items())
        assert {value.dtype for value in held.values()} == {torch.float32}


def test_a_copy_holds_half_the_bytes() -> None:
    model = frozen("llama")
    linears = sum(each.weight.nbytes for each in model.modules() if isinstance(each, nn.Linear))
    total = sum(each.nbytes for each in model.parameters())
    hold_copy_narrow(model, "bf16-mixed", GPU)
    assert sum(each.nbytes for each in model.parameters()) == total - linears // 2
    assert model.model.embed_tokens.weight.dtype == torch.float32


def test_on_a_cpu_a_copy_is_narrow_where_nothing_finer_has_to_be_kept() -> None:
    finer, rounded = frozen("llama"), frozen("llama").bfloat16().float()
    assert hold_copy_narrow(finer, "bf16-mixed", CPU) == 0
    assert hold_copy_narrow(rounded, "bf16-mixed", CPU) == 15
    assert all(each.finer is None for each in rounded.modules() if isinstance(each, NarrowLinear))


def test_a_layer_whose_forward_was_replaced_stays_as_it_is() -> None:
    model = frozen("llama")
    model.lm_head.forward = model.lm_head.forward
    assert hold_copy_narrow(model, "bf16-mixed", GPU) == 14


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
