"""The choice of a run's reference: what was asked for, or the default."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.reference.base import LostReference, NoReference, Reference
from dpo_lightning.reference.default import default_reference
from dpo_lightning.reference.frozen import FrozenCopy, FrozenModule
from dpo_lightning.reference.precomputed import Precomputed
from dpo_lightning.utils.arguments import wrong_kind


def checked_settings(wanted: Reference | nn.Module | None, is_read: bool, objective: str) -> Reference | None:
    """Return the settings of a run's reference as they were given, a module as the settings that hold it.

    Args:
        wanted: What was given.
        is_read: Whether the objective compares with a reference.
        objective: Name of the objective, for the message.

    Raises:
        InputError: for what is no reference, and for one that nobody reads.
    """
    settings = FrozenModule(wanted) if isinstance(wanted, nn.Module) else wanted
    settings = settings.taken() if isinstance(settings, FrozenCopy) else settings
    if settings is not None and not isinstance(settings, Reference):
        remedy = f"write FrozenCopy({settings!r})" if isinstance(settings, str) else "give FrozenCopy() or a module"
        raise wrong_kind("reference", settings, Reference, remedy)
    if not (is_read or settings is None or isinstance(settings, NoReference | LostReference)):
        raise InputError(f"objective {objective} has no reference: leave `reference` out")
    if isinstance(settings, Precomputed) and in_memory_only(settings.source):
        raise InputError(
            "reference Precomputed: its source is a model in memory, where it would stay, and no checkpoint holds it: "
            "give FrozenCopy(model) itself, or the name or directory of the model as its source"
        )
    return settings if is_read else NoReference()


def settle_reference(wanted: Reference | None, policy: nn.Module, trained_adapter: bool) -> Reference:
    """Return what is wanted, or the `default_reference`, which a precomputed one without a source scores."""
    default = default_reference(policy, trained_adapter)
    if isinstance(wanted, Precomputed) and wanted.source is None:
        return replace(wanted, source=default)
    return wanted or default


def checkpoints_of(settings: object) -> list[str]:
    """Return the names and directories that a reference is loaded from, also one that another scores with."""
    if isinstance(settings, Precomputed):
        return checkpoints_of(settings.source)
    return [settings.checkpoint] if isinstance(settings, FrozenCopy) and isinstance(settings.checkpoint, str) else []


def in_memory_only(given: object) -> bool:
    """Tell a module in memory and a lost reference, which no checkpoint holds among the hyperparameters, from settings.

    For the next load of a checkpoint the base model of the lost one may be there.
    """
    if isinstance(given, FrozenCopy):
        return isinstance(given.checkpoint, nn.Module)
    return isinstance(given, nn.Module | FrozenModule | LostReference)
