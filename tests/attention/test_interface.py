"""A model that has come to use the tree's attention: still itself everywhere else, and exact in a tree."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_propagation, enable_propagation

from dpo_lightning.attention import interface, layout_inputs
from dpo_lightning.attention.interface import use_tree_attention
from dpo_lightning.batch import PreferenceBatch, collate_padded, collate_tree
from dpo_lightning.errors import RunError
from dpo_lightning.logprobs import TokenScorer
from tests.attention.rows import SHORT, heads, mask_of
from tests.helpers.brute import brute_token_logps, flat
from tests.helpers.tiny import PAIRS, tiny_llama
from tests.test_layers import NoWaiting
from tools.docs.architecture_models import tiny_model

TREE, OTHER_TREE = collate_tree(PAIRS), collate_tree(PAIRS[:2])
IDS = torch.randint(3, 64, (3, 12), generator=torch.Generator().manual_seed(0))
LEFT_PADDED = torch.tensor([[0] * 4 + [1] * 8, [1] * 12, [0] * 1 + [1] * 11])
RIGHT_PADDED = LEFT_PADDED.flip(1)

MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama, sdpa": lambda: tiny_llama(attn_implementation="sdpa"),
    "llama, eager": lambda: tiny_llama(attn_implementation="eager"),
    "mistral, window": lambda: tiny_model("mistral", sliding_window=5),
    "gemma 2, soft-cap": lambda: tiny_model("gemma2", sliding_window=5),
    "GPT-OSS, sinks": lambda: tiny_model("gpt_oss"),
    "GPT-2": lambda: tiny_model("gpt2"),
}
FORWARDS: dict[str, Callable[[PreTrainedModel], Tensor]] = {
    "no mask": lambda model: model(input_ids=IDS).logits,
    "right padding": lambda model: model(input_ids=IDS, attention_mask=RIGHT_PADDED).logits,
    "left padding": lambda model: model(input_ids=IDS, attention_mask=LEFT_PADDED).logits,
    "packed": lambda model: model(input_ids=IDS[:1], position_ids=torch.tensor([[*range(5), *range(7)]])).logits,
    "generation": lambda model: model.generate(
        IDS, attention_mask=LEFT_PADDED, max_new_tokens=4, do_sample=False, pad_token_id=0
    ),
}


def in_tree(model: nn.Module, batch: PreferenceBatch = TREE) -> Tensor:
    with layout_inputs(model, batch) as inputs:
        return model(**inputs).logits


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_plain_forwards_stay_the_same_bit_for_bit(
    make: Callable[[], PreTrainedModel], forward: Callable[[PreTrainedModel], Tensor]
) -> None:
    model = make().eval()
    before = forward(model)
    in_tree(model)

    assert model.config._attn_implementation.startswith("tree_")
    assert torch.equal(forward(model), before)


def test_gradients_of_plain_forwards_stay_the_same_bit_for_bit() -> None:
    model = tiny_llama()
    parameters = list(model.parameters())
    before = torch.autograd.grad(FORWARDS["right padding"](model).square().sum(), parameters)
    in_tree(model)
    after = torch.autograd.grad(FORWARDS["right padding"](model).square().sum(), parameters)

    assert all(map(torch.equal, before, after))


def test_attention_weights_can_still_be_had_of_an_eager_model() -> None:
    model = MODELS["llama, eager"]().eval()
    before = model(input_ids=IDS, output_attentions=True).attentions
    in_tree(model)
    after = model(input_ids=IDS, output_attentions=True).attentions

    assert len(after) == 2
    assert all(map(torch.equal, before, after))


def test_training_dropout_of_plain_forwards_stays_the_same() -> None:
    model = tiny_llama(attention_dropout=0.5).train()
    torch.manual_seed(1)
    before = model(input_ids=IDS).logits
    in_tree(model)
    torch.manual_seed(1)

    assert torch.equal(model(input_ids=IDS).logits, before)
    assert not torch.equal(model(input_ids=IDS).logits, before)


def test_what_is_saved_does_not_name_it(tmp_path: Any) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path / "before")
    in_tree(model)
    model.save_pretrained(tmp_path / "after")
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("before", "after")]

    assert configs[0] == configs[1]
    assert "tree_" not in (tmp_path / "after/config.json").read_text()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "after")
    assert loaded.config._attn_implementation == "sdpa"
    torch.testing.assert_close(in_tree(loaded.eval()), in_tree(model.eval()))


def test_a_copy_works_alone() -> None:
    model = tiny_llama().eval()
    expected = in_tree(model)
    plain = model(input_ids=IDS).logits
    twin = copy.deepcopy(model)
    del model

    assert torch.equal(twin(input_ids=IDS).logits, plain)
    assert torch.equal(in_tree(twin), expected)


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "LoRA"])
def test_checkpointing_recomputes_after_the_block(adapted: bool) -> None:
    """And while another tree is under way."""
    model: nn.Module = tiny_llama().double().train()
    if adapted:
        model = get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear")).double()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(in_tree(model).square().sum(), parameters)
    if adapted:
        model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})

    loss, other_loss = in_tree(model).square().sum(), in_tree(model).square().sum()
    found = torch.autograd.grad(loss, parameters)
    with layout_inputs(model, OTHER_TREE) as inputs:
        found_inside = torch.autograd.grad(other_loss, parameters)
        model(**inputs)

    for one, other, inside in zip(expected, found, found_inside, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
        assert torch.equal(other, inside)


def test_a_model_with_adapters() -> None:
    model = get_peft_model(tiny_llama(), LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear"))

    logps = TokenScorer(model)(TREE).logps

    torch.testing.assert_close(logps.double(), flat(brute_token_logps(model, PAIRS)), rtol=0, atol=1e-5)
    with torch.no_grad(), model.disable_adapter():
        plain = TokenScorer(model)(TREE).logps
    torch.testing.assert_close(plain.double(), flat(brute_token_logps(tiny_llama(), PAIRS)), rtol=0, atol=1e-5)


def test_two_models_and_two_trees_at_the_same_time() -> None:
    first, second, untouched = (tiny_llama(seed).eval() for seed in range(3))
    expected, other_expected = in_tree(first), in_tree(second, OTHER_TREE)
    plain = untouched(input_ids=IDS).logits

    with layout_inputs(first, TREE) as inputs:
        half = first(**inputs).logits
        with layout_inputs(second, OTHER_TREE) as other_inputs:
            other = second(**other_inputs).logits
        assert torch.equal(untouched(input_ids=IDS).logits, plain)
        again = first(**inputs).logits

    assert torch.equal(half, expected)
    assert torch.equal(again, expected)
    assert torch.equal(other, other_expected)


def test_a_padded_batch_inside_a_tree_is_a_plain_forward() -> None:
    first, second = tiny_llama(0), tiny_llama(1)
    padded = collate_padded(PAIRS)
    in_tree(second)
    expected = second(input_ids=padded.input_ids).logits

    with layout_inputs(first, TREE) as inputs:
        with layout_inputs(second, padded) as other_inputs:
            assert torch.equal(second(**other_inputs).logits, expected)
        first(**inputs)


@pytest.mark.parametrize("shape", [(1, 12), (3, 12), (3, TREE.input_ids.shape[1]), (1, 60)])
def test_another_row_inside_a_tree_is_an_error(shape: tuple[int, int]) -> None:
    model = tiny_llama()
    with layout_inputs(model, TREE) as inputs:
        with pytest.raises(RunError, match=f"a row of {shape[1]} tokens was given to LlamaAttention"):
            model(input_ids=torch.ones(shape, dtype=torch.long))
        model(**inputs)


def test_a_padded_batch_needs_nothing_of_the_model() -> None:
    batch = collate_padded(PAIRS)
    with layout_inputs(nn.Identity(), batch) as inputs:
        assert inputs.keys() == {"input_ids"}
        assert inputs["input_ids"] is batch.input_ids


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_no_forward_asks_a_value_of_the_device(collate: Callable[..., PreferenceBatch]) -> None:
    """Not in transformers either, whose checks leave fake tensors alone."""
    model, batch = tiny_llama(), collate(PAIRS)
    model.config.use_cache = False  # as in a run
    score = TokenScorer(model)
    score(batch)  # the first probes the head
    with NoWaiting():
        score(batch)


@pytest.mark.parametrize("failing", [False, True])
def test_nothing_is_under_way_after_the_block(failing: bool) -> None:
    model = tiny_llama()
    plain = model(input_ids=IDS).logits
    try:
        with layout_inputs(model, TREE) as inputs:
            model(**inputs)
            if failing:
                raise KeyError
    except KeyError:
        pass

    assert interface._under_way.get() is None
    assert torch.equal(model(input_ids=IDS).logits, plain)


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_other_implementations_are_refused_by_name(name: str) -> None:
    model = tiny_llama()
    model.config._attn_implementation_internal = name

    assert f"the model has '{name}'" in (use_tree_attention(model) or "")
    with pytest.raises(RunError, match=name), layout_inputs(model, TREE):
        pass
    assert model.config._attn_implementation == name


def test_models_without_the_interface_are_refused() -> None:
    assert use_tree_attention(nn.Linear(2, 2)) == "Linear is no model of transformers"
    model = tiny_model("gptj")
    assert use_tree_attention(model) == "GPTJForCausalLM does not use transformers' attention interface"
    assert model.config._attn_implementation == "eager"


def test_a_block_in_which_the_attention_is_never_called_is_an_error() -> None:
    with (
        pytest.raises(
            RunError,
            match=r"LlamaForCausalLM never calls a registered attention, so .* with collate_padded",
        ),
        layout_inputs(tiny_llama(), TREE),
    ):
        pass


def test_a_mask_of_another_kind_is_an_error_inside_a_tree_only() -> None:
    rows = [tensor.float() for tensor in heads(SHORT)]
    module = tiny_llama().model.layers[0].self_attn
    with layout_inputs(tiny_llama(), TREE) as inputs:
        with pytest.raises(RunError, match="LlamaAttention gets a mask that was not made for a tree"):
            interface._attention(module, *rows, None, own="sdpa")
        tiny = tiny_llama()
        use_tree_attention(tiny)
        tiny(**inputs)

    interface._attention(module, *rows, None, own="sdpa")


def test_a_bias_on_the_scores_is_an_error() -> None:
    rows = heads(SHORT)
    with pytest.raises(RunError, match="Identity adds a bias to its attention scores"):
        interface._attention(nn.Identity(), *rows, mask_of(SHORT), own="sdpa", position_bias=torch.zeros(1))


def test_transformers_says_nothing_of_a_model_that_it_cannot_change(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("gptj")
    enable_propagation()
    try:
        use_tree_attention(model)
        assert caplog.messages == []
        model.set_attn_implementation("sdpa")
        assert "does not support setting its attention implementation" in caplog.text
    finally:
        disable_propagation()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_rounds_queries_and_keys_once(dtype: torch.dtype) -> None:
    """RoPE leaves float32 queries beside half-precision values."""
    rows = [tensor.detach().float() for tensor in heads(SHORT)]
    narrow = [tensor.to(dtype) for tensor in rows]
    expected, _ = interface._attention(nn.Identity(), *narrow, mask_of(SHORT), own="sdpa")
    with torch.autocast("cpu", dtype):
        found, _ = interface._attention(nn.Identity(), *rows[:2], narrow[2], mask_of(SHORT), own="sdpa")

    assert found.dtype == dtype
    assert torch.equal(found, expected)
