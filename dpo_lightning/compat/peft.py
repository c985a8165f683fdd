"""PEFT's wrappers around a model."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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


class AdapterSwitch:
    """Turns the adapters of a model off, or to another adapter, in a block, by a list of the layers that have them.

    PEFT walks all modules several times for it: 25 ms for 32 layers, in each micro-batch. The list is made anew when a
    module on the way to one of the layers is another, or there is another adapter. What is trained stays as it is;
    PEFT makes all of the active adapter trainable afterwards. What is no adapter in layers alone, is partly off, or
    makes PEFT warn, is left to PEFT.

    Args:
        policy: The PEFT model.
    """

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self._layers: list[Any] = []
        self._adapters: tuple[str, ...] = ()
        self._held: list[tuple[dict[str, Any], list[Any]]] = []

    @contextmanager
    def off(self) -> Iterator[None]:
        """Let the model be its base inside the block."""
        layers = self._switchable()
        if layers is None:
            with self._policy.disable_adapter():
                yield
            return
        for layer in layers:
            layer._disable_adapters = True
        try:
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False

    @contextmanager
    def to(self, name: str) -> Iterator[None]:
        """Let another adapter be active inside the block, frozen."""
        layers, before = self._switchable(), self._policy.active_adapter
        if layers is None or any(hasattr(layer, "check_set_adapter") or layer.merged for layer in layers):
            self._policy.set_adapter(name, inference_mode=True)
            try:
                yield
            finally:
                self._policy.set_adapter(before)
            return
        active = [layer._active_adapter for layer in layers]
        for layer in layers:
            layer._active_adapter = [name]
        try:
            yield
        finally:
            for layer, own in zip(layers, active, strict=True):
                layer._active_adapter = own

    def _switchable(self) -> list[Any] | None:
        """Return the layers; None where PEFT is to do it."""
        from peft import PeftModel

        policy = self._policy
        own = type(policy).disable_adapter is PeftModel.disable_adapter and "disable_adapter" not in vars(policy)
        config = policy.peft_config[policy.active_adapter]
        if (
            not own
            or config.is_prompt_learning
            or config.is_adaption_prompt
            or getattr(config, "bias", "none") != "none"
        ):
            return None
        if not self._is_current():
            self._find()
        usual = self._layers and not any(layer._disable_adapters for layer in self._layers)
        return self._layers if usual else None

    def _is_current(self) -> bool:
        names = tuple(self._policy.peft_config)
        return names == self._adapters and all(
            len(held) == len(before) and all(map(operator.is_, held.values(), before)) for held, before in self._held
        )

    def _find(self) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        found = {name: each for name, each in self._policy.named_modules() if isinstance(each, kinds)}
        above = {name.rpartition(".")[0] for name in found} | {""}
        while more := {name.rpartition(".")[0] for name in above} - above:
            above |= more
        modules = dict(self._policy.named_modules())
        self._layers, self._adapters = list(found.values()), tuple(self._policy.peft_config)
        self._held = [(modules[name]._modules, [*modules[name]._modules.values()]) for name in above]
