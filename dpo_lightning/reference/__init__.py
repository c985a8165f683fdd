"""References: what the policy is compared with."""

from dpo_lightning.reference.adapter import AdapterOff, FrozenAdapter
from dpo_lightning.reference.base import BoundReference, Followed, LostReference, NoReference, Reference
from dpo_lightning.reference.default import default_reference, default_reference_type
from dpo_lightning.reference.frozen import FrozenCopy, FrozenModule
from dpo_lightning.reference.gives_back import GivesBack
from dpo_lightning.reference.hooks import ModelHooks
from dpo_lightning.reference.identity import Identity
from dpo_lightning.reference.models import Place, RunModels
from dpo_lightning.reference.moved import ReferenceMover, moved_weights, restore_moved
from dpo_lightning.reference.precomputed import BoundPrecomputed, Precomputed
from dpo_lightning.reference.settle import checked_settings, in_memory_only, settle_reference

__all__ = [
    "AdapterOff",
    "BoundPrecomputed",
    "BoundReference",
    "Followed",
    "FrozenAdapter",
    "FrozenCopy",
    "FrozenModule",
    "GivesBack",
    "Identity",
    "LostReference",
    "ModelHooks",
    "NoReference",
    "Place",
    "Precomputed",
    "Reference",
    "ReferenceMover",
    "RunModels",
    "checked_settings",
    "default_reference",
    "default_reference_type",
    "in_memory_only",
    "moved_weights",
    "restore_moved",
    "settle_reference",
]
