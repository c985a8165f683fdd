"""A policy as a Hugging Face directory, which plain transformers or peft load."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import is_dropout_rate
from dpo_lightning.utils.files import replaced


def merge_problem(policy: nn.Module) -> str | None:
    """Return why there are no merged weights, in one line; None where there are."""
    if not is_adapted(policy):
        return "the policy has no adapter to merge; without it, the whole model is exported"
    if getattr(policy, "is_quantized", False):
        return (
            "merging into 4-bit weights loses precision: export the adapter, then load it on the unquantised model "
            "with peft and merge there"
        )
    return None


def merge_adapter(policy: nn.Module) -> nn.Module:
    """A copy of an adapted policy, in the CPU's memory, with the adapter merged into its weights."""
    return cast(Any, copy.deepcopy(policy).cpu()).merge_and_unload()


def check_target(path: str) -> None:
    """Find out whether an export may replace what is there.

    Raises:
        InputError: for a directory that holds something else than a model.
    """
    found = {entry.name for entry in Path(path).iterdir()} if Path(path).is_dir() else set()
    if found and not found & {"config.json", "adapter_config.json"}:
        raise InputError(f"export to {path}: there is a directory that holds no model: give another path, or empty it")


def write_model(policy: nn.Module, config: dict[str, Any] | None, tokenizer: Any, path: str) -> None:
    """Write a Hugging Face directory, whole or not at all.

    Args:
        policy: The policy, or the merged one; of an adapted policy the trained adapter is written.
        config: The model's config before training changed it; None where it has none.
        tokenizer: Goes beside it; null for none.
        path: The directory; an earlier one is replaced.

    Raises:
        InputError: for a directory that holds something else than a model.
    """
    check_target(path)
    model = cast(Any, policy)
    with replaced(path) as directory:
        if is_adapted(policy):
            model.save_pretrained(directory, selected_adapters=[model.active_adapter])
        else:
            model.save_pretrained(directory)
            _restore_config(directory / "config.json", config or {})
        if tokenizer is not None:
            tokenizer.save_pretrained(directory)
    rank_zero_info(f"exported to {path}")


def _restore_config(path: Path, original: dict[str, Any]) -> None:
    """Give the exported config the caching and dropout that training switched off."""
    config = json.loads(path.read_text(encoding="utf-8"))
    _restore_fields(config, original)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _restore_fields(config: dict[str, Any], original: dict[str, Any]) -> None:
    """Restore the fields of a config and of those inside it: of the text model, of an encoder."""
    for name in config.keys() & original.keys():
        if isinstance(config[name], dict) and isinstance(original[name], dict):
            _restore_fields(config[name], original[name])
        elif name == "use_cache" or is_dropout_rate(name):
            config[name] = original[name]
