"""Choice of what the backward computes again instead of keeping it: gradient checkpointing, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Union, cast

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from dpo_lightning.compat.transformers import enable_checkpointing, offloads
from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted

Checkpointing = Union[bool, Literal["selective", "offload"]]
"""Values of `gradient_checkpointing`.

False keeps all that the backward needs. True keeps the input of each layer, and computes the layer again. `offload`
does so too, with the inputs in the host's memory. `selective` keeps the inputs and what is dear to compute, which are
the matrix products and the attention, and computes the rest again.
"""

_SHORT_PRODUCT = 128
"""Inner dimension below which a matrix product is computed again: it takes less time than to write its result.

An element costs `2 K` operations, and 4 bytes are moved to keep one in half precision. A GPU that does some 200
operations in the time of a byte has both in balance at `K = 400`; adapters' ranks are below, hidden sizes above.
"""

_ATTENTION = {
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "torch_attn::_varlen_attn",
}


def recomputes_layers(mode: Checkpointing) -> bool:
    """Return whether the backward computes whole layers again, their matrix products too."""
    return mode is True or mode == "offload"


def set_checkpointing(policy: nn.Module, mode: Checkpointing) -> None:
    """Let a model keep less for its backward, in place; False leaves it as it is.

    Args:
        policy: A model of transformers, with or without adapters.
        mode: What is kept, see `Checkpointing`.

    Raises:
        InputError: for a model that cannot, or an installed transformers that cannot offload.
    """
    if mode is False:
        return
    if is_adapted(policy) and cast(Any, policy).active_peft_config.is_prompt_learning:
        raise InputError(
            "gradient_checkpointing: a recomputed layer loses the keys and values of prefix tuning: leave it out"
        )
    if mode == "offload" and not offloads(policy):
        raise InputError(
            "gradient_checkpointing: offload: the installed transformers cannot keep the inputs of layers in the "
            "host's memory: install a newer one, or set it to true"
        )
    contexts = _selective_contexts if mode == "selective" else None
    if not enable_checkpointing(policy, contexts, offload=mode == "offload"):
        raise InputError(f"gradient_checkpointing: {type(policy).__name__} does not support it: leave it out")


def _selective_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a layer's forward and of its second one."""
    forward, again = create_selective_checkpoint_contexts(_kept_or_not)
    return _without_cached_casts(forward), _without_cached_casts(again)


@contextmanager
def _without_cached_casts(mode: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter a mode in which autocast casts each weight anew: both forwards must run the same operations in a row."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with mode:
            yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _kept_or_not(_: Any, operation: Any, *args: Any, **__: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if _is_dear(operation, args) else CheckpointPolicy.PREFER_RECOMPUTE


def _is_dear(operation: Any, args: tuple[Any, ...]) -> bool:
    """Return whether a result is kept: of long matrix products, and of attention that has no score matrix."""
    if operation is torch.ops.aten.mm.default:
        return int(args[0].shape[1]) >= _SHORT_PRODUCT
    if operation is torch.ops.aten.addmm.default:
        return int(args[1].shape[1]) >= _SHORT_PRODUCT
    return operation.name() in _ATTENTION


def check_device(mode: Checkpointing, device: torch.device) -> None:
    """Refuse to offload from the memory that it would be offloaded to.

    Raises:
        InputError: for `offload` on a CPU.
    """
    if mode == "offload" and device.type == "cpu":
        raise InputError(
            "model.gradient_checkpointing: offload moves the inputs of layers to the host's memory, where a run on a "
            "CPU has them anyway: set it to true"
        )
