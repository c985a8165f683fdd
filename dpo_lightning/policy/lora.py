"""Low-rank adapters on the policy."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.compat.peft import letters_for_names, loading_problem
from dpo_lightning.errors import InputError
from dpo_lightning.policy.beside_text import OtherParts, other_parts
from dpo_lightning.policy.coverage import check_named, check_parameters, check_tokens
from dpo_lightning.policy.initialisation import initialisation
from dpo_lightning.policy.narrow_base import hold_narrow
from dpo_lightning.utils.settings import MOMENTUM, POSITIVE, at_least, require
from dpo_lightning.utils.text import one_line

_NEWER = "install peft 0.20 or newer"


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters on the policy (arXiv:2106.09685), through PEFT.

    Args:
        r: Rank.
        alpha: Scale: the update is multiplied by alpha / r.
        dropout: Dropout on the adapters' input; it stays on when the model's own dropout is off.
        target_modules: Names of the modules to adapt, a regular expression, or `all-linear`, which leaves out the head.
            Of a multimodal model, the language model alone is adapted.
        use_rslora: Multiply by alpha / sqrt(r) instead (arXiv:2312.03732).
        use_dora: Learn magnitude and direction apart (arXiv:2402.09353).
        modules_to_save: Names of modules to train whole, such as a new embedding.
        init_lora_weights: PEFT's initialisation.
        target_parameters: Names of parameters to adapt that are in no linear layer, as a mixture's experts often are:
            `mlp.experts.gate_up_proj`.
        exclude_modules: Names of modules to leave out, or a regular expression.
        trainable_token_indices: Ids of tokens whose embeddings are trained, or such a list by an embedding's name.
        ensure_weight_tying: Tie the adapters of tied weights, such as embeddings and head.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import LoRA, PreferenceModule
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> adapters = LoRA(r=4, target_modules=["q_proj", "v_proj"])
        >>> module = PreferenceModule(LlamaForCausalLM(config), lora=adapters)
        >>> module.configure_model()
        >>> sum(weight.numel() for weight in module.policy.parameters() if weight.requires_grad)  # 2 x 2 x 16 x 4
        256
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: Union[str, list[str]] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: Optional[list[str]] = None
    init_lora_weights: Union[bool, str] = True
    target_parameters: Optional[list[str]] = None
    exclude_modules: Optional[Union[str, list[str]]] = None
    trainable_token_indices: Optional[Union[list[int], dict[str, list[int]]]] = None
    ensure_weight_tying: bool = False

    def __post_init__(self) -> None:
        require(self, "lora", r=at_least(1), alpha=POSITIVE, dropout=MOMENTUM)
        for name in ("target_modules", "exclude_modules"):
            pattern = getattr(self, name)
            try:
                re.compile(pattern if isinstance(pattern, str) else "")
            except re.error as error:
                raise InputError(f"lora.{name}: {pattern!r:.200} is no regular expression: {error}") from error


def is_adapted(model: nn.Module) -> bool:
    """Return whether the model carries PEFT adapters."""
    return hasattr(model, "peft_config")


def is_low_rank(model: nn.Module) -> bool:
    """Return whether all of the model's adapters are LoRA's, such as no soft prompts, IA3 or VeRA are."""
    from peft import LoraConfig

    configs: Any = getattr(model, "peft_config", {})
    return bool(configs) and all(isinstance(each, LoraConfig) for each in configs.values())


def add_lora(policy: nn.Module, lora: LoRA, revision: str | None = None, beside: OtherParts | None = None) -> nn.Module:
    """Put new adapters on the policy, in the dtype of its weights.

    Args:
        policy: A model without adapters.
        lora: The adapters' settings.
        revision: Revision that the model was loaded from the hub in; an exported adapter names it.
        beside: The parts of the policy that are left out; None looks for them.

    Raises:
        InputError: when the settings do not fit it, or their initialisation does not last.
    """
    from peft import LoraConfig, get_peft_model

    _check_initialisation(lora.init_lora_weights)
    settings = asdict(lora)
    beside = beside or other_parts(policy)
    if lora.target_modules == "all-linear" and (routers := _of_several_outputs(policy)):
        beside = beside._replace(modules={**beside.modules, **routers})
        rank_zero_info(
            f"lora: all-linear leaves out {len(routers)} linear layers that return more than a tensor, which peft does "
            f"not adapt, such as {next(iter(routers))}"
        )
    config = LoraConfig(
        task_type="CAUSAL_LM" if hasattr(policy, "prepare_inputs_for_generation") else None,
        lora_alpha=settings.pop("alpha"),
        lora_dropout=settings.pop("dropout"),
        exclude_modules=beside.excluded_with(settings.pop("exclude_modules")),
        **settings,
    )
    check_tokens(policy, lora.trainable_token_indices)
    check_named(policy, lora.modules_to_save, lora.exclude_modules)
    try:
        with warnings.catch_warnings():
            # Merging goes wrong where weights are tied: an export parts them.
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings", category=UserWarning)
            # PEFT writes these patterns itself, for experts that are one parameter, and looks for linear layers.
            warnings.filterwarnings("ignore", r"The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
            # In the weights' dtype at once: Lightning would cast the adapter later, when a reference has copied it.
            adapted = get_peft_model(policy, config, autocast_adapter_dtype=False, revision=revision)
    except Exception as error:  # PEFT raises several kinds, without a base class
        _check_read(lora, config.target_modules)
        raise InputError(f"lora: {one_line(error, 600)}") from error
    _check_read(lora, config.target_modules)
    if problem := loading_problem(adapted):
        raise InputError(
            f"lora: peft could not load what it would save of {type(policy).__name__} ({problem}): {_NEWER}"
        )
    check_parameters(adapted.targeted_parameter_names, lora.target_parameters, lora.exclude_modules)
    return adapted


def with_fast_adapters(
    policy: nn.Module, precision: str | None, *, sharded: bool = False, products_kept: bool = False
) -> nn.Module:
    """Return the policy with plain LoRA layers that compute base product and update as one; changed in place.

    Args:
        policy: A policy, ready to train.
        precision: Lightning's name of it; under a mixed one, frozen weights may be held in the narrower dtype.
        sharded: The other ranks have no weights to look at.
        products_kept: Checkpointing keeps the base's products: they stay operations of their own.
    """
    if is_low_rank(policy):
        from dpo_lightning.policy.low_rank_layers import merge_widely, multiply_jointly

        (merge_widely if products_kept else multiply_jointly)(policy)
        if not sharded:
            hold_narrow(policy, precision)
    return policy


def without_fast_adapters(policy: nn.Module) -> None:
    """Take the classes of `with_fast_adapters` back, in place; what is narrow stays so."""
    if is_low_rank(policy):
        from dpo_lightning.policy.low_rank_layers import multiply_apart

        multiply_apart(policy)


def _of_several_outputs(policy: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers with a forward of their own that returns no tensor, as routers of Llama4, by name."""
    own = {
        name: each
        for name, each in policy.named_modules()
        if isinstance(each, nn.Linear)
        and type(each).forward is not nn.Linear.forward
        and not type(each).__module__.startswith("bitsandbytes")
    }
    return {name: each for name, each in own.items() if not _gives_a_tensor(each)}


def _gives_a_tensor(layer: nn.Linear) -> bool:
    row = torch.zeros(1, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device)
    try:
        with torch.no_grad():
            return isinstance(layer(row), torch.Tensor)
    except Exception:  # one that is called otherwise says so in the run's own forward
        return True


def _check_read(lora: LoRA, read: Union[str, Collection[str], None]) -> None:
    if letters_for_names(lora.target_modules, read):
        raise InputError(
            f"lora.target_modules: peft reads {lora.target_modules!r} as letters for this mixture of experts: {_NEWER}"
        )


def _check_initialisation(name: Union[bool, str]) -> None:
    try:
        problem = initialisation(name).problem
    except Exception as error:  # PEFT raises several kinds, without a base class
        problem = one_line(error, 300)
        if problem.startswith("invalid literal for int()"):
            problem = f"is none that PEFT knows: a whole number belongs at its end ({problem})"
    if problem is not None:
        raise InputError(f"lora: init_lora_weights={name!r} {problem}")
