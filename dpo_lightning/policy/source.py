"""The source of a run's policy: where it comes from, what it was before training, how it is had again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any, Union

import torch
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.given import GivenModel, check_values
from dpo_lightning.policy.loading import adapter_config, load_config
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import PolicyOptions, build_policy, precision_dtype
from dpo_lightning.utils.arguments import wrong_kind


class PolicySource:
    """The policy as a run was given it.

    It is no `nn.Module`, so the module that it holds is not registered with the one that holds it.

    Args:
        policy: Hub name or directory of a causal LM or of a trained PEFT adapter; or a module.
        options: How to prepare it.

    Raises:
        InputError: for a policy that is neither name nor module.
    """

    def __init__(self, policy: Union[str, nn.Module], options: PolicyOptions) -> None:
        if not isinstance(policy, str | nn.Module):
            is_path = isinstance(policy, PathLike)
            remedy = f"write {str(policy)!r}" if is_path else "give a hub name, a directory or a module"
            raise wrong_kind("policy", policy, nn.Module, remedy)
        self.policy = policy
        self.options = options
        self._given = None if isinstance(policy, str) else GivenModel(policy)
        self._config: Any = None
        # Asked now: a module is changed in place. A name is asked where it is needed, which may take the hub.
        self._came_adapted = isinstance(policy, nn.Module) and is_adapted(policy)

    @property
    def name(self) -> str | None:
        """Name that it was given by, or that a Hugging Face module was loaded under."""
        return self.policy if isinstance(self.policy, str) else getattr(self.policy, "name_or_path", None)

    @property
    def has_trained_adapter(self) -> bool:
        """True where the adapter that is trained is the one that it comes with."""
        return self.options.lora is None and self._comes_with_adapter()

    def _comes_with_adapter(self) -> bool:
        return adapter_config(self.policy) is not None if isinstance(self.policy, str) else self._came_adapted

    def names_read(self) -> list[str]:
        """Return the names and directories that it is loaded from, and of an adapter's base model."""
        names = [self.name]
        if isinstance(self.policy, str) and self._comes_with_adapter():
            names.append(adapter_config(self.policy).base_model_name_or_path)
        return [name for name in names if name]

    def lost_base(self) -> str | None:
        """Return why the base of the new adapter can be loaded from nowhere: an older adapter is merged into it."""
        if self.options.lora is None or not self._comes_with_adapter():
            return None
        return (
            "the adapter lies over weights that another one was merged into, which are on no disk: export the merged "
            "weights, or save the merged model and train on that"
        )

    def check(self) -> None:
        """Check that there is such a model, at little cost.

        Raises:
            InputError: when there is none.
        """
        if isinstance(self.policy, str):
            load_config(self.policy, self.options.model_kwargs)
        else:
            check_values(self.policy)

    def vocabulary(self) -> int | None:
        """Return the rows of its embedding; None where neither module nor config says.

        Raises:
            InputError: when there is no such model.
        """
        if isinstance(self.policy, str):
            config = load_config(self.policy, self.options.model_kwargs)
            return getattr(config.get_text_config(), "vocab_size", None)
        return embedding_rows(self.policy)

    def build(self, precision: str | None) -> nn.Module:
        """Build the policy, ready to train under a Lightning precision; a module is changed in place, see `give_back`.

        Raises:
            InputError: for a model that cannot be loaded, or options that do not fit it.
        """
        if isinstance(self.policy, str):  # read now: a checkpoint needs it when the directory may be gone
            self._config = load_config(self.policy, self.options.model_kwargs)
        else:
            self._config = copy.deepcopy(getattr(self.policy, "config", None))
        build = partial(build_policy, self.policy, precision_dtype(precision), self.options)
        return build() if self._given is None else self._given.prepare(build)

    @property
    def is_taken(self) -> bool:
        """True while a module that was given is prepared for a run."""
        return self._given is not None and self._given.is_taken

    def give_back(self) -> None:
        """Give a module that was given its dropout, its cache and its mode back, when a run ends."""
        if self._given is not None:
            self._given.give_back()

    def take_out_adapters(self) -> bool:
        """Take new adapters out of a module that was given; return whether it is as it was before the run built it."""
        return self._given is not None and self._given.take_out_adapters()

    def take_again(self) -> None:
        """Prepare a module that was given back for the next run."""
        if self._given is not None:
            self._given.take_again()

    def build_again(self, precision: str | None) -> nn.Module:
        """Build a second one, as the first was before training.

        Raises:
            InputError: when it was given as a module.
        """
        if isinstance(self.policy, nn.Module):
            raise InputError(
                "reference Precomputed: rows are missing in the cache, and the policy, given as a module, is no longer "
                "what it was: score these rows before training, or give the policy by its name or directory"
            )
        return build_policy(self.policy, precision_dtype(precision), self.options)

    def original_config(self) -> dict[str, Any] | None:
        """Return the config as it was given, before caching and dropout were switched off; None where there is none."""
        return self._config.to_dict() if hasattr(self._config, "to_dict") else None


def embedding_rows(model: nn.Module) -> int | None:
    """Return the rows of a model's input embedding, which its token ids count; None where it does not say."""
    getter: Callable[[], Any] | None = getattr(model, "get_input_embeddings", None)
    try:
        embedding = None if getter is None else getter()
    except NotImplementedError:  # transformers' answer where it finds none
        return None
    weight = getattr(embedding, "weight", None)
    return weight.shape[0] if isinstance(weight, torch.Tensor) and weight.ndim else None
