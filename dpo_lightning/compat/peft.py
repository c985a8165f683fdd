"""PEFT's wrappers around a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
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
