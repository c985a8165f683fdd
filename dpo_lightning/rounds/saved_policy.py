"""A policy that a run has left, and its tokenizer: a checkpoint, with the settings of its config."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import nn

from dpo_lightning import PreferenceModule
from dpo_lightning.checkpoints import MANIFEST, DurableCheckpointIO, damage
from dpo_lightning.checkpoints.sharded import consolidated
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.template_dates import date_of
from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import load_config, load_model
from dpo_lightning.reference import Precomputed
from dpo_lightning.report.record import RunRecord, read_document
from dpo_lightning.utils.secrets import without_masks
from dpo_lightning.utils.text import one_line, shown

_OF_SHARDS = (MANIFEST, ".metadata")
_OF_A_MODEL = ("config.json", "adapter_config.json", *_OF_SHARDS)

_OF_DATA = ("tokenizer", "chat_template", "chat_template_kwargs", "chat_template_date")


def check_source(source: str, command: str) -> None:
    """Refuse what lies beside a checkpoint or a model, before it is taken for a name on the hub.

    Raises:
        InputError: for a checkpoint that is not there, and a directory of checkpoints or of a run, naming what is.
    """
    path = Path(source)
    if path.suffix == ".ckpt" and not path.exists():
        remedy = _say_checkpoints(path.parent) or "give a checkpoint, or the directory of a model"
        raise InputError(f"{command}: there is no checkpoint {source}: {remedy}")
    if not path.is_dir() or any((path / name).is_file() for name in _OF_A_MODEL):
        return
    record = RunRecord(path)
    if record.folder.is_dir():
        raise InputError(f"{command}: {source} is the directory of a run: {_say_places(record)}")
    if beside := _say_checkpoints(path):
        raise InputError(f"{command}: {source} is no model: {beside}")


def _say_checkpoints(directory: Path) -> str | None:
    """Say which checkpoint of a directory, or in its `checkpoints`, to name; None where there is none."""
    there = (*directory.glob("*.ckpt"), *directory.glob("checkpoints/*.ckpt"))
    found = sorted(there, key=lambda each: (each.lstat().st_mtime, each.name))
    return f"name a checkpoint, the newest is {found[-1]}" if found else None


def _say_places(record: RunRecord) -> str:
    """Say what the record of a run says of its model and its checkpoint, where they are still there."""
    try:
        places = (read_document(record.facts) or {}).get("places")
    except InputError:  # a damaged record is for `report` to tell
        places = None
    said = places if isinstance(places, Mapping) else {}
    there = [f"its {name} is {said[name]}" for name in ("checkpoint", "export") if Path(said.get(name) or "?").exists()]
    return ", ".join(there) or _say_checkpoints(record.run) or "name a checkpoint, or a model"


def is_checkpoint(source: Path) -> bool:
    """Return whether a path is a checkpoint, a file or a directory of shards, and no directory of a model."""
    return source.is_file() or any((source / name).is_file() for name in _OF_SHARDS)


@contextmanager
def single_file(source: Path, target: Path | None = None) -> Iterator[Path]:
    """Yield a checkpoint as a file, which is temporary unless it was asked for.

    Args:
        source: A file, or a directory of shards.
        target: The file to write, of shards; None for a temporary one.

    Raises:
        InputError: for shards that are damaged, and a target for a checkpoint that is a file.
    """
    if not source.is_dir():
        if target is not None:
            raise InputError(f"export --checkpoint: {source} is no directory of shards: leave the option out")
        yield source
        return
    if (source / MANIFEST).is_file() and (found := damage(source)):
        raise InputError(f"checkpoint {source}: {found}: take another one")
    saved = consolidated(source)
    with tempfile.TemporaryDirectory(dir=source.parent) as scratch:
        file = target or Path(scratch) / source.name
        DurableCheckpointIO().save_checkpoint(saved, file)
        del saved
        if target is not None:
            print(shown(f"checkpoint for one process in {file}"))
        yield file


def saved_dtype(file: Path) -> torch.dtype:
    """Return the dtype of the weights in the run."""
    state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    return next(value.dtype for value in state.values() if value.is_floating_point())


def run_tokenizer(data: Mapping[str, Any], policy: str | None) -> Any:
    """Load the run's tokenizer: the config's, or else the policy's own; None where there is none.

    Args:
        data: Settings of the data, from `run_settings`.
        policy: Name or directory of the policy.

    Raises:
        InputError: where the config's cannot be loaded.
    """
    source = data.get("tokenizer") or policy
    try:
        return load_tokenizer(source or "", data.get("chat_template"), data.get("chat_template_kwargs"))
    except InputError as error:
        if data.get("tokenizer"):
            raise
        print(shown(f"no tokenizer beside the model: {error}"), file=sys.stderr)
        return None


def run_settings(config: Path | None, command: str) -> dict[str, dict[str, Any]]:
    """Read a config's settings of policy and tokenizer, by section.

    Raises:
        InputError: for a file that is no config; `command` names the command in it.
    """
    if config is None:
        return {"model": {}, "data": {}}
    try:
        sections = yaml.safe_load(config.read_text(encoding="utf-8"))
        model, data = (_arguments(sections.get(name) or {}) for name in ("model", "data"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise InputError(f"{command} --config {config}: {one_line(error, 200)}") from None
    kept = {name: model[name] for name in ("policy", "model_kwargs") if name in model}
    if isinstance(kept.get("model_kwargs"), Mapping):
        kept["model_kwargs"] = without_masks(kept["model_kwargs"])
    return {"model": kept, "data": {name: data.get(name) for name in _OF_DATA}}


def template_date_of(data: Mapping[str, Any]) -> date | None:
    """Return the date that a run's chat template writes; None where its config says none.

    Args:
        data: Settings of the data, from `run_settings`.

    Raises:
        InputError: for what is no date.
    """
    given = data.get("chat_template_date")
    return None if given is None else date_of(str(given))


def _arguments(section: Mapping[str, Any]) -> Mapping[str, Any]:
    return section.get("init_args") or {} if "class_path" in section else section


def loaded_module(file: Path, run: Mapping[str, Any], **unread: Any) -> PreferenceModule:
    """Load the module of a checkpoint, in the dtype of its weights.

    Args:
        file: The checkpoint.
        run: Settings from `run_settings`.
        unread: Arguments of the module that stand in for the checkpoint's, since nothing reads them.
    """
    module = PreferenceModule.load_from_checkpoint(file, map_location="cpu", **unread, **run["model"])
    module.to(saved_dtype(file))
    return module


def module_with_reference(file: Path, run: Mapping[str, Any], **unread: Any) -> PreferenceModule:
    """Load the module of a checkpoint, by the arguments of `loaded_module`, with a reference that is a model.

    One whose values were computed before training is its source again: the values of its pairs are no model.
    """
    module = loaded_module(file, run, **unread)
    if isinstance(kept := module.reference_settings, Precomputed):
        return loaded_module(file, run, **unread, reference=kept.source)
    return module


def loaded_model(name: str, run: Mapping[str, Any], dtype: torch.dtype | None = None) -> nn.Module:
    """Load a model or an adapter.

    Args:
        name: Hub name or directory.
        run: Settings from `run_settings`.
        dtype: That of the weights; None keeps the model's own.

    Raises:
        InputError: for what cannot be loaded.
    """
    kwargs = run["model"].get("model_kwargs")
    own = getattr(load_config(name, kwargs), "dtype", None) or torch.float32
    return load_model(name, dtype or own, model_kwargs=kwargs)
