"""Directories of shards, read as plain data.

torch reads them with pickle: `.metadata`, and what is no tensor. Here neither brings code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint._nested_dict import set_element
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_METADATA = ".metadata"
_REST = "meta.pt"  # what Lightning writes beside the shards
_OPTIMIZER = "optimizer_"

_KNOWN = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},
    "collections": {"OrderedDict"},
}


def is_sharded_checkpoint(path: str | Path) -> bool:
    """Whether there is a directory as Lightning's ModelParallelStrategy writes it."""
    return (Path(path) / _METADATA).is_file() and (Path(path) / _REST).is_file()


def refuse_code(path: str | Path) -> None:
    """Read what torch unpickles of a directory of shards; after that, its own reader runs no code of it.

    Raises:
        InputError: for other than plain data, or a directory that is no checkpoint.
    """
    _read(Path(path), tensors=False)
    _rest(Path(path))


def consolidated(path: str | Path) -> dict[str, Any]:
    """A directory of shards as the checkpoint that one process would have written, in the CPU's memory.

    Raises:
        InputError: for a directory with other than plain data, or that is no checkpoint.
    """
    shards = _read(Path(path), tensors=True)
    optimizers = sorted((name for name in shards if name.startswith(_OPTIMIZER)), key=lambda name: (len(name), name))
    return {
        **_rest(Path(path)),
        "state_dict": shards["state_dict"],
        "optimizer_states": [_numbered(shards[name]) for name in optimizers],
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
        raise InputError(f"checkpoint {path} is no directory of shards: it has no {_METADATA} or no {_REST}")
    loaded: dict[str, Any] = {}
    with _plain_only(path):
        metadata = _Unpickler(io.BytesIO((path / _METADATA).read_bytes())).load()
        if not tensors:
            entries = metadata.state_dict_metadata.items()
            metadata.state_dict_metadata = {k: v for k, v in entries if isinstance(v, BytesStorageMetadata)}
        _load_state_dict(loaded, _Reader(path, metadata), planner=_Planner(), no_dist=True)
    return loaded


def _rest(path: Path) -> dict[str, Any]:
    with _plain_only(path):
        return torch.load(path / _REST, map_location="cpu", weights_only=True)


@contextmanager
def _plain_only(path: Path) -> Iterator[None]:
    """Turn what the readers raise into one line: a broken file may raise any of a dozen kinds."""
    try:
        yield
    except (Exception, CheckpointException) as error:
        cause = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
        reason = str(cause).split("WeightsUnpickler error: ")[-1]
        raise InputError(f"checkpoint {path} cannot be read as plain data: {one_line(reason, 200)}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _KNOWN.get(module, ()):
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


class _Planner(_EmptyStateDictLoadPlanner):
    """torch's, without objects other than plain ones."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        set_element(
            self.original_state_dict, self.mappings[read_item.dest_index.fqn], torch.load(value, weights_only=True)
        )
