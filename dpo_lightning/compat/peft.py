"""PEFT's wrappers around a model."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from torch import nn

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
