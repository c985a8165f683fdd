"""References: what the policy is compared with."""

from dpo_lightning.reference.adapter import AdapterOff, FrozenAdapter
from dpo_lightning.reference.base import BoundReference, Followed, LostReference, NoReference, Reference
from dpo_lightning.reference.default import default_reference, default_reference_type
from dpo_lightning.reference.frozen import FrozenCopy, FrozenModule
from dpo_lightning.reference.moved import ReferenceMover, moved_weights, restore_moved
from dpo_lightning.reference.precomputed import BoundPrecomputed, Precomputed, settle_reference

__all__ = [
    "AdapterOff",
    "BoundPrecomputed",
    "BoundReference",
    "Followed",
    "FrozenAdapter",
    "FrozenCopy",
    "FrozenModule",
    "LostReference",
    "NoReference",
    "Precomputed",
    "Reference",
    "ReferenceMover",
    "default_reference",
    "default_reference_type",
    "moved_weights",
    "restore_moved",
    "settle_reference",
]
