"""Modules of a model without torch's recursion."""

from __future__ import annotations

from torch import nn


class Walked:
    """The modules of a model, without a walk each time: a list, made anew when one of them has other children.

    torch's walk of 16 layers with adapters takes 4 ms. Reads `nn.Module._modules`, which has no public form that is as
    fast.

    Args:
        model: The model; it is walked at the first call.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules: list[nn.Module] = []
        self._children: list[tuple[dict[str, nn.Module | None], list[nn.Module | None]]] = []

    def __call__(self) -> list[nn.Module]:
        """Return the modules, each once, the model first."""
        if not self._modules or any([*held.values()] != before for held, before in self._children):
            self._modules = [*self._model.modules()]
            self._children = [(each._modules, [*each._modules.values()]) for each in self._modules]
        return self._modules
