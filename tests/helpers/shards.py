"""A directory of shards, made of a checkpoint file by torch's own writer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import save


def write_shards(checkpoint: dict[str, Any], directory: Path) -> Path:
    """Write what Lightning's ModelParallelStrategy writes: optimizer states go by the parameters' names."""
    rest = dict(checkpoint)
    state = rest.pop("state_dict")
    tensors = {"state_dict": state}
    for number, optimizer in enumerate(rest.pop("optimizer_states")):
        names = _names_by_number(state, optimizer)
        tensors[f"optimizer_{number}"] = {
            "state": {names[key]: value for key, value in optimizer["state"].items()},
            "param_groups": [
                {**group, "params": [names[key] for key in group["params"]]} for group in optimizer["param_groups"]
            ],
        }
    save_tensors(tensors, directory)
    torch.save(rest, directory / "meta.pt")
    return directory


def save_tensors(tensors: dict[str, Any], directory: Path) -> None:
    """torch's writer, which warns that there is one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(tensors, checkpoint_id=directory, no_dist=True)


def _names_by_number(state: dict[str, Any], optimizer: dict[str, Any]) -> dict[int, str]:
    """The groups hold matrices and then the rest, each in the order of the model."""
    matrices = [name for name, value in state.items() if value.ndim >= 2 and not name.endswith("bias")]
    names = [*matrices, *(name for name in state if name not in matrices)]
    assert len(names) == sum(len(group["params"]) for group in optimizer["param_groups"])
    return dict(enumerate(names))
