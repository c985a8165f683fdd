"""Settings of a model that somebody has given, which a run switches while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from dpo_lightning.policy.prepare import switched_settings


class _Switched(NamedTuple):
    """An attribute of a module or a config, its value as it was given, and that of the run."""

    holder: Any
    name: str
    given: Any
    prepared: Any


class GivenModel:
    """A model that a run prepares, gives back with its settings as they were, and may take again.

    Settings are those that the preparation switches: dropout, caching, gradient checkpointing, and whether each module
    is in train mode. Weights, their dtype and adapters stay as the run has made them.

    Args:
        model: The model, as it was given.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._policy = model
        self._switched: list[_Switched] = []
        self._is_taken = False

    @property
    def is_taken(self) -> bool:
        """True while it has the settings of a run."""
        return self._is_taken

    def prepare(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Return what `build` makes of the model; where it fails, the model has its settings back."""
        given = [(holder, name, getattr(holder, name)) for holder, name in switched_settings(self._model)]
        self._is_taken = True
        try:
            self._policy = build()
        except BaseException:
            self._note(given)
            self.give_back()
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

    def take_again(self) -> None:
        """Switch to the settings of the run once more, where the model was given back."""
        if self._is_taken:
            return
        self._is_taken = True
        self._switched = [each._replace(given=getattr(each.holder, each.name)) for each in self._switched]
        self._policy.train()
        for each in self._switched:
            setattr(each.holder, each.name, each.prepared)
