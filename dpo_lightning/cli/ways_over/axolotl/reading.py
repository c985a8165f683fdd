"""Reading a config of axolotl: what is nested in it is checked before anything is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_lightning.cli.ways_over.axolotl.fields import (
    FIELDS,
    OF_DATASET_NAMES,
    OF_SPECIAL_TOKENS_NAMES,
    OF_TRL_NAMES,
    OF_TYPE_NAMES,
)
from dpo_lightning.cli.ways_over.axolotl.of_data import RL
from dpo_lightning.cli.ways_over.fields import Field
from dpo_lightning.cli.ways_over.interpolation import refuse_interpolated
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, one_line

_FINE_TUNING = (
    "without `rl` axolotl fine-tunes, and there are no preferences to train on: give rl: dpo, ipo, kto, orpo or simpo"
)
_ONLINE = "rl: {} trains on its own samples: `dpo-lightning rounds` is the way here; preferences are rl: {}"


def opened(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a config with its nested parts read: `datasets`, `test_datasets`, `trl`, `special_tokens`.

    Raises:
        InputError: for a config that trains on no preferences, and for a nested part of another shape, an unknown key
            or a value that is none of its key; naming the part.
    """
    _check_method(values, place)
    refuse_interpolated(values, place, ["chat_template_jinja"])
    found = {name: value for name, value in values.items() if value is not None or not _empty(name)}
    if "dpo_beta" in found and "rl_beta" not in found:
        found["rl_beta"] = found.pop("dpo_beta")
    for name in ("datasets", "test_datasets"):
        if found.get(name) is not None:
            found[name] = [
                _set(each, f"{place}: {name}[{n}]") for n, each in enumerate(_list(found[name], place, name))
            ]
    for name, fields in (("trl", OF_TRL_NAMES), ("special_tokens", OF_SPECIAL_TOKENS_NAMES)):
        if found.get(name) is not None:
            found[name] = _nested(found[name], fields, f"{place}: {name}")
    of_block = (found.get("trl") or {}).get("beta")
    if of_block is not None and found.get("rl_beta") not in (None, of_block):
        raise InputError(
            f"{place}: rl_beta {found['rl_beta']} and trl.beta {of_block}: axolotl takes trl.beta: leave one"
        )
    return found if of_block is None else {**found, "rl_beta": of_block}


def _empty(name: str) -> bool:
    """Tell whether a null is what the field is without it; that of `bf16` is not."""
    return name in FIELDS and FIELDS[name].default is not None and name != "bf16"


def _check_method(values: Mapping[str, Any], place: str) -> None:
    rl = values.get("rl")
    if rl is None:
        raise InputError(f"{place}: {_FINE_TUNING}")
    if rl in ("grpo", "gdpo", "ebft"):
        raise InputError(f"{place}: {_ONLINE.format(rl, ', '.join(RL))}")
    if rl not in RL:
        raise InputError(f"{place}: rl: {one_line(rl, 40)} is none of {', '.join(RL)}")
    if not values.get("base_model"):
        raise InputError(f"{place}: there is no base_model: name the model")
    if not values.get("datasets"):
        raise InputError(f"{place}: there are no `datasets`: give a list of them, each with a path and a type")
    if rl != "dpo" and (values.get("dpo_loss_type") or values.get("dpo_loss_weights")):
        raise InputError(
            f"{place}: dpo_loss_type and dpo_loss_weights are of rl: dpo, and axolotl refuses them with {rl}"
        )


def _list(value: Any, place: str, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{place}: {name} must be a list of mappings, got {one_line(value, 60)}: put `- ` before each")
    return value


def _set(given: Any, place: str) -> dict[str, Any]:
    found = _nested(given, OF_DATASET_NAMES, place)
    if not found.get("path"):
        raise InputError(f"{place}: there is no path: name a file, a directory or a data set of the hub")
    if isinstance(found.get("type"), Mapping):
        fields = {name: each.default for name, each in OF_TYPE_NAMES.items()}
        found["type"] = {**fields, **_nested(found["type"], OF_TYPE_NAMES, f"{place}.type")}
    elif found.get("type") is not None and not isinstance(found["type"], str):
        raise InputError(f"{place}: type must be a text or a mapping, got {one_line(found['type'], 60)}")
    roles = found.get("roles")
    if roles is not None and not all(isinstance(names, list) for names in roles.values()):
        raise InputError(f"{place}: roles must be a mapping from a role to the list of its names")
    return found


def _nested(given: Any, fields: Mapping[str, Field], place: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{place} must be a mapping, got {one_line(given, 60)}")
    for name in given:
        if name not in fields:
            close = nearest(str(name), fields)
            raise InputError(f"{place}: no field {one_line(name, 60)}{f': did you mean {close}?' if close else ''}")
    return {name: fields[name].read(value, place) for name, value in given.items()}
