"""Reading a config of LLaMA-Factory, and the `dataset_info.json` that says what its data sets are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.cli.ways_over.interpolation import refuse_interpolated
from dpo_lightning.cli.ways_over.llamafactory.of_method import STAGES
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, one_line

SETS = "dataset_dir"
"""The field whose value is replaced by the entries of the sets that the config names."""
_INFO = "dataset_info.json"
_OTHER = {
    "pt": "pretraining",
    "sft": "fine-tuning",
    "rm": "reward modelling",
    "ppo": "PPO",
}
_KEYS = (
    *("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name", "formatting", "ranking"),
    *("subset", "split", "folder", "num_samples", "columns", "tags"),
)


def opened(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a config, with the entries of its data sets in the dataset_info.json that it names.

    Raises:
        InputError: for a config that trains on no preferences, data sets that are not in the file, and a file that is
            none.
    """
    stage = values.get("stage", "sft")
    if stage not in STAGES:
        said = f", which is {_OTHER[stage]}" if stage in _OTHER else ""
        raise InputError(f"{place}: stage: {one_line(stage, 40)}{said}: preferences are stage: {' or '.join(STAGES)}")
    refuse_interpolated(values, place)
    if values.get("do_train") is not True:
        raise InputError(f"{place}: do_train is not true: LLaMA-Factory trains nothing by this config")
    if not values.get("model_name_or_path"):
        raise InputError(f"{place}: there is no model_name_or_path: name the model")
    if not values.get("dataset"):
        raise InputError(f"{place}: there is no dataset: name one or more of {_INFO}, or of the hub")
    names = [*_names(values["dataset"], place), *_names(values.get("eval_dataset") or [], place)]
    return {**values, SETS: _entries(names, values.get("dataset_dir", "data"), place)}


def _names(given: Any, place: str) -> list[str]:
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{place}: dataset must be names with commas between, got {one_line(given, 60)}")
    return [name.strip() for name in names]


def _entries(names: list[str], directory: Any, place: str) -> dict[str, dict[str, Any]]:
    if directory == "ONLINE":
        return {name: {"hf_hub_url": name} for name in names}
    if isinstance(directory, Mapping):
        info: Any = directory
    else:
        info = _info(Path(str(directory)) / _INFO, place)
    found = {}
    for name in names:
        if name not in info:
            close = nearest(name, info)
            raise InputError(f"{place}: dataset {name} is not in {_INFO}{f': did you mean {close}?' if close else ''}")
        found[name] = _entry(info[name], f"{place}: {_INFO}: {name}", directory)
    return found


def _info(path: Path, place: str) -> Mapping[str, Any]:
    if str(path).startswith("REMOTE:"):
        raise InputError(f"{place}: dataset_dir {path.parent}: download {_INFO}, and give its directory")
    if not path.is_file():
        raise InputError(
            f"{place}: there is no {path}, which says what the data sets are: go to the directory that LLaMA-Factory "
            "is run from, or give dataset_dir"
        )
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: no JSON: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: it must be a mapping from names to data sets")
    return found


def _entry(given: Any, place: str, directory: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{place} must be a mapping, got {one_line(given, 60)}")
    for key in given:
        if key not in _KEYS:
            close = nearest(str(key), _KEYS)
            raise InputError(f"{place}: no field {one_line(key, 60)}{f': did you mean {close}?' if close else ''}")
    found = dict(given)
    if "file_name" in found and not isinstance(directory, Mapping):
        found["file_name"] = str(Path(str(directory)) / str(found["file_name"]))
    return found
