"""The config of a round's fit: the user's, with what the loop fills in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from dpo_lightning.cli.loop.settings import Loop
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

DIRECTORY = "{dir}"
"""Stands in the config of a fit for the directory of the round."""

_FILLED = {
    "model.policy": "give the first one as rounds.policy",
    "model.reference": "choose it with rounds.reference",
    "data.dataset": "it is the pairs of the round",
    "trainer.default_root_dir": "it is the directory of the round",
    "ckpt_path": "each fit goes on from its own last checkpoint",
}
_PLACES = ("dirpath", "save_dir", "path", "merged_path", "log_dir", "default_root_dir", "filename")
_OWN = {"Export": ("path", "merged_path"), "ResumableCheckpoint": ("dirpath",)}

Plain = MutableMapping[str, Any]


def check_fit(fit: Mapping[str, Any]) -> None:
    """Refuse what the loop fills in, and a place that all rounds would write to.

    Raises:
        InputError: naming the key.
    """
    for name in fit:
        if name not in ("seed_everything", "torch_threads", "model", "data", "trainer", "ckpt_path", "optimizer"):
            raise InputError(f"fit.{name}: no section of a config of fit: there are model, data and trainer")
    for key, remedy in _FILLED.items():
        section, _, name = key.rpartition(".")
        if name in (arguments_in(fit, section) if section else fit):
            raise InputError(f"fit.{key}: the loop fills it in: {remedy}")
    for key, name, value in _leaves(fit.get("trainer"), "fit.trainer"):
        owner = key.split(".")[-2]
        if name in _OWN.get(owner, ()):
            raise InputError(f"{key}: the loop fills it in: leave it out")
        if name in _PLACES and isinstance(value, str) and DIRECTORY not in value:
            raise InputError(f"{key}: {value!r} would be one place for all rounds: begin it with {DIRECTORY}")


def arguments_in(fit: Mapping[str, Any], section: str) -> Plain:
    """Return the arguments of a section, which may name a class.

    Raises:
        InputError: for a section that is no mapping.
    """
    found = fit.get(section) or {}
    if not isinstance(found, MutableMapping):
        raise InputError(f"fit.{section} must be a mapping, got {one_line(found, 80)}")
    inner = found.get("init_args") if "class_path" in found else found
    return {} if inner is None else inner


def fit_of_round(fit: Mapping[str, Any], loop: Loop, policy: str, directory: Path) -> dict[str, Any]:
    """Return the config of a round's fit.

    Args:
        fit: The user's.
        loop: What all rounds share.
        policy: The policy that the round begins with.
        directory: The directory of the round.
    """
    made = _replaced(copy.deepcopy(dict(fit)), directory.as_posix())
    model, data, trainer = (_section(made, name) for name in ("model", "data", "trainer"))
    model["policy"] = policy
    if loop.reference == "first" and policy != loop.policy:
        model["reference"] = {"class_path": "FrozenCopy", "init_args": {"checkpoint": loop.policy}}
        model["step_zero_check"] = False  # the reference is another model by now
    data["dataset"] = (directory / "pairs.jsonl").as_posix()
    trainer["default_root_dir"] = run = (directory / "run").as_posix()
    trainer.setdefault("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": run}})
    callbacks = trainer.get("callbacks") or []
    trainer["callbacks"] = callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
    merged = model.get("lora") is not None or Path(policy, "adapter_config.json").is_file()
    place = "merged_path" if merged else "path"
    _arguments_of(callbacks, "ResumableCheckpoint")["dirpath"] = (directory / "checkpoints").as_posix()
    _arguments_of(callbacks, "Export")[place] = (directory / "model").as_posix()
    return made


def _section(made: Plain, name: str) -> Plain:
    found: Plain = made.setdefault(name, {}) or {}
    made[name] = found
    if "class_path" not in found:
        return found
    found["init_args"] = inner = found.get("init_args") or {}
    return inner


def _arguments_of(callbacks: list[Any], name: str) -> Plain:
    """Return the arguments of the callback of a class, which is added where there is none."""
    for number, each in enumerate(callbacks):
        if _class_of(each) == name:
            callbacks[number] = {"class_path": name} if isinstance(each, str) else each
            callbacks[number]["init_args"] = inner = callbacks[number].get("init_args") or {}
            return inner
    added: Plain = {}
    callbacks.append({"class_path": name, "init_args": added})
    return added


def _class_of(entry: Any) -> str:
    path = entry.get("class_path", "") if isinstance(entry, Mapping) else entry
    return str(path).rpartition(".")[2]


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Yield each value with its key, and the last name of it; a class stands for its arguments."""
    if isinstance(value, Mapping):
        inside = f"{key}.{_class_of(value)}" if "class_path" in value else key
        for name, inner in value.items():
            if name == "init_args":
                yield from _leaves(inner, inside)
            elif name != "class_path":
                yield from _leaves(inner, f"{inside}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, key.rpartition(".")[2], value


def _replaced(value: Any, directory: str) -> Any:
    if isinstance(value, str):
        return value.replace(DIRECTORY, directory)
    if isinstance(value, dict):
        return {name: _replaced(inner, directory) for name, inner in value.items()}
    return [_replaced(inner, directory) for inner in value] if isinstance(value, list) else value
