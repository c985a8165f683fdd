"""A line for an evaluation whose policy is its own reference, so that every reward is 0."""

from __future__ import annotations

from typing import Any

from dpo_lightning.reference import AdapterOff, FrozenAdapter, FrozenCopy, Precomputed
from dpo_lightning.run import PreferenceRun


def same_weights(model: Any, checkpoint: str | None) -> str | None:
    """Return what to say where policy and reference are the same by construction; None where they may differ.

    Args:
        model: The module of an evaluation, before it is built.
        checkpoint: The command's `ckpt_path`, whose weights the policy gets.
    """
    if checkpoint is not None or not isinstance(model, PreferenceRun) or not model.reads_reference:
        return None
    settings: Any = model.reference_settings
    if isinstance(settings, Precomputed):
        settings = settings.source
    options = getattr(getattr(model, "policy_source", None), "options", None)
    is_start = settings is None or isinstance(settings, FrozenAdapter)
    is_start |= isinstance(settings, FrozenCopy) and settings.checkpoint is None
    is_start |= isinstance(settings, AdapterOff) and getattr(options, "lora", None) is not None
    if not is_start:
        return None
    return (
        "policy and reference are the same weights, so every reward is 0 and reward accuracy 0.5: give the trained one "
        "as --ckpt_path, or name the base as --model.reference=FrozenCopy --model.reference.checkpoint=..., of an "
        "adapter as --model.reference=AdapterOff; logps/accuracies needs no reference (docs/evaluate.md)"
    )
