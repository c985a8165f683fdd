"""A policy as a Hugging Face directory, which plain transformers or peft load."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import merge_adapter, merge_problem
from dpo_lightning.policy.compare_export import check_written, probe_logits
from dpo_lightning.policy.initialisation import check_repeats, moves_base
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import is_dropout_rate
from dpo_lightning.report.model_card import Card, model_card
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.tensors import float_dtype_of
from dpo_lightning.utils.text import one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Dtypes that a model can be exported in, by the name that a config has for them."""

STEP_SUFFIX = "-step-"
"""Between the path of an export and the step of a checkpoint, where each checkpoint is exported too."""


@dataclass(frozen=True)
class ExportForm:
    """The form in which a policy is written.

    Args:
        merged: Merge its adapter into a copy of the weights, which are written instead.
        dtype: Name of the weights' dtype; null for the policy's own.
    """

    merged: bool = False
    dtype: Optional[str] = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise InputError(f"export: dtype {self.dtype!r} is not known: take one of {', '.join(DTYPES)}")


AS_IT_IS = ExportForm()


def export_problem(policy: nn.Module, form: ExportForm, lost_base: str | None) -> str | None:
    """Return why a policy cannot be exported so, in one line; None where it can.

    Args:
        policy: The policy.
        form: How it is to be written.
        lost_base: The reason why the base model of its adapter can be loaded from nowhere; None where it can.
    """
    if is_adapted(policy) and any(getattr(each, "layer_replication", None) for each in _adapter_configs(policy)):
        return (
            "its adapter repeats layers (layer_replication), whose weights are the same tensors under several names, "
            "which are not written: leave the export out and keep the checkpoint, or train without layer_replication"
        )
    if form.merged:
        return merge_problem(policy)
    if not hasattr(policy, "save_pretrained"):
        return f"{type(policy).__name__} is no Hugging Face model, and nothing could load it"
    if is_adapted(policy):
        return lost_base or _unloadable(cast(Any, policy))
    if form.dtype is not None and getattr(policy, "is_quantized", False):
        return "quantized weights are exported as they are: leave dtype out"
    return None


def _adapter_configs(adapted: nn.Module) -> list[Any]:
    return list(cast(Any, adapted).peft_config.values())


def _unloadable(adapted: Any) -> str | None:
    """Return why an adapter could not be loaded on its base model: the initialisation has moved that."""
    config = adapted.peft_config[adapted.active_adapter]
    try:
        check_repeats(config)
    except InputError as error:
        return str(error)
    if not config.base_model_name_or_path and moves_base(getattr(config, "init_lora_weights", True)):
        return (
            f"init_lora_weights={config.init_lora_weights!r} has moved the base weights of a model in memory, which no "
            "one could load the adapter on: export the merged weights"
        )
    return None


def check_target(path: str, weights_read: Sequence[str] = (), *, numbered: bool = False) -> None:
    """Find out whether an export may replace what is there.

    Args:
        path: The directory.
        weights_read: Names and directories of the models that the run reads.
        numbered: Whether it is also written to paths with a step's number after it.

    Raises:
        InputError: for a directory that holds something else than a model, or one that the run reads.
    """
    if not path:
        raise InputError("export: the path is empty: give a directory")
    for read in weights_read:
        if Path(read).is_dir() and would_replace(path, read, numbered=numbered):
            raise InputError(
                f"export to {path}: that is where the run reads its model from ({read}); resumed, it would take what "
                "was trained for what it began with: give another path"
            )
    found = {entry.name for entry in Path(path).iterdir()} if Path(path).is_dir() else set()
    if found and not found & {"config.json", "adapter_config.json"}:
        raise InputError(f"export to {path}: there is a directory that holds no model: give another path, or empty it")
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(f"export to {path}: there is a file: give the path of a directory")


def would_replace(path: str, there: str, *, numbered: bool = False) -> bool:
    """Return whether an export to a path would replace another directory, or one that it is in, through links too.

    Args:
        path: The export's.
        there: The other one; a hub's name is none.
        numbered: Whether the export is also written to paths with a step's number after it.
    """
    target, place = (Path(os.path.realpath(name)) for name in (path, there))
    chain = [place, *place.parents]
    if target in chain or (target.exists() and any(one.exists() and one.samefile(target) for one in chain)):
        return True
    suffix = re.compile(re.escape(target.name + STEP_SUFFIX) + r"\d+")
    return numbered and any(one.parent == target.parent and suffix.fullmatch(one.name) for one in chain)


def write_model(
    policy: nn.Module,
    config: dict[str, Any] | None,
    tokenizer: Any,
    path: str,
    form: ExportForm = AS_IT_IS,
    card: Card | None = None,
) -> None:
    """Write a Hugging Face directory, whole and equal to the policy, or not at all.

    Args:
        policy: The policy; of an adapted one the trained adapter is written, unless it is merged.
        config: The model's config before training changed it; None where it has none.
        tokenizer: Goes beside it; null for none.
        path: The directory; an earlier one is replaced.
        form: How it is written.
        card: What the model card says of the run; null for that of a run that is not known.

    Raises:
        InputError: for a directory that holds something else than a model, and where what was written is not the
            policy.
    """
    check_target(path)
    expected, own_dtype = probe_logits(policy), float_dtype_of(policy)
    model = merge_adapter(policy) if form.merged else policy
    written_dtype = own_dtype if form.dtype is None else DTYPES[form.dtype]
    with replaced(path) as directory:
        _save(model, config or {}, form.dtype, directory)
        check_written(directory, model, expected, max((own_dtype, written_dtype), key=_rounding), path)
        if tokenizer is not None:
            tokenizer.save_pretrained(directory)
        said = _said_of(card or Card(), path, adapter=is_adapted(model))
        (directory / "README.md").write_text(said, encoding="utf-8")
    rank_zero_info(f"exported to {path}")


def _said_of(card: Card, path: str, *, adapter: bool) -> str:
    """Return the model card; one without facts where it cannot show them: the weights are what an export is for."""
    try:
        return model_card(card, path, adapter=adapter)
    except Exception as error:
        rank_zero_info(f"the model card of {path} lacks what was trained: {one_line(error)}")
        return model_card(Card(), path, adapter=adapter)


def _rounding(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _save(model: nn.Module, original: dict[str, Any], dtype: str | None, directory: Path) -> None:
    saved = cast(Any, model)
    if is_adapted(model):
        name = saved.active_adapter
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting `save_embedding_layers`", category=UserWarning)
            saved.save_pretrained(directory, selected_adapters=[name])
        _move_up(directory, name)
    else:
        saved.save_pretrained(directory)
        _restore_config(directory / "config.json", original, dtype)
    if dtype is not None:
        for file in directory.glob("*.safetensors"):
            _cast(file, DTYPES[dtype])
        _correct_sizes(directory)


def _move_up(directory: Path, name: str) -> None:
    """Move an adapter to where it is looked for: PEFT gives one of another name than `default` a directory inside."""
    inside = directory / name
    if name == "default" or not inside.is_dir():
        return
    for file in inside.iterdir():
        file.replace(directory / file.name)
    shutil.rmtree(inside)


def _cast(file: Path, dtype: torch.dtype) -> None:
    """Write the floating-point tensors of a file in another dtype."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    cast_to = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    save_file({name: value.contiguous() for name, value in cast_to.items()}, file, metadata)


def _correct_sizes(directory: Path) -> None:
    for index in directory.glob("*.safetensors.index.json"):
        content = json.loads(index.read_text(encoding="utf-8"))
        content["metadata"]["total_size"] = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
        index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _restore_config(path: Path, original: dict[str, Any], dtype: str | None) -> None:
    """Give the exported config the caching and dropout that training switched off, and the dtype of the weights."""
    config = json.loads(path.read_text(encoding="utf-8"))
    _restore_fields(config, original)
    if dtype is not None:
        _set_dtype(config, dtype)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    config["dtype"] = dtype
    for inner in config.values():
        if isinstance(inner, dict) and "dtype" in inner:
            _set_dtype(inner, dtype)


def _restore_fields(config: dict[str, Any], original: dict[str, Any]) -> None:
    """Restore the fields of a config and of those inside it: of the text model, of an encoder."""
    for name in config.keys() & original.keys():
        if isinstance(config[name], dict) and isinstance(original[name], dict):
            _restore_fields(config[name], original[name])
        elif name == "use_cache" or is_dropout_rate(name):
            config[name] = original[name]
