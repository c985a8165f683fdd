"""Adapters that a policy comes with: which are understood, and how one becomes part of the weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from dpo_lightning.compat.lightning import profiler_kept
from dpo_lightning.compat.transformers import forget_ties
from dpo_lightning.errors import InputError
from dpo_lightning.policy.initialisation import moves_base
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.narrow_base import hold_as_before
from dpo_lightning.policy.sharding import is_split
from dpo_lightning.utils.text import one_line


def check_adapters(policy: nn.Module) -> None:
    """Refuse adapters that training, reference and export would each take for something else.

    Raises:
        InputError: for adapters without PEFT's wrapper, several active ones, and one that is off or merged.
    """
    if problem := _adapter_problem(policy):
        raise InputError(f"policy: {problem}")


def _adapter_problem(policy: nn.Module) -> str | None:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in policy.modules() if isinstance(module, BaseTunerLayer)]
    if not isinstance(policy, PeftModel):
        if not layers and not is_adapted(policy):
            return None
        return (
            f"the {type(policy).__name__} carries adapters that are not inside a PeftModel (from model.add_adapter, or "
            "an adapter's directory loaded by transformers): give the adapter's directory, or "
            "PeftModel.from_pretrained(base, directory, is_trainable=True)"
        )
    active = policy.active_adapters
    if len(active) != 1:
        return f"the adapters {', '.join(active)} are active, and one can be trained: activate it with set_adapter"
    if off := [layer for layer in layers if layer.disable_adapters]:
        return f"its adapter is switched off in {len(off)} layers: switch it on with enable_adapter_layers()"
    if merged := [layer for layer in layers if layer.merged]:
        return (
            f"its adapter is merged in {len(merged)} layers: take it out with unmerge_adapter(), or merge_and_unload()"
        )
    return None


def take_out_adapters(model: nn.Module) -> bool:
    """Put the layers of a model back that adapters were laid over; in place.

    Returns:
        False where nothing was changed, since their initialisation has moved the weights under them, or there are none.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    configs: dict[str, Any] = getattr(model, "peft_config", {})
    if not configs or any(moves_base(getattr(each, "init_lora_weights", True)) for each in configs.values()):
        return False
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())
            elif isinstance(child, AuxiliaryTrainingWrapper):
                setattr(parent, name, child.original_module)
    hold_as_before(model)
    del model.peft_config
    return True


def merge_problem(policy: nn.Module) -> str | None:
    """Return why there are no merged weights, in one line; None where there are."""
    if not is_adapted(policy):
        return "the policy has no adapter to merge; without it, the whole model is exported"
    adapted = cast(Any, policy)
    if not callable(getattr(adapted.base_model, "merge_and_unload", None)):
        kind = adapted.peft_config[adapted.active_adapter].peft_type
        return f"an adapter of the kind {getattr(kind, 'value', kind)} is no part of the weights and cannot be merged"
    if getattr(policy, "is_quantized", False):
        return (
            "merging into 4-bit weights loses precision: export the adapter, then load it on the unquantised model "
            "with peft and merge there"
        )
    # A sharded one is gathered before it is merged, into a copy that was made before it was sharded.
    return None if is_split(policy) else _trial_problem(policy)


def _trial_problem(policy: nn.Module) -> str | None:
    """Return why PEFT cannot copy or merge an adapted policy; it is tried without values, or else on the CPU."""
    try:
        trial = cast(Any, _without_values(policy))
    except RuntimeError as error:  # PEFT's tied adapters are no leaves of the graph
        return (
            f"the adapter cannot be copied, and so not be merged: {one_line(error)[:90]}; export the adapter alone, or "
            "leave `ensure_weight_tying` out"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trial.merge_and_unload(adapter_names=[trial.active_adapter])
        except Exception:  # of any kind, and of values that are not there too
            return _real_problem(policy)
    return None


def _real_problem(policy: nn.Module) -> str | None:
    try:
        merge_adapter(policy)
    except InputError as error:
        return f"{str(error).rstrip('.')}; export the adapter alone"
    return None


def _without_values(policy: nn.Module) -> nn.Module:
    """Return a copy on the meta device."""
    empty = {id(each): nn.Parameter(torch.empty_like(each, device="meta"), False) for each in policy.parameters()}
    memo: dict[int, Any] = {**empty, **profiler_kept(policy)}
    return copy.deepcopy(policy, memo).to("meta")


def merged_start(policy: nn.Module) -> nn.Module:
    """Merge the trained adapter that a policy comes with, so that new ones begin where it stands; in place.

    The model is on no disk then, and has no name.

    Raises:
        InputError: for one that cannot be merged.
    """
    if problem := merge_problem(policy):
        raise InputError(
            f"lora: the policy carries a trained adapter, over which new ones need it merged, and {problem}; or leave "
            "`lora` out to train that one on"
        )
    merged = cast(Any, merged_in_place(policy))
    if hasattr(merged, "name_or_path"):
        merged.name_or_path = ""
    return merged


def merge_adapter(policy: nn.Module) -> nn.Module:
    """A copy of an adapted policy, in the CPU's memory, with the adapter merged into its weights.

    Raises:
        InputError: for what PEFT cannot merge.
    """
    return merged_in_place(cpu_copy(policy))


def cpu_copy(model: nn.Module) -> nn.Module:
    """Return a copy in the CPU's memory; there is never a second one on the model's device."""
    memo: dict[int, Any] = {id(parameter): _on_cpu(parameter) for parameter in model.parameters()}
    return copy.deepcopy(model, memo | profiler_kept(model)).cpu()


def _on_cpu(parameter: nn.Parameter) -> nn.Parameter:
    if type(parameter) is not nn.Parameter:  # quantised ones know how they are copied
        return cast(nn.Parameter, copy.deepcopy(parameter).cpu())
    return nn.Parameter(parameter.detach().to("cpu", copy=True), requires_grad=parameter.requires_grad)


def merged_in_place(policy: nn.Module) -> nn.Module:
    """Merge the active adapter of a PEFT model into its weights, and return the model without PEFT.

    Embedding and head that are tied part where the adapter makes them differ, and the config says so.

    Raises:
        InputError: for what PEFT cannot merge.
    """
    adapted = cast(Any, policy)
    base = adapted.get_base_model()
    hold_as_before(base)
    with _parted_embeddings(base), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*tie", category=UserWarning)  # settled here
        try:
            adapted.merge_and_unload(adapter_names=[adapted.active_adapter])
        except Exception as error:  # PEFT raises several kinds, without a base class
            raise InputError(f"merging the adapter: {one_line(error, 300)}") from error
    return base


@contextmanager
def _parted_embeddings(model: Any) -> Iterator[None]:
    """Give a tied head its own weight while something is merged, and tie it again where the two stay equal.

    PEFT merges in place: what it adds to one of two tied layers, the other one gets too.
    """
    configs = [config for config in _configs_of(model) if getattr(config, "tie_word_embeddings", False)]
    embedding, head = map(_innermost, _embedding_and_head(model))
    if head is not None and getattr(embedding, "weight", None) is getattr(head, "weight", None) is not None:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
    yield
    embedding, head = _embedding_and_head(model)
    if not configs or head is None:
        return
    tied = embedding.weight.shape == head.weight.shape and torch.equal(embedding.weight, head.weight)
    if tied:
        head.weight = embedding.weight
    else:
        names = {f"{name}.weight" for name, module in model.named_modules() if module is head or module is embedding}
        forget_ties(model, names)
    for config in configs:
        config.tie_word_embeddings = tied


def _configs_of(model: Any) -> list[Any]:
    """Return the config, and that of the language model inside it; none of a plain module."""
    config: Any = getattr(model, "config", None)
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    return list({id(found): found for found in (config, inner)}.values())


def _embedding_and_head(model: Any) -> tuple[Any, Any]:
    getters = (getattr(model, name, None) for name in ("get_input_embeddings", "get_output_embeddings"))
    embedding, head = (getter() if getter is not None else None for getter in getters)
    return embedding, head


def _innermost(layer: Any) -> Any:
    """Return the layer under adapters, and under a copy that is trained whole."""
    while (inner := getattr(layer, "base_layer", None) or getattr(layer, "original_module", None)) is not None:
        layer = inner
    return layer
