"""What transformers says of a model: its attention, and how it is split."""

from __future__ import annotations

from typing import Any

from torch import nn

from dpo_lightning.compat.transformers import (
    attention_implementation,
    own_attention,
    own_mask,
    tensor_plan,
    unsplit_classes,
)
from tests.helpers.tiny import tiny_llama


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
    plan = tensor_plan(model)
    assert plan["model.layers.0.self_attn.q_proj"] == "colwise"
