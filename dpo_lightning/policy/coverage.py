"""Coverage of a model by its adapters: that it is what was asked for, and how much of the model it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from dpo_lightning.errors import InputError

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def check_tokens(policy: nn.Module, tokens: Sequence[int] | Mapping[str, Sequence[int]] | None) -> None:
    """Check that the model has the tokens whose embeddings are to be trained.

    Raises:
        InputError: for an id that is no row of the input embeddings.
    """
    lists = tokens.values() if isinstance(tokens, Mapping) else [tokens or []]
    ids = [token for each in lists for token in each]
    if not ids:
        return
    rows: int = policy.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    if wrong := [token for token in ids if not 0 <= token < rows]:
        raise InputError(
            f"lora.trainable_token_indices: the model has no token {wrong[0]}: its embeddings have the ids 0 to "
            f"{rows - 1}"
        )


def check_named(policy: nn.Module, modules_to_save: Sequence[str] | None, excluded: str | Sequence[str] | None) -> None:
    """Check that the model has what is named beside the targets: PEFT passes over names that nothing has.

    Raises:
        InputError: for a name of `LoRA.modules_to_save` or `LoRA.exclude_modules` that no module of the model has.
    """
    names = [name for name, _ in policy.named_modules()]
    if missing := [name for name in modules_to_save or [] if not any(_ends_with(each, name) for each in names)]:
        raise InputError(f"lora.modules_to_save: the model has no module {missing[0]!r}; write the end of one's name")
    wanted = [excluded] if isinstance(excluded, str) else [[name] for name in excluded or []]
    if idle := [each for each in wanted if not any(_is_excluded(name, each) for name in names)]:
        raise InputError(f"lora.exclude_modules: no module of the model is {idle[0]}: leave it out")


def check_parameters(
    adapted: Iterable[str], wanted: Sequence[str] | None, excluded: str | Sequence[str] | None
) -> None:
    """Check that what PEFT adapts beside linear layers is what was asked for: it passes over the rest without a word.

    Args:
        adapted: Names of the parameters that got an adapter.
        wanted: `LoRA.target_parameters`.
        excluded: `LoRA.exclude_modules`, which PEFT reads for modules only.

    Raises:
        InputError: for a wanted name that no parameter has, and for an excluded module that is adapted.
    """
    names = list(adapted)
    if missing := [name for name in wanted or [] if not any(_ends_with(each, name) for each in names)]:
        raise InputError(
            f"lora.target_parameters: the model has no parameter {missing[0]!r}; write the end of a parameter's name, "
            "such as mlp.experts.down_proj"
        )
    modules = {name.rpartition(".")[0] for name in names}
    if kept := sorted(module for module in modules if _is_excluded(module, excluded)):
        raise InputError(
            f"lora.exclude_modules: {kept[0]} would be adapted nevertheless, as a parameter and no linear layer: write "
            "what is to be adapted in target_modules, instead of all-linear, and in target_parameters"
        )


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _is_excluded(module: str, excluded: str | Sequence[str] | None) -> bool:
    if isinstance(excluded, str):
        return re.fullmatch(excluded, module) is not None
    return any(_ends_with(module, each) for each in excluded or [])


class Coverage(NamedTuple):
    """How much of a model its adapters, and whatever else is trained, cover.

    Attributes:
        covered: Number of the model's own weights with an adapter, or that are trained themselves.
        weights: Number of the model's own weights.
        bare_experts: Names of expert weights that nothing covers, with `*` for the number of a layer.
        expert_weights: Number of these.
        covers_experts: Whether other weights of experts are covered.
    """

    covered: int
    weights: int
    bare_experts: list[str]
    expert_weights: int
    covers_experts: bool = False

    def __str__(self) -> str:
        share = f"lora: the adapters cover {self.covered / self.weights:.1%} of the model's {self.weights:,} weights"
        if not self.bare_experts:
            return share
        some = "not all" if self.covers_experts else "none"
        return (
            f"{share}, and {some} of its experts: {', '.join(self.bare_experts)} ({self.expert_weights:,} weights) "
            "stay as they are; lora.target_parameters adapts them"
        )


def coverage(policy: nn.Module) -> Coverage:
    """Return what the adapters of a policy cover, from its modules alone."""
    from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    covered: set[int] = set()
    added: set[int] = set()
    rows = 0
    for module in policy.modules():
        if isinstance(module, ModulesToSaveWrapper):
            covered |= _ids(module.original_module)
            added |= _ids(module.modules_to_save)
        elif isinstance(module, BaseTunerLayer):
            added |= {id(each) for name in module.adapter_layer_names for each in getattr(module, name).parameters()}
            if isinstance(module, TrainableTokensLayer):
                rows += sum(each.numel() for each in module.trainable_tokens_delta.values())
            else:
                name = getattr(module, "parameter_name", "weight")
                covered.add(id(getattr(module.get_base_layer(), name, None)))
    own = {name: each for name, each in policy.named_parameters() if id(each) not in added}
    of_experts = _experts(policy)
    experts = {name: each for name, each in own.items() if id(each) in of_experts}
    bare = {name: each for name, each in experts.items() if id(each) not in covered and not each.requires_grad}
    return Coverage(
        rows + sum(_size(each) for each in own.values() if id(each) in covered or each.requires_grad),
        sum(map(_size, own.values())),
        sorted({_NUMBER.sub("*", _plain(name)) for name in bare}),
        sum(map(_size, bare.values())),
        len(bare) < len(experts),
    )


def _experts(policy: nn.Module) -> set[int]:
    """Return the `id` of each parameter of an expert, by the name of the module or the class that holds it."""
    found: set[int] = set()
    for name, module in policy.named_modules():
        if name.rpartition(".")[-1] == "experts" or type(module).__name__.endswith("Experts"):
            found |= _ids(module)
        elif name.rpartition(".")[-1] == "router":
            found -= _ids(module)
    return found


def _ids(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _size(parameter: nn.Parameter) -> int:
    """Return the number of weights; bitsandbytes packs two of four bits into a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()


def _plain(name: str) -> str:
    """Return a parameter's name as the model itself has it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")
