"""Facts of a run: what trains on what, with which settings, by which versions, on which machine."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from dpo_lightning.checkpoints.random_state import run_seed
from dpo_lightning.data import PreferenceDataModule
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.data.loader import OwnLoader
from dpo_lightning.data.reading.sources import describe
from dpo_lightning.errors import NotBuiltError
from dpo_lightning.losses.cited import cited
from dpo_lightning.policy.fused_layers import fused_layers
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.report.progress_line import short
from dpo_lightning.run import PreferenceRun
from dpo_lightning.training.fused import KERNEL
from dpo_lightning.training.schedules import optimizer_steps
from dpo_lightning.utils.memory import peak_memory
from dpo_lightning.utils.secrets import masked
from dpo_lightning.utils.text import one_line

_logger = logging.getLogger(__name__)

_PACKAGES = ("dpo_lightning", "torch", "lightning", "transformers", "peft", "datasets", "tokenizers", "numpy")
_LONGEST = 300  # characters of a setting that is no number


def facts_of(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    """Return what is known of a run once its module, data and optimizer are there, as `run.json` has it.

    Leaves out what is not known, as of modules of another kind, and what cannot be read, as of data that a subclass
    keeps elsewhere. Talks to no other rank: the self-test for the layout, which of a sharded model takes all ranks, has
    run when the loaders were made.

    Args:
        trainer: The Trainer, in a hook of the training.
        pl_module: The module that it trains.
    """
    parts: dict[str, Callable[[], Any]] = {
        "seed": run_seed,
        "steps_planned": lambda: steps_planned(trainer, pl_module),
        "versions": versions,
        "machine": lambda: machine_of(trainer),
        "model": lambda: model_of(pl_module),
        "reference": lambda: reference_of(pl_module),
        "objective": lambda: objective_of(pl_module),
        "optimizer": lambda: optimizer_of(trainer),
        "data": lambda: data_of(trainer),
        "layouts": lambda: layout_of(trainer),
    }
    found = readable(parts)
    found["layout"], found["layout_why"] = found.pop("layouts", (None, None))
    return masked({name: value for name, value in found.items() if value is not None})


def readable(parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what each function returns, by its name, without those that raise: no run ends for what is said of it."""
    found = {}
    for name, read in parts.items():
        try:
            found[name] = read()
        except Exception as error:
            _logger.debug("%s is left out of what is said of the run: %s", name, one_line(repr(error)))
    return found


def title_of(facts: Mapping[str, Any]) -> str:
    """Return one line that tells a run from others: objective with its settings but 0, model, optimizer and rate.

    Args:
        facts: Those of `facts_of`, or some of them.
    """
    objective, model, optimizer = (facts.get(name) or {} for name in ("objective", "model", "optimizer"))
    numbers = {name: value for name, value in objective.get("settings", {}).items() if value and _is_number(value)}
    loss = " ".join([str(objective.get("name", "")), *(f"{name} {short(each)}" for name, each in numbers.items())])
    tuned = "with adapters" if model.get("lora") else ""
    rate = f"{optimizer['name']}, lr {optimizer['lr']:g}" if optimizer else ""
    name = Path(str(model.get("name") or model.get("class") or "")).name
    return one_line("  ·  ".join(filter(None, [loss.strip(), f"{name} {tuned}".strip(), rate])), 160)


def steps_planned(trainer: pl.Trainer, pl_module: pl.LightningModule) -> int | None:
    """Return the optimizer steps of the whole run; None where it has no end, or the module counts its own."""
    if not pl_module.automatic_optimization:
        return None
    steps = optimizer_steps(trainer)
    return None if math.isinf(steps) else int(steps)


def versions() -> dict[str, str]:
    """Return the versions of what numbers depend on; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_of(trainer: pl.Trainer) -> dict[str, Any]:
    """Return the machine of rank 0, the number of ranks, and the precision."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "host_cpu": _cpu(),
        "device": name,
        "cores": os.cpu_count(),
        "ranks": trainer.world_size,
        "precision": str(trainer.precision),
    }


def memory_peak(trainer: pl.Trainer) -> int | None:
    """Return the most bytes that this process has held: of its GPU where it has one, else of the machine."""
    peak = peak_memory(trainer.strategy.root_device)
    return None if peak is None else int(peak)


def model_of(pl_module: pl.LightningModule) -> dict[str, Any]:
    """Return name, class and size of the model, what is trained of it, and a hash of its weights before training.

    `local` says that the name is a directory's, and none of the hub.
    """
    run = pl_module if isinstance(pl_module, PreferenceRun) else None
    model: nn.Module = pl_module if run is None else run.policy
    name = pl_module.policy_name if isinstance(pl_module, PreferenceLearner) else None
    found = {
        "name": name,
        "local": None if name is None else Path(name).is_dir(),
        "class": type(_base(model)).__name__,
        "parameters": sum(each.numel() for each in model.parameters()),
        "trainable": sum(each.numel() for each in model.parameters() if each.requires_grad),
        "fingerprint": _fingerprint(run),
        "lora": _adapters(model),
        "compiled_layers": len(fused_layers(model)) or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def reference_of(pl_module: pl.LightningModule) -> str | None:
    """Return the reference in words; None of a module that has none to tell."""
    if not isinstance(pl_module, PreferenceRun):
        return None
    if not pl_module.reads_reference:
        return "none"
    try:
        settings: Any = pl_module.identity.settings
    except NotBuiltError:
        settings = pl_module.reference_settings
    return None if settings is None else _spelled(settings)


def objective_of(pl_module: pl.LightningModule) -> dict[str, Any] | None:
    """Return name, settings and works of the objective; None of a module that has none."""
    objective = getattr(pl_module, "objective", None)
    if objective is None:
        return None
    return {"name": type(objective).__name__, "settings": _settings(objective), "cited": cited(objective)}


def optimizer_of(trainer: pl.Trainer) -> dict[str, Any] | None:
    """Return class, kernel and learning rate, before its schedule, of the first optimizer."""
    if not trainer.optimizers:
        return None
    optimizer = trainer.optimizers[0]
    group = optimizer.param_groups[0]
    kernel = {KERNEL: True} if group.get(KERNEL) else {}
    return {"name": type(optimizer).__name__, **kernel, "lr": float(group.get("initial_lr", group["lr"]))}


def data_of(trainer: pl.Trainer) -> dict[str, Any] | None:
    """Return source, hash and size of the data; None of data that is not a `PreferenceDataModule`'s."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, PreferenceDataModule):
        return None
    source = ", ".join(str(each.name) for each in data.sources) if data.sources else describe(data.dataset)
    if data.streaming:
        found: dict[str, Any] = {"fingerprint": data.splits.stream_content}
    else:
        tokens = int(data.splits.lengths("train").tokens.sum())
        found = {"fingerprint": data.splits.content, "train": len(data.splits["train"]), "tokens": tokens}
    held_out = len(data.splits["val"]) if "val" in data.splits else 0
    return {"source": source, "hub": _hub_names(data), "held_out": held_out, **found}


def _hub_names(data: PreferenceDataModule) -> list[str]:
    """Return the names of datasets that are no files here, and so may be the hub's."""
    names = [each.dataset for each in data.sources] if data.sources else [data.dataset]
    return [each for each in names if isinstance(each, str) and not Path(each).exists()]


def layout_of(trainer: pl.Trainer) -> tuple[str | None, str | None]:
    """Return the layout of the batches, and why it is that one where nobody chose it; None twice of other loaders."""
    data, loader = (getattr(trainer, name) for name in ("datamodule", "train_dataloader"))
    if not isinstance(data, PreferenceDataModule) or not isinstance(loader, OwnLoader):
        return None, None
    layout = data.settled_layout()
    return layout.name, layout.reason


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _settings(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON has them: numbers, texts and truths as they are, the rest in words."""
    if not is_dataclass(value):
        return {}
    found = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
    return {name: _simple(each) for name, each in found.items()}


def _simple(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _spelled(value)
    return one_line(repr(value), _LONGEST)


def _spelled(value: Any) -> str:
    """Return an object of settings as one would write it, those that are null left out."""
    said = {name: each for name, each in _settings(value).items() if each is not None}
    return f"{type(value).__name__}({', '.join(f'{name}={each}' for name, each in said.items())})"


def _base(model: nn.Module) -> nn.Module:
    """Return the model below its adapters."""
    below: Any = getattr(model, "get_base_model", None)
    return below() if callable(below) else model


def _adapters(model: nn.Module) -> str | None:
    if not is_adapted(model):
        return None
    configs: Any = model.peft_config
    return "; ".join(_adapter(each) for each in configs.values())


def _adapter(config: Any) -> str:
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    numbers = [
        f"{name} {getattr(config, key)}"
        for key, name in (("r", "rank"), ("lora_alpha", "alpha"))
        if hasattr(config, key)
    ]
    targets = getattr(config, "target_modules", None) or ()
    places = targets if isinstance(targets, str) else ", ".join(sorted(targets))
    return one_line(" ".join([kind, *numbers, *([f"on {places}"] if places else [])]), _LONGEST)


def _fingerprint(run: PreferenceRun | None) -> str | None:
    """Return a hash of samples of the weights before training, in hexadecimal; None before they were built."""
    if run is None:
        return None
    try:
        weights = run.identity.policy["weights"]
    except (NotBuiltError, KeyError):
        return None
    told = repr([weights["names"], weights["shapes"]]).encode()
    return hashlib.blake2b(told + weights["bytes"].numpy().tobytes(), digest_size=8).hexdigest()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
