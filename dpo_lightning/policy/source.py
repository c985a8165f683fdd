"""The source of a run's policy: where it comes from, what it was before training, how it is had again."""

from __future__ import annotations

import copy
from functools import partial
from os import PathLike
from typing import Any, Union, cast

import torch
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.compare_export import other_base
from dpo_lightning.policy.fused_layers import asks_to_fuse, fuse_layers
from dpo_lightning.policy.given import GivenModel, check_values
from dpo_lightning.policy.initialisation import moves_base
from dpo_lightning.policy.loading import adapter_config, load_config
from dpo_lightning.policy.lora import is_adapted, with_fast_adapters
from dpo_lightning.policy.modality import embedding_rows
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.policy.run_layers import RunLayers
from dpo_lightning.policy.sharding import is_split
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
        if isinstance(policy, str) and not policy.strip():
            raise InputError(f"model.policy: {policy!r} is no name: give that of a model, or its directory")
        self.policy = policy
        self.options = options
        self._given = None if isinstance(policy, str) else GivenModel(policy)
        self._layers: RunLayers | None = None
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
        """Return why the base of the adapter can be loaded from nowhere.

        An older adapter is merged into it, or it is a module that is not the model under its name; that is loaded.
        """
        if self.options.lora is None or not self._comes_with_adapter():
            return self._changed_base()
        return (
            "the adapter lies over weights that another one was merged into, which are on no disk: export the merged "
            "weights, or save the merged model and train on that"
        )

    def _changed_base(self) -> str | None:
        if isinstance(self.policy, str) or not is_adapted(self.policy):
            return None
        adapted = cast(Any, self.policy)
        base = adapted.get_base_model() if self._came_adapted else adapted
        (config, *_) = adapted.peft_config.values()
        moved = any(moves_base(getattr(each, "init_lora_weights", True)) for each in adapted.peft_config.values())
        return None if moved else other_base(base, config.base_model_name_or_path, config.revision)

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

    def build(self, precision: str | None, device: torch.device, *, sharded: bool = False) -> nn.Module:
        """Build the policy, ready to train under a Lightning precision; a module is changed in place, see `give_back`.

        Args:
            precision: Lightning's name of it.
            device: Where it will run.
            sharded: The other ranks build it too, without its weights.

        Raises:
            InputError: for a model that cannot be loaded, or options that do not fit it.
        """
        if isinstance(self.policy, str):  # read now: a checkpoint needs it when the directory may be gone
            self._config = load_config(self.policy, self.options.model_kwargs)
        else:
            self._config = copy.deepcopy(getattr(self.policy, "config", None))
        fused = asks_to_fuse(self.options.fused_layers, precision, device)
        build = partial(self._built, precision, sharded, fused=fused)
        policy = build() if self._given is None else self._given.prepare(build)
        self._layers = RunLayers(policy, partial(self._with_run_layers, sharded, fused))
        return policy

    @property
    def is_taken(self) -> bool:
        """True while the policy is prepared for a run."""
        return self._layers is not None and self._layers.is_taken

    def give_back(self) -> None:
        """Give the policy its layers back when a run ends, and a module that was given its dropout, cache and mode."""
        try:
            if self._layers is not None:
                self._layers.give_back()
        finally:
            if self._given is not None:
                self._given.give_back()

    def take_out_adapters(self) -> bool:
        """Take new adapters out of a module that was given; return whether it is as it was before the run built it."""
        return self._given is not None and self._given.take_out_adapters()

    def take_again(self, precision: str | None) -> None:
        """Prepare a policy that was given back for the next run, under its precision."""
        if self._given is not None:
            self._given.take_again()
        if self._layers is not None:
            self._layers.take_again(precision)

    def build_again(self, precision: str | None, *, sharded: bool = False) -> nn.Module:
        """Build a second one, as the first was before training; arguments as of `build`.

        Raises:
            InputError: when it was given as a module.
        """
        if isinstance(self.policy, nn.Module):
            raise InputError(
                "reference Precomputed: rows are missing in the cache, and the policy, given as a module, is no longer "
                "what it was: score these rows before training, or give the policy by its name or directory"
            )
        return self._built(precision, sharded)

    def _built(self, precision: str | None, sharded: bool, *, fused: bool = False) -> nn.Module:
        policy = build_policy(self.policy, precision_of(precision).weights, self.options, sharded=sharded)
        return self._with_run_layers(sharded, fused, precision, policy)

    def _with_run_layers(self, sharded: bool, fused: bool, precision: str | None, policy: nn.Module) -> nn.Module:
        kept = self.options.gradient_checkpointing == "selective"
        if fused and not is_split(policy):
            fuse_layers(policy, strict=self.options.fused_layers == "compile", products_kept=kept)
        return with_fast_adapters(policy, precision, sharded=sharded, products_kept=kept)

    def original_config(self) -> dict[str, Any] | None:
        """Return the config as it was given, before caching and dropout were switched off; None where there is none."""
        return self._config.to_dict() if hasattr(self._config, "to_dict") else None
