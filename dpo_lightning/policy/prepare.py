"""Preparation of the policy for training: dtype, dropout, adapters, train mode, gradient checkpointing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional, Union

import torch
from torch import nn

from dpo_lightning.compat.bitsandbytes import keep_quantized_backward
from dpo_lightning.compat.torch import non_persistent_buffers
from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import check_adapters, merged_start
from dpo_lightning.policy.beside_text import other_parts
from dpo_lightning.policy.fused_layers import FusedLayers
from dpo_lightning.policy.loading import check_quantization, load_model
from dpo_lightning.policy.lora import LoRA, add_lora, is_adapted
from dpo_lightning.policy.modality import check_causal
from dpo_lightning.policy.narrow_base import hold_as_before
from dpo_lightning.policy.recompute import Checkpointing, set_checkpointing
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.kinds import check_fields, check_kinds
from dpo_lightning.utils.settings import NOT_NEGATIVE, check_rules
from dpo_lightning.utils.torch_modes import configs_of

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

_TEXTS = dict.fromkeys(("revision", "code_revision", "subfolder", "variant"), Optional[str])
"""Arguments of `from_pretrained` that are text, which YAML reads as a number where it looks like one."""


@dataclass(frozen=True)
class PolicyOptions:
    """Options of the preparation; the fields are documented at `PreferenceModule`, which hands them on."""

    lora: LoRA | None = None
    quantization_config: Mapping[str, Any] | None = None
    model_kwargs: Mapping[str, Any] | None = None
    gradient_checkpointing: Checkpointing = False
    dropout: bool = False
    router_aux_loss_coef: float | None = None
    fused_layers: FusedLayers = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.lora, LoRA | None):
            raise wrong_kind("lora", self.lora, LoRA, "write LoRA(r=16), with its settings as arguments")
        for name in ("quantization_config", "model_kwargs"):
            given = getattr(self, name)
            if not isinstance(given, Mapping | None):
                raise wrong_kind(name, given, dict, "write the arguments as a dict, {name: value}")
        check_fields(self, "model.")
        check_kinds("model.model_kwargs.", _TEXTS, self.model_kwargs or {})
        check_rules("model.", self, router_aux_loss_coef=NOT_NEGATIVE)
        for name in ("quantization_config", "model_kwargs"):
            if wrong := [key for key in getattr(self, name) or {} if not isinstance(key, str)]:
                raise InputError(f"model.{name}: {wrong[0]!r} is no name of an argument: put it in quotes")
        if self.quantization_config is not None:
            check_quantization(self.quantization_config)


def build_policy(
    source: Union[str, nn.Module],
    dtype: torch.dtype,
    options: PolicyOptions,
    *,
    sharded: bool = False,
) -> nn.Module:
    """Load or take the policy, and make it ready to train.

    Args:
        source: Hub name or directory of a causal LM or of a PEFT adapter, or a module.
        dtype: Dtype of the weights.
        options: How to prepare it.
        sharded: The other ranks build it too, without its weights.

    Raises:
        InputError: for a model that cannot be loaded, or options that do not fit it.
    """
    if isinstance(source, nn.Module):
        if options.quantization_config or options.model_kwargs:
            raise InputError("quantization_config and model_kwargs load a model: give its name, not a module")
        policy = source
        if not getattr(policy, "is_quantized", False):
            hold_as_before(policy)  # which an earlier run may have held narrow
            with float32_buffers_kept(policy):
                policy.to(dtype)
    else:
        policy = load_model(source, dtype, options.quantization_config, options.model_kwargs)
    check_adapters(policy)
    keep_quantized_backward(policy)
    check_causal(policy)
    if options.lora is not None and is_adapted(policy):
        policy = merged_start(policy)
    disable_cache(policy)
    beside = other_parts(policy, tried=not sharded)
    beside.freeze()
    if not options.dropout:
        disable_dropout(policy)
    if options.lora is not None:
        policy = add_lora(policy, options.lora, (options.model_kwargs or {}).get("revision"), beside)
    set_checkpointing(policy, options.gradient_checkpointing)
    return policy.train()


def switched_settings(model: nn.Module) -> Iterator[tuple[Any, str]]:
    """Yield what `build_policy` may switch in a model: a module or a config, and the name of its attribute."""
    for module in model.modules():
        yield module, "training"
        if isinstance(module, _DROPOUTS):
            yield module, "p"
        if hasattr(module, "gradient_checkpointing"):
            yield module, "gradient_checkpointing"
    for holder in [*model.modules(), *configs_of(model)]:
        yield from ((holder, name) for name, value in vars(holder).items() if _is_rate(name, value))
    yield from ((config, "use_cache") for config in configs_of(model) if hasattr(config, "use_cache"))


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate to 0: modules, float attributes that functional dropout reads, and the configs.

    Setting `nn.Dropout.p` alone leaves attention dropout on in 20 of 23 architectures. The attributes are called
    `attention_dropout`, `resid_pdrop`, `layerdrop`, `drop_prob`.
    """
    for module in model.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
    for holder in [*model.modules(), *configs_of(model)]:
        attributes = vars(holder)
        for name, value in attributes.items():
            if _is_rate(name, value):
                attributes[name] = 0.0


def _is_rate(name: str, value: object) -> bool:
    return is_dropout_rate(name) and isinstance(value, float)


def is_random(model: nn.Module, beside: Collection[nn.Module] = ()) -> bool:
    """Return whether a forward in train mode draws random numbers: dropout, or noise in a router.

    Args:
        model: A model, with its settings for a run.
        beside: Modules that do not count.
    """
    if any(module not in beside for module in _dropouts(model)):
        return True
    return any(is_dropout_rate(name) for name in _rates(model)) or bool(router_noise(model))


def adapter_dropouts(model: nn.Module) -> list[nn.Module]:
    """Return the dropout of a model's adapters, which no layer but the adapters reads."""
    if not is_adapted(model):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    parts = [getattr(layer, name, None) for layer in layers for name in layer.other_param_names]
    return [each for part in parts if isinstance(part, nn.Module) for each in _dropouts(part)]


def _dropouts(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _DROPOUTS) and module.p > 0]


def router_noise(model: nn.Module) -> list[str]:
    """Return the names of the settings by which routers add noise in train mode, such as `router_jitter_noise`."""
    return sorted({name for name in _rates(model) if "jitter" in name})


def _rates(model: nn.Module) -> list[str]:
    """Return the names of float attributes of the model's modules that are not 0."""
    attributes = (each for module in model.modules() for each in vars(module).items())
    return [name for name, value in attributes if isinstance(value, float) and value]


def is_dropout_rate(name: str) -> bool:
    """Return whether an attribute or a config field of this name holds a dropout rate."""
    return "drop" in name


def disable_cache(model: nn.Module) -> None:
    """Keep the model, and any model inside it, from collecting keys and values that nobody reads."""
    for config in configs_of(model):
        if hasattr(config, "use_cache"):
            config.use_cache = False


@contextmanager
def float32_buffers_kept(model: nn.Module) -> Iterator[None]:
    """Undo, for non-persistent float32 buffers, a change of dtype that happens inside; a change of device stays.

    These are RoPE's inverse frequencies: in bfloat16 their cosine is off by more than 1 at position 8000.
    """
    kept = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
        if name in non_persistent_buffers(module) and buffer.dtype == torch.float32
    ]
    yield
    for module, name, before in kept:
        after = module.get_buffer(name)
        if after.dtype != before.dtype:
            setattr(module, name, before.to(after.device))
