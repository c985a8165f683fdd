"""A model's sizes, from its config alone: it is built on the meta device, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, cast

import torch
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import PolicyOptions, adapter_config, build_policy, load_config


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder. Counts are of elements.

    Attributes:
        parameters: All of them, adapters included.
        trainable: Those that are trained.
        layer_parameters: In all decoder layers.
        active_parameters: The same without the experts that a token does not visit.
        quantized: Parameters of matrices in few bits.
        layers: Decoder layers.
        hidden: Width ``D`` of the residual stream.
        heads: Width ``H`` of all query heads together.
        groups: Width ``G`` of all key heads together.
        inner: Width ``F`` inside the MLP, of all experts that a token visits.
        gated: Whether the MLP has a gate: three matrices and not two.
        vocabulary: ``V``.
        head_groups: Into how many equal parts the heads can be split: a divisor of both kinds' numbers, the greatest.
        rank: Rank ``r`` of the adapters; 0 without any.
        head_trained: Whether the head is trained.
    """

    parameters: int
    trainable: int
    layer_parameters: int
    active_parameters: int
    quantized: int
    layers: int
    hidden: int
    heads: int
    groups: int
    inner: int
    gated: bool
    vocabulary: int
    head_groups: int
    rank: int
    head_trained: bool

    @property
    def full(self) -> bool:
        """Whether the layers' own weights are trained, and not adapters."""
        return not self.rank


def model_shape(name: str, options: PolicyOptions) -> ModelShape:
    """Sizes of the policy that a run would train.

    Args:
        name: Hub name or directory of a causal LM or of a PEFT adapter; only its config is read.
        options: What the run does to it.

    Raises:
        InputError: when there is no such config, or it is not one of a decoder.
    """
    config = load_config(name, options.model_kwargs)
    model = _on_meta(config, options, adapter_config(name))
    text = config.get_text_config()
    layers = next(
        (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == text.num_hidden_layers), None
    )
    if layers is None:
        raise InputError(f"plan: {name!r} ({config.model_type}) has no list of {text.num_hidden_layers} decoder layers")
    return _shape(model, text, layers, bool(options.quantization_config))


def _on_meta(config: Any, options: PolicyOptions, adapter: Any) -> nn.Module:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if options.quantization_config:
            model.requires_grad_(False)
        if adapter is not None:
            from peft import get_peft_model

            adapter.inference_mode = False
            model = get_peft_model(model, adapter)
        return build_policy(model, torch.float32, replace(options, quantization_config=None, model_kwargs=None))


def _shape(model: nn.Module, text: Any, layers: nn.ModuleList, is_quantized: bool) -> ModelShape:
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    expert_count = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or 1
    visited = (getattr(text, "num_experts_per_tok", None) or 1) if expert_count > 1 else 1
    inner = getattr(text, "moe_intermediate_size", None) if expert_count > 1 else None
    inner = inner or getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    in_layers = dict(layers.named_parameters())
    experts = _count({key: value for key, value in in_layers.items() if "expert" in key})
    base = {key: value for key, value in in_layers.items() if "lora_" not in key}
    head = cast(Any, model).get_output_embeddings()
    return ModelShape(
        parameters=_count(dict(model.named_parameters())),
        trainable=sum(value.numel() for value in model.parameters() if value.requires_grad),
        layer_parameters=_count(in_layers),
        active_parameters=_count(in_layers) - experts + experts * visited // expert_count,
        quantized=sum(value.numel() for value in base.values() if value.ndim >= 2) if is_quantized else 0,
        layers=len(layers),
        hidden=text.hidden_size,
        heads=text.num_attention_heads * head_dim,
        groups=key_heads * head_dim,
        inner=inner * visited,
        gated=any("gate_proj" in key or "gate_up_proj" in key for key in in_layers),
        vocabulary=text.vocab_size,
        head_groups=gcd(text.num_attention_heads, key_heads),
        rank=max((value.shape[0] for key, value in in_layers.items() if "lora_A" in key), default=0),
        head_trained=any(value.requires_grad for value in head.parameters()),
    )


def _count(parameters: Mapping[str, torch.Tensor]) -> int:
    return sum(value.numel() for value in parameters.values())
