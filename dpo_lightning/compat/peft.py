"""PEFT's wrappers around a model."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTuner


def call_with_hooks(tuner: BaseTuner) -> None:
    """Let a PEFT model call the model inside it, so that its hooks run: they gather sharded weights.

    Puts an attribute `forward` on the instance where PEFT is older than 0.20 and calls `model.forward`, past the hooks.
    """
    if "forward" not in type(tuner).forward.__code__.co_names:
        return
    model: nn.Module = tuner.model

    def forward(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    vars(tuner)["forward"] = forward


def letters_for_names(pattern: str | Collection[str], read: str | Collection[str] | None) -> bool:
    """Return whether PEFT has taken a pattern for the names that are its letters.

    PEFT before 0.20 does so on mixtures of experts whose weights transformers 5 has renamed. No layer has such a name,
    so it says that none was found; or nothing at all, where `target_parameters` finds something.

    Args:
        pattern: `target_modules` as it was given.
        read: `LoraConfig.target_modules` as PEFT has left it.
    """
    return isinstance(pattern, str) and not isinstance(read, str) and set(pattern) == set(read or ())


def loading_problem(model: PeftModel) -> str | None:
    """Return why PEFT could not load the adapter that it would save of a model, in its own words; None where it can.

    Loads the adapter into itself, where the weights of a mixture of experts are converted on the way: PEFT 0.19 makes
    converters with arguments that newer versions of transformers do not have, and says so when an export is read.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    try:
        from peft.utils.transformers_weight_conversion import WeightConverter, get_model_conversion_mapping
    except ImportError:  # before transformers 5 nothing is converted
        return None
    if not any(isinstance(each, WeightConverter) for each in get_model_conversion_mapping(model.get_base_model())):
        return None
    try:
        set_peft_model_state_dict(model, get_peft_model_state_dict(model, save_embedding_layers=False))
    except TypeError as error:
        return str(error)
    return None


def plain_low_rank(layer: Any, bases: tuple[type, ...]) -> tuple[Tensor, Tensor | None, Tensor, Tensor, float] | None:
    """Return weight, bias, A, B and factor of a LoRA layer that adds one update to a frozen product, and nothing more.

    None where it is merged, has several active adapters or none, another kind (DoRA, aLoRA), dropout, a bias of its
    own, hooks on its parts, a base that is trained, or weights that are no plain tensors, as split or packed ones.

    Args:
        layer: One of PEFT's LoRA layers over a linear layer, with its adapters on.
        bases: Classes that the layer under it may be of.
    """
    active = layer.active_adapters
    if len(active) != 1 or layer.merged or active[0] not in layer.lora_A or active[0] in layer.lora_variant:
        return None
    (name,) = active
    base, down, up, dropout = layer.base_layer, layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    silent = isinstance(dropout, nn.Identity) or not (dropout.training and dropout.p)
    plain = type(base) in bases and type(down) is type(up) is nn.Linear
    if not (silent and plain) or up.bias is not None or any(map(_has_hooks, (base, down, up, dropout))):
        return None
    weights = base.weight, base.bias, down.weight, up.weight
    if base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
        return None
    # Subclasses that are made of other tensors: DTensor, torchao's.
    if any(hasattr(each, "__tensor_flatten__") for each in weights) or up.weight.dtype != down.weight.dtype:
        return None
    return (*weights, float(layer.scaling[name]))


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
