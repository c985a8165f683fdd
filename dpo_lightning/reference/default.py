"""The reference that a run gets where none is named."""

from __future__ import annotations

from torch import nn

from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.reference.adapter import AdapterOff, FrozenAdapter
from dpo_lightning.reference.base import Reference
from dpo_lightning.reference.frozen import FrozenCopy


def default_reference(policy: nn.Module, trained_adapter: bool) -> Reference:
    """Return the reference that equals the policy before training, at the least cost in memory.

    Args:
        policy: The policy, ready to train.
        trained_adapter: Whether its adapters were trained before, so that the base weights are not its start.
    """
    return default_reference_type(is_adapted(policy), trained_adapter)()


def default_reference_type(adapted: bool, trained_adapter: bool) -> type[FrozenCopy | FrozenAdapter | AdapterOff]:
    """Return the class of the default reference of a policy that need not exist, from what is known of its adapters."""
    if not adapted:
        return FrozenCopy
    return FrozenAdapter if trained_adapter else AdapterOff
