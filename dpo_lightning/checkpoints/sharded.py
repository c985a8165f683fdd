"""Directories of shards, read as plain data.

torch reads them with pickle: `.metadata`, and what is no tensor. Here neither brings code.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader, load
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.planner import ReadItem

from dpo_lightning.checkpoints.contents import OPTIMIZER_STATES, STATE_DICT, refuse_newer
from dpo_lightning.compat.torch import SHARD_METADATA_TYPES
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_METADATA = ".metadata"
_REST = "meta.pt"  # what Lightning writes beside the shards
_OPTIMIZER = "optimizer_"


def is_sharded_checkpoint(path: str | Path) -> bool:
    """Return whether there is a directory as Lightning's ModelParallelStrategy writes it."""
    return (Path(path) / _METADATA).is_file() and (Path(path) / _REST).is_file()


def refuse_code(path: str | Path) -> None:
    """Read what torch unpickles of a directory of shards; after that, its own reader runs no code of it.

    Raises:
        InputError: for other than plain data, or a directory that is no checkpoint.
    """
    _read(Path(path), tensors=False)
    rest_of_shards(path)


def shapes_in_shards(path: str | Path) -> dict[str, torch.Size]:
    """Return the shapes of the whole weights in a directory of shards, by name.

    Raises:
        InputError: for other than plain data.
    """
    with _plain_only(Path(path)):
        metadata = _metadata(Path(path))
        places = metadata.planner_data or {}
        tensors = {
            places.get(key, (key,)): entry.size
            for key, entry in metadata.state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        return {str(place[-1]): size for place, size in tensors.items() if place[0] == STATE_DICT}


def consolidated(path: str | Path) -> dict[str, Any]:
    """A directory of shards as the checkpoint that one process would have written, in the CPU's memory.

    Raises:
        InputError: for a directory with other than plain data, or that is no checkpoint.
    """
    shards = _read(Path(path), tensors=True)
    optimizers = sorted((name for name in shards if name.startswith(_OPTIMIZER)), key=lambda name: (len(name), name))
    return {
        **rest_of_shards(path),
        STATE_DICT: shards[STATE_DICT],
        OPTIMIZER_STATES: [_numbered(shards[name]) for name in optimizers],
    }


def _numbered(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizer states by the parameter's number, in the order of the groups, where the shards have its name."""
    names = [name for group in optimizer["param_groups"] for name in group["params"]]
    number = {name: place for place, name in enumerate(names)}
    groups = [{**group, "params": [number[name] for name in group["params"]]} for group in optimizer["param_groups"]]
    state = {number[name]: values for name, values in optimizer.get("state", {}).items()}
    return {"state": dict(sorted(state.items())), "param_groups": groups}


def _read(path: Path, *, tensors: bool) -> dict[str, Any]:
    if not is_sharded_checkpoint(path):
        raise InputError(
            f"checkpoint {path} is no directory of shards: it has no {_METADATA} or no {_REST}: give a file, or the "
            "directory that has both"
        )
    with _plain_only(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # it reads in this process alone
        metadata = _metadata(path)
        entries = metadata.state_dict_metadata.items()
        wanted = {key: _room(entry) for key, entry in entries if tensors or isinstance(entry, BytesStorageMetadata)}
        load(
            wanted,
            storage_reader=_Reader(path, metadata),
            planner=_Planner(flatten_state_dict=False, flatten_sharded_tensors=False),
            no_dist=True,
        )
        return _nested(wanted, metadata.planner_data or {})


def _metadata(path: Path) -> Metadata:
    return _Unpickler(io.BytesIO((path / _METADATA).read_bytes())).load()


def _room(entry: TensorStorageMetadata | BytesStorageMetadata) -> torch.Tensor | None:
    """Return a tensor for torch to read into; it puts other objects in the place of None."""
    return torch.empty(entry.size, dtype=entry.properties.dtype) if isinstance(entry, TensorStorageMetadata) else None


def _nested(flat: Mapping[str, Any], places: Mapping[str, Sequence[str | int]]) -> dict[str, Any]:
    """Return the dicts and lists that torch has flattened, by each value's path of keys and indices."""
    root: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = places.get(name, (name,))
        container: Any = root
        for key, following in zip(parents, [*parents[1:], last], strict=True):
            container = _child(container, key, list if isinstance(following, int) else dict)
        _room_for(container, last)
        container[last] = value
    return root


def _child(container: Any, key: str | int, kind: type) -> Any:
    _room_for(container, key)
    if container[key] is None:
        container[key] = kind()
    return container[key]


def _room_for(container: Any, key: str | int) -> None:
    if isinstance(container, dict):
        container.setdefault(key, None)
    else:
        container.extend([None] * (int(key) + 1 - len(container)))


def rest_of_shards(path: str | Path) -> dict[str, Any]:
    """Return what lies beside the shards of weights and optimizer states.

    Raises:
        InputError: for other than plain data, and for a newer format.
    """
    with _plain_only(Path(path)):
        rest: dict[str, Any] = torch.load(Path(path) / _REST, map_location="cpu", weights_only=True)
    refuse_newer(rest, str(path))
    return rest


@contextmanager
def _plain_only(path: Path) -> Iterator[None]:
    """Turn what the readers raise into one line: a broken file may raise any of a dozen kinds."""
    try:
        yield
    except (Exception, CheckpointException) as error:
        cause = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
        reason = str(cause).split("WeightsUnpickler error: ")[-1]
        reason = one_line(reason, 200)
        raise InputError(f"checkpoint {path} cannot be read as plain data: {reason}: take another one") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in SHARD_METADATA_TYPES.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} has no place in {_METADATA}")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """torch's, given the metadata."""

    def __init__(self, path: Path, metadata: Metadata) -> None:
        super().__init__(path)
        self._given = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        self._given.storage_meta = StorageMeta()
        return self._given


class _Planner(DefaultLoadPlanner):
    """torch's, without objects other than plain ones."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        self.state_dict[read_item.dest_index.fqn] = torch.load(value, weights_only=True)
