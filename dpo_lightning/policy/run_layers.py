"""Layers of a policy that are of other classes while a run has it: compiled, joint with their adapters, or narrow."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dpo_lightning.policy.fused_layers import take_apart
from dpo_lightning.policy.lora import without_fast_adapters
from dpo_lightning.policy.narrow_base import hold_as_before, is_narrow


class RunLayers:
    """The layers of a policy that a run computes in its own way, given back when it ends, and taken again for the next.

    Whoever has the policy after the run finds what transformers and PEFT have made: their classes, and weights in the
    dtype that they were loaded in. Sharded layers keep the class that sharding gave them.

    Args:
        policy: The policy, with the layers of the run.
        take: Gives a policy the layers of a precision, in place; one that has them stays as it is.
    """

    def __init__(self, policy: nn.Module, take: Callable[[str | None, nn.Module], object]) -> None:
        self._policy = policy
        self._take = take
        self.is_taken = True

    def give_back(self) -> None:
        """Give the layers their own classes and dtypes back, where the run has them."""
        if self.is_taken:
            self.is_taken = False
            plain_layers(self._policy)

    def take_again(self, precision: str | None) -> None:
        """Give the policy the layers of a run once more, where they were given back, under its precision."""
        if not self.is_taken:
            self.is_taken = True
            self._take(precision, self._policy)


def plain_layers(model: nn.Module) -> None:
    """Give the layers of a model the classes and dtypes back that they had before a run; in place.

    A model with narrow layers goes to the CPU, where Lightning puts it next: its wide weights may not fit the device.
    """
    take_apart(model)
    without_fast_adapters(model)
    if is_narrow(model):
        hold_as_before(model.cpu())
