"""Settings of a model that somebody has given, which a run switches while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from dpo_lightning.compat.transformers import attention_settings, restore_attention
from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import take_out_adapters
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import switched_settings
from dpo_lightning.policy.run_layers import plain_layers


def check_values(model: nn.Module) -> None:
    """Refuse a model whose weights have no values yet.

    Raises:
        InputError: naming one of them.
    """
    if empty := [name for name, each in model.named_parameters() if each.is_meta]:
        raise InputError(
            f"policy: {len(empty)} of its weights are on the device meta, without values ({empty[0]}, ...): load them "
            "before you give the module, or give its name or directory"
        )


class _Switched(NamedTuple):
    """An attribute of a module or a config, its value as it was given, and that of the run."""

    holder: Any
    name: str
    given: Any
    prepared: Any


class GivenModel:
    """A model that a run prepares, gives back with its settings as they were, and may take again.

    Settings are those that the preparation switches: dropout, caching, gradient checkpointing, and whether each module
    is in train mode; and the attention implementation. Weights, their dtype and adapters stay as the run has made them,
    but for new adapters of a run that ends before it trains.

    Args:
        model: The model, as it was given.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._policy = model
        self._switched: list[_Switched] = []
        self._is_taken = False
        self._came_adapted = is_adapted(model)
        self._required: dict[nn.Parameter, bool] = {}
        self._attention: list[tuple[Any, str]] = []

    def prepare(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Return what `build` makes of the model; where it fails, the model has its settings back."""
        given = [(holder, name, getattr(holder, name)) for holder, name in switched_settings(self._model)]
        self._attention = attention_settings(self._model)
        self._is_taken = True
        self._required = {parameter: parameter.requires_grad for parameter in self._model.parameters()}
        try:
            self._policy = build()
        except BaseException:
            self._note(given)
            self.give_back()
            plain_layers(self._model)
            self.take_out_adapters()
            raise
        self._note(given)
        return self._policy

    def _note(self, given: list[tuple[Any, str, Any]]) -> None:
        values = [_Switched(*each, getattr(each[0], each[1])) for each in given]
        self._switched = [each for each in values if each.given != each.prepared]

    def give_back(self) -> None:
        """Give the model its settings back, where a run has it."""
        if not self._is_taken:
            return
        self._is_taken = False
        if any(each.holder is self._model and each.name == "training" for each in self._switched):
            self._policy.eval()  # adapters too
        for each in self._switched:
            setattr(each.holder, each.name, each.given)
        restore_attention(self._attention)  # which a tree has replaced, and replaces again

    def take_out_adapters(self) -> bool:
        """Take the adapters out that a run has put into the model, as if it had not begun; return whether that is done.

        An adapter that the model came with stays, and so do new ones that have moved the weights under them.
        """
        if self._came_adapted or not take_out_adapters(self._model):
            return False
        for parameter, required in self._required.items():
            parameter.requires_grad_(required)
        self._policy, self._switched = self._model, []
        return True

    def take_again(self) -> None:
        """Switch to the settings of the run once more, where the model was given back."""
        if self._is_taken:
            return
        self._is_taken = True
        self._switched = [each._replace(given=getattr(each.holder, each.name)) for each in self._switched]
        self._policy.train()
        for each in self._switched:
            setattr(each.holder, each.name, each.prepared)
