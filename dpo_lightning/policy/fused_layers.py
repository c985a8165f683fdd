"""Decoder layers whose norms, rotations, gates, sums and casts are fused by torch's compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from dpo_lightning.compat.torch_compile import compiled_forms, has_gpu_compiler, is_compiler_error
from dpo_lightning.compat.transformers import keeps_a_state, recorded_modules, unsplit_classes
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.torch_modes import is_scoring

FusedLayers: TypeAlias = Literal["auto", "compile", "none"]

_FUSED = "fused_layer"

# Inductor writes products into memory of its own (`mm.out`), which checkpointing can neither keep nor give back.
_PRODUCTS_KEPT = "gradient_checkpointing: selective keeps products, which a compiled layer does not show"


def asks_to_fuse(setting: FusedLayers, precision: str | None, device: torch.device) -> bool:
    """Return whether layers are to be fused: `auto` does it on a CUDA device in half precision, if Triton is there.

    Args:
        setting: `model.fused_layers`.
        precision: Lightning's name of it; None without a Trainer.
        device: Where the model will run.
    """
    found = precision_of(precision)
    is_half = found.products.itemsize == 2 and not found.replaces_linear
    if setting != "auto" or device.type != "cuda" or not is_half:
        return setting == "compile"
    if not has_gpu_compiler():
        rank_zero_info("the layers are not compiled, since Triton is not installed, or does not know this GPU")
        return False
    return True


def fuse_layers(model: nn.Module, *, strict: bool, products_kept: bool = False) -> None:
    """Let the decoder layers of a model run compiled while it scores, in place; what else calls them runs as before.

    A layer becomes a compiled subclass of its class, so that names of weights, copies and pickles stay as they are.
    The first batch of each mode takes longer: with a backward or without, policy or reference, in each layout.

    Args:
        model: A causal language model, adapters inside it or not.
        strict: Refuse a model that this is not right for, and layers that cannot be compiled; else leave them alone.
        products_kept: Checkpointing keeps the products and computes the rest again.

    Raises:
        InputError: for such a model.
    """
    if problem := _PRODUCTS_KEPT if products_kept else fusing_problem(model):
        if strict:
            raise InputError(f"model.fused_layers: compile does not fit this model, since {problem}: set it to auto")
        rank_zero_info(f"the layers of {type(model).__name__} are not compiled, since {problem}")
        return
    for layer in _layers(model):
        if not is_fused(layer):
            layer.__class__ = _fused_class(cast(Any, type(layer)), strict)


def fusing_problem(model: nn.Module) -> str | None:
    """Return why the layers of a model are not fused, in words that follow "since"; None where they can be."""
    if not _layers(model):
        return f"transformers names no decoder layers of {type(model).__name__}"
    if any(getattr(module, "is_quantized", False) for module in model.modules()):
        return "products with quantized weights are calls that are not compiled, between which little is left"
    if keeps_a_state(model):
        return "it has recurrent layers, whose kernels are fused already"
    if recorded_modules(model, "router_logits"):
        return "which expert a token takes is known on the device alone"
    if is_adapted(model) and cast(Any, model).active_peft_config.is_prompt_learning:
        return "prefix tuning gives each layer a cache"
    return None


def fused_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model that run compiled while it scores."""
    return [layer for layer in model.modules() if is_fused(layer)]


def is_fused(layer: nn.Module) -> bool:
    """Return whether a layer was fused, sharded since or not."""
    return hasattr(type(layer), _FUSED)


def take_apart(model: nn.Module) -> None:
    """Give fused layers their own class back, but for sharded ones."""
    for layer in model.modules():
        if _FUSED in vars(type(layer)):
            layer.__class__ = vars(type(layer))[_FUSED]


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that transformers keeps on one device, such as `LlamaDecoderLayer`, but for whole models."""
    names: set[str] = set().union(*(unsplit_classes(module) for module in model.modules()))
    return [module for module in model.modules() if type(module).__name__ in names and not unsplit_classes(module)]


@functools.cache
def _fused_class(kind: type[nn.Module], strict: bool) -> type[nn.Module]:
    """Make the compiled subclass of a layer's class, under the same name, which sharding asks for.

    transformers wraps the `forward` of subclasses of its layers into gradient checkpointing, and its older versions
    wrap `__call__`: what is recomputed is compiled, and is told so by the argument.
    """
    run = _or_as_it_is(kind, strict)

    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - a method of the class below
        # Of a cache each layer reads its own part: each would be compiled.
        marked = {_FUSED: True} if is_scoring() and kwargs.get("past_key_values") is None else {}
        return cast(Any, kind).__call__(self, *args, **kwargs, **marked)

    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (run if kwargs.pop(_FUSED, False) else kind.forward)(self, *args, **kwargs)

    def __reduce_ex__(self: nn.Module, protocol: Any) -> Any:  # noqa: N807
        return _empty_layer, (kind, strict), self.__getstate__()

    own = {"__call__": __call__, "forward": forward, "__reduce_ex__": __reduce_ex__, _FUSED: kind}
    told = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**own, **told})


def _empty_layer(kind: type[nn.Module], strict: bool) -> nn.Module:
    """Make a fused layer for `copy` and `pickle` to fill."""
    fused = _fused_class(cast(Any, kind), strict)
    return fused.__new__(fused)


def _or_as_it_is(kind: type[nn.Module], strict: bool) -> Callable[..., Any]:
    """Return the compiled forward, which runs as it was written from the first time on that no form can be compiled."""
    forms = compiled_forms(kind.forward)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        while forms:
            try:
                return forms[0](self, *args, **kwargs)
            except RuntimeError as error:
                if not is_compiler_error(error):
                    raise
                del forms[0]
                if not forms:
                    _say_broken(kind, error, strict)
        return kind.forward(self, *args, **kwargs)

    return forward


def _say_broken(kind: type[nn.Module], error: RuntimeError, strict: bool) -> None:
    problem = f"{kind.__name__} cannot be compiled here ({one_line(error, 200)})"
    if strict:
        raise RunError(f"model.fused_layers: {problem}: set it to none") from error
    rank_zero_warn(f"{problem}: its layers run as they are, which takes longer")
