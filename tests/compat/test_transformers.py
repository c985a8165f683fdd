"""What transformers says of a model: its attention, and how it is split."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from transformers import LlavaConfig, MixtralConfig, MixtralForCausalLM

from dpo_lightning.compat.transformers import (
    attention_implementation,
    dated,
    enable_checkpointing,
    forget_ties,
    named_attentions,
    offloads,
    own_attention,
    own_mask,
    recorded_modules,
    rows_of_one_sequence,
    tensor_plan,
    unsplit_classes,
)
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


def test_an_attention_has_a_name_a_function_and_a_mask() -> None:
    model: Any = tiny_llama()
    model.set_attn_implementation("eager")
    assert attention_implementation(model) == "eager"
    layer = model.model.layers[0].self_attn
    assert own_attention("eager", layer).__module__ == type(layer).__module__
    assert callable(own_mask("sdpa"))


def test_a_model_says_how_it_is_split() -> None:
    model: Any = tiny_llama()
    assert unsplit_classes(model) == {"LlamaDecoderLayer"}
    assert unsplit_classes(nn.Linear(2, 2)) == set()


def test_rows_are_taken_for_one_sequence_while_the_context_is_open() -> None:
    model: Any = tiny_llama()
    model.config.use_cache = False
    ids, restarts = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 0, 1]])
    whole, packed = model(input_ids=ids).logits, model(input_ids=ids, position_ids=restarts).logits
    with rows_of_one_sequence():
        again, together = model(input_ids=ids).logits, model(input_ids=ids, position_ids=restarts).logits

    assert torch.equal(again, whole)
    assert not torch.allclose(together, packed)  # what the block leaves out is this question
    assert torch.equal(model(input_ids=ids, position_ids=restarts).logits, packed)


@pytest.mark.parametrize("old", [False, True])
def test_ties_that_are_recorded_are_forgotten(old: bool) -> None:
    model: Any = nn.Linear(2, 2)
    if not old:
        model.all_tied_weights_keys = {"lm_head.weight": "embed.weight", "a.weight": "embed.weight"}
    forget_ties(model, {"lm_head.weight", "embed.weight"})
    assert getattr(model, "all_tied_weights_keys", None) == (None if old else {"a.weight": "embed.weight"})


def test_the_routers_of_a_mixture_of_experts_are_known() -> None:
    sizes = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    model = MixtralForCausalLM(MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))

    layers = model.model.layers
    if hasattr(layers[0], "mlp"):
        routers = [(layer.mlp.gate, 0) for layer in layers]
    else:  # before transformers 5
        routers = [(layer.block_sparse_moe, 1) for layer in layers]
    assert recorded_modules(model, "router_logits") == routers
    assert recorded_modules(tiny_llama(), "router_logits") == []
    assert recorded_modules(nn.Linear(2, 2), "router_logits") == []


class OldLlama(nn.Module):
    """A model of transformers before 5.23, as far as plans go."""

    tp_plan: ClassVar = {"model.layers.*.self_attn.q_proj": "colwise"}


def test_a_model_says_its_plan_or_what_it_lacks() -> None:
    model: Any = tiny_llama()
    if hasattr(model, "_expand_parallel_plan"):
        assert tensor_plan(model)["model.layers.0.self_attn.q_proj"] == "colwise"
    without: Any = OldLlama()
    assert tensor_plan(without) is None


class Recorder(nn.Module):
    """A model with one of the two names for the same thing."""

    def __init__(self, name: str, *, works: bool = True) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        setattr(self, f"{name}_enable", self._enable)
        setattr(self, f"is_{name}", works)

    def _enable(self, **given: Any) -> None:
        self.given = given


@pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
def test_checkpointing_by_its_new_name_and_by_its_old_one(name: str) -> None:
    model = Recorder(name)
    assert enable_checkpointing(model)
    assert model.given == {f"{name}_kwargs": {"use_reentrant": False}}
    assert not enable_checkpointing(Recorder(name, works=False))
    assert enable_checkpointing(model, list)
    assert model.given == {f"{name}_kwargs": {"use_reentrant": False, "context_fn": list}}
    assert not enable_checkpointing(nn.Linear(2, 2))


def test_offloading_is_asked_for_where_transformers_does_it() -> None:
    class Offloads(Recorder):
        def _enable(self, *, offload: bool = False, **given: Any) -> None:
            self.given = {"offload": offload, **given}

    model = Offloads("activation_checkpointing")
    assert offloads(model)
    assert enable_checkpointing(model, offload=True)
    assert model.given["offload"] is True
    assert not offloads(Recorder("activation_checkpointing"))
    assert not offloads(nn.Linear(2, 2))


def test_the_attentions_that_a_config_names() -> None:
    config = LlavaConfig(attn_implementation={"text_config": "someone/kernel"})
    assert "someone/kernel" in named_attentions(config)
    assert named_attentions(object()) == []


def test_a_template_gets_a_date_while_the_context_is_open_and_the_clock_after_it() -> None:
    template = "{{ strftime_now('%Y-%m-%d %H:%M') }}{{ messages|length }}"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template

    def written() -> str:
        return tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)

    with dated([template], datetime.date(2024, 2, 29)):
        assert written() == "2024-02-29 00:001"
        with pytest.raises(ZeroDivisionError), dated([template], datetime.date(2001, 1, 1)):
            _ = written().startswith("2001-01-01") / 0
        assert written() == "2024-02-29 00:001"
    assert written()[:4] == str(datetime.date.today().year)
