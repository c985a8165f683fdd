"""A model's sizes, from its config alone: it is built on the meta device, without weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import adapter_config, load_config
from dpo_lightning.policy.narrow_base import linear_weights
from dpo_lightning.policy.prepare import PolicyOptions, build_policy


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
        hidden: Width `D` of the residual stream.
        heads: Width `H` of all query heads together.
        groups: Width `G` of all key heads together.
        inner: Width `F` inside the MLP, of all experts that a token visits.
        gated: Whether the MLP has a gate: three matrices and not two.
        vocabulary: `V`.
        head_groups: Most equal parts that the heads can be split into: the greatest divisor of both kinds' numbers.
        rank: Rank `r` of the adapters; 0 without any.
        head_trained: Whether the head is trained.
        linear: Parameters of linear layers that share none, which a frozen copy of the model may hold in half
            precision; of a model with adapters, those of the layers under them.
        plain: Whether adapters are LoRA's without dropout and DoRA: base and update are one operation then.
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
    linear: int
    plain: bool = True

    @property
    def full(self) -> bool:
        """Return whether the layers' own weights are trained, and not adapters."""
        return not self.rank

    @property
    def joint(self) -> bool:
        """Return whether adapters and the products under them are one operation, which keeps its input once."""
        return bool(self.rank and self.linear and self.plain)


def model_shape(name: str, options: PolicyOptions) -> ModelShape:
    """Return the sizes of the policy that a run would train.

    Args:
        name: Hub name or directory of a causal LM or of a PEFT adapter; only its config is read.
        options: What the run does to it.

    Raises:
        InputError: when there is no such config, or it is not one of a decoder.
    """
    config = load_config(name, options.model_kwargs)
    model, text = _on_meta(config, options, adapter_config(name)), config.get_text_config()
    layers = _layers(model, text)
    if layers is None:
        raise InputError(
            f"plan: {name!r} ({config.model_type}) has no list of {text.num_hidden_layers} decoder layers: give a "
            "decoder-only model, or measure a short run"
        )
    return _shape(model, text, layers, bool(options.quantization_config))


def shape_of(model: nn.Module) -> ModelShape | None:
    """Return the sizes of a policy that is built; None where they cannot be told, and of one in few bits."""
    config = getattr(model, "config", None)
    head = getattr(model, "get_output_embeddings", None)
    if not hasattr(config, "get_text_config") or head is None or head() is None:
        return None
    text = config.get_text_config()  # type: ignore[union-attr]
    is_quantized = getattr(config, "quantization_config", None) is not None  # which packs several weights into one
    named = all(hasattr(text, name) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    layers = _layers(model, text) if named and not is_quantized else None
    return None if layers is None else _shape(model, text, layers, False)


def _layers(model: nn.Module, text: Any) -> nn.ModuleList | None:
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return next((each for each in lists if len(each) == text.num_hidden_layers), None)


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
    in_layers = dict(layers.named_parameters())
    heads, mlp = _heads(text), _mlp(text)
    head = cast(Any, model).get_output_embeddings()
    rank = max((value.shape[0] for key, value in in_layers.items() if "lora_A" in key), default=0)
    return ModelShape(
        parameters=_count(model.parameters()),
        trainable=_count(value for value in model.parameters() if value.requires_grad),
        layer_parameters=_count(in_layers.values()),
        active_parameters=_active(in_layers, mlp),
        quantized=_matrices(in_layers) if is_quantized else 0,
        layers=len(layers),
        hidden=text.hidden_size,
        heads=heads.queries * heads.width,
        groups=heads.keys * heads.width,
        inner=mlp.inner * mlp.visited,
        gated=any("gate_proj" in key or "gate_up_proj" in key for key in in_layers),
        vocabulary=text.vocab_size,
        head_groups=gcd(heads.queries, heads.keys),
        rank=rank,
        head_trained=any(value.requires_grad for value in head.parameters()),
        linear=0 if is_quantized else linear_weights(model),
        plain=not any(map(_computes_apart, getattr(model, "peft_config", {}).values())),
    )


def _computes_apart(adapter: Any) -> bool:
    """Return whether PEFT's own layers run, which multiply with a copy of each frozen matrix under autocast."""
    return bool(getattr(adapter, "lora_dropout", 0.0) or getattr(adapter, "use_dora", False))


class _Heads(NamedTuple):
    """Numbers of query and key heads, and the width of each."""

    queries: int
    keys: int
    width: int


def _heads(text: Any) -> _Heads:
    """Read the heads of a config, which leaves out what equals the default."""
    queries = text.num_attention_heads
    return _Heads(
        queries,
        _first(text, "num_key_value_heads") or queries,
        _first(text, "head_dim") or text.hidden_size // queries,
    )


class _MLP(NamedTuple):
    """Number of experts, how many of them a token visits, and the inner width of each; 1 and 1 without experts."""

    experts: int
    visited: int
    inner: int


def _mlp(text: Any) -> _MLP:
    """Read the MLP of a config: experts may have a width of their own."""
    dense = _first(text, "intermediate_size") or 4 * text.hidden_size
    experts = _first(text, "num_local_experts", "num_experts") or 1
    if experts == 1:
        return _MLP(1, 1, dense)
    return _MLP(experts, _first(text, "num_experts_per_tok") or 1, _first(text, "moe_intermediate_size") or dense)


def _first(config: Any, *names: str) -> int | None:
    """Return the first of these fields that the config has and fills; configs name one thing differently."""
    return next((value for name in names if (value := getattr(config, name, None))), None)


def _active(in_layers: Mapping[str, Tensor], mlp: _MLP) -> int:
    """Count the parameters that a token visits."""
    experts = _count(value for key, value in in_layers.items() if "expert" in key)
    return _count(in_layers.values()) - experts + experts * mlp.visited // mlp.experts


def _matrices(in_layers: Mapping[str, Tensor]) -> int:
    """Count the parameters that quantization puts into few bits: matrices, adapters aside."""
    return _count(value for key, value in in_layers.items() if "lora_" not in key and value.ndim >= 2)


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(value.numel() for value in parameters)
