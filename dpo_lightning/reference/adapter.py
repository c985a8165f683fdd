"""References on the policy's own weights, with another adapter or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.compat.peft import AdapterSwitch
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.initialisation import moves_base
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.samples import own_tensors
from dpo_lightning.policy.scoring_mode import ScoringMode
from dpo_lightning.policy.sharding import sharded_parameters
from dpo_lightning.reference.base import BoundReference, Followed, Reference, without_idle
from dpo_lightning.utils.tensors import whole
from dpo_lightning.utils.text import one_line


@dataclass(frozen=True)
class AdapterOff(Reference):
    """The policy with its adapters disabled: the base weights. Costs no memory.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import AdapterOff, LoRA
        >>> from dpo_lightning.policy.lora import add_lora
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> policy = add_lora(LlamaForCausalLM(config), LoRA(r=4))
        >>> AdapterOff().bind(policy).own_models()  # no second model
        []
    """

    def bind(self, policy: nn.Module) -> BoundReference:
        """Check that the base weights are the original model's.

        Raises:
            InputError: without adapters, or where the adapter's initialisation or the training changes base weights.
        """
        if not is_adapted(policy):
            raise InputError("reference AdapterOff needs a policy with adapters: set `lora`, or use FrozenCopy")
        _refuse_moved_base(policy)
        _refuse_trained_base("AdapterOff", policy)
        return _BaseWeights(policy)


class _BaseWeights(BoundReference):
    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy
        self._switch = AdapterSwitch(policy)
        self._mode = ScoringMode(policy, policy)
        self._score = TokenScorer(policy)

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Score with the adapters off."""
        with torch.no_grad(), self._mode.entered(), self._switch.off():
            return self._score(batch).logps

    @contextmanager
    def generating(self) -> Iterator[nn.Module]:
        """Yield the policy with the adapters off."""
        with cast(Any, self._policy).disable_adapter():
            yield self._policy

    def diagnose(self) -> str:
        """Say whether the adapter is a no-op, as far as LoRA's second matrices show it: they are 0 in one."""
        seconds = [each for name, each in self._policy.named_parameters() if ".lora_B." in name or "_B." in name]
        moved = sum(bool(whole(each.detach()).any()) for each in seconds)
        if seconds and not moved:
            return "LoRA's second matrices are all 0: the same weights score differently with the adapter and without"
        found = f"{moved} of LoRA's {len(seconds)} second matrices are not 0" if seconds else "it is no LoRA"
        return (
            f"the adapter changes the policy before it was trained here ({found}): use the reference FrozenAdapter for "
            "one that was trained elsewhere"
        )

    def followed(self) -> dict[str, Followed]:
        """Refuse to follow the policy.

        Raises:
            InputError: since the base weights are the policy's too.
        """
        raise InputError(
            "reference AdapterOff is the base weights, which the policy shares, and cannot follow it: set "
            "model.reference to FrozenAdapter, which starts as the same"
        )


@dataclass(frozen=True)
class FrozenAdapter(Reference):
    """A frozen copy of the trained adapter that the policy starts from; the base weights are shared."""

    NAME: ClassVar[str] = "reference"

    def bind(self, policy: nn.Module) -> BoundReference:
        """Copy the policy's active adapter.

        Raises:
            InputError: without adapters, or where the training changes base weights.
        """
        if not is_adapted(policy):
            raise InputError("reference FrozenAdapter needs a policy with adapters: set `lora`, or use FrozenCopy")
        _refuse_trained_base("FrozenAdapter", policy)
        name = self.NAME
        while name in cast(Any, policy).peft_config:  # a user's
            name += "_"
        _copy_active_adapter(policy, name)
        return _AdapterCopy(policy, name)


def _copy_active_adapter(policy: Any, name: str) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    trained = policy.active_adapter
    # Without the embeddings that PEFT adds to a file when the head is adapted: the base is shared.
    weights = get_peft_model_state_dict(policy, adapter_name=trained, save_embedding_layers=False)
    # The copy gets its weights below; an initialisation such as PiSSA would change the base weights once more.
    config = policy.peft_config[trained]
    if hasattr(config, "init_lora_weights"):
        config = replace(config, init_lora_weights=False)
    try:
        policy.add_adapter(name, config, autocast_adapter_dtype=False)
    except Exception as error:  # PEFT raises several kinds, without a base class
        policy.peft_config.pop(name, None)
        raise InputError(
            f"reference FrozenAdapter cannot have a copy beside the adapter ({one_line(error, 200)}): use the "
            "reference FrozenCopy"
        ) from error
    _take_dtypes(policy, trained, name)
    set_peft_model_state_dict(policy, weights, adapter_name=name)


def _take_dtypes(policy: nn.Module, trained: str, name: str) -> None:
    """Give the copy the dtypes of the trained adapter: PEFT takes those of the base, which may be narrower."""
    parameters = dict(policy.named_parameters())
    for of_copy, parameter in parameters.items():
        before, found, after = f"{of_copy}.".rpartition(f".{name}.")
        original = parameters.get(f"{before}.{trained}.{after}".removesuffix(".")) if found else None
        if original is not None and original.dtype != parameter.dtype:
            parameter.data = parameter.data.to(original.dtype)


class _AdapterCopy(BoundReference):
    """A second adapter of the policy.

    Args:
        policy: The PEFT model.
        name: The copy's name among its adapters.
    """

    def __init__(self, policy: Any, name: str) -> None:
        self._policy = policy
        self._name = name
        self._trained = policy.active_adapter
        self._switch = AdapterSwitch(policy)
        self._mode = ScoringMode(policy, policy)
        self._score = TokenScorer(policy)

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Score with the copy active."""
        with torch.no_grad(), self._mode.entered(), self._switch.to(self._name):
            return self._score(batch).logps

    @contextmanager
    def generating(self) -> Iterator[nn.Module]:
        """Yield the policy with the copy active."""
        with self._active():
            yield self._policy

    def diagnose(self) -> str:
        """Say whether the adapter moved on."""
        pairs = self.followed().values()
        if all(torch.equal(whole(pair.reference.detach()), whole(pair.policy.detach())) for pair in pairs):
            return "the adapter equals the reference's copy of it: the same weights score differently"
        return "the policy's adapter is no longer the one that the reference copied"

    def followed(self) -> dict[str, Followed]:
        """Return the copy of each trained weight.

        Raises:
            InputError: for a trained weight without a copy.
        """
        parameters = sharded_parameters(self._policy)
        trained = [name for name, parameter in parameters.items() if parameter.requires_grad]
        copies = {name: self._name_of_copy(name) for name in trained}
        if missing := [name for name, copied in copies.items() if copied not in parameters]:
            raise InputError(
                f"reference FrozenAdapter has no copy of {missing[0]}, which is trained, and cannot follow the policy: "
                "use FrozenCopy"
            )
        return {name: Followed(parameters[copied], parameters[name]) for name, copied in copies.items()}

    def own_weights(self) -> dict[str, Tensor]:
        """Return the copy's weights, without matrices of a new adapter, whose partners are still 0."""
        tensors = own_tensors(self._policy)
        return without_idle({name: value for name, value in tensors.items() if f".{self._name}." in f"{name}."})

    def _name_of_copy(self, name: str) -> str:
        """Return the copy's name of a parameter: PEFT's names end with the adapter's and what the adapter calls it."""
        before, _, after = f"{name}.".rpartition(f".{self._trained}.")
        return f"{before}.{self._name}.{after}".removesuffix(".")

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Switch adapters; switching back makes the trained one trainable and the copy frozen again."""
        self._policy.set_adapter(self._name, inference_mode=True)
        try:
            yield
        finally:
            self._policy.set_adapter(self._trained)


def _refuse_moved_base(policy: nn.Module) -> None:
    # PiSSA's and OLoRA's residual is 0.2 to 0.5 nats away from the original model.
    for config in cast(Any, policy).peft_config.values():
        initialisation = getattr(config, "init_lora_weights", True)
        if moves_base(initialisation):
            raise InputError(
                f"reference AdapterOff: init_lora_weights={initialisation!r} moves part of the base weights into "
                "the adapter, so the model without it is not the original one: use the reference FrozenCopy"
            )


def _refuse_trained_base(reference: str, policy: nn.Module) -> None:
    """Refuse trained base weights: those that are still trainable while PEFT has its own parameters off and frozen."""
    with cast(Any, policy).disable_adapter():
        trained = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
    if trained:
        raise InputError(
            f"reference {reference}: {len(trained)} base parameters are trained too ({trained[0]}, ...), which the "
            "reference shares, so it would change with them: use the reference FrozenCopy"
        )
