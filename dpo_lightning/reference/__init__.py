"""References: what the policy is compared with."""

from __future__ import annotations

from torch import nn

from dpo_lightning.reference.adapter import AdapterOff, FrozenAdapter
from dpo_lightning.reference.base import Followed, Reference
from dpo_lightning.reference.default import default_reference
from dpo_lightning.reference.frozen import FrozenCopy
from dpo_lightning.reference.moved import ReferenceMover, moved_weights, restore_moved
from dpo_lightning.reference.none import NoReference
from dpo_lightning.reference.precomputed import Precomputed

__all__ = [
    "AdapterOff",
    "Followed",
    "FrozenAdapter",
    "FrozenCopy",
    "NoReference",
    "Precomputed",
    "Reference",
    "ReferenceMover",
    "default_reference",
    "moved_weights",
    "restore_moved",
    "settle_reference",
]


def settle_reference(wanted: Reference | None, policy: nn.Module, trained_adapter: bool) -> Reference:
    """What is wanted, or the `default_reference`; a precomputed one learns what it scores."""
    default = default_reference(policy, trained_adapter)
    if isinstance(wanted, Precomputed):
        wanted.score_by_default(default)
    return wanted or default
