"""Directories and names on the hub: `datasets` finds their files, and those whose types it would guess we read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.reading.local_files import READERS, kind_of
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.plain import plain_rows
from dpo_lightning.data.reading.store import Loaded, ReadFile, read_files
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_GUESSED = {"json", "csv"}  # kinds of files that state no types
_MAY_LIE_BESIDE = (".json",)  # what downloads and configs leave beside rows of another kind
_CHOOSE_FILES = {"name", "data_files", "data_dir"}


class Built:
    """A directory or a name on the hub, as `datasets` would load it.

    Args:
        name: Its path or name.
        options: Further arguments of `load_dataset`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        from datasets import load_dataset_builder

        self._options = options
        given = {name: value for name, value in options.items() if name not in loader_options()}
        self._builder = load_dataset_builder(name, **given)
        self._kind = type(self._builder.config).__module__.split(".")[-1]

    @property
    def files(self) -> dict[str, list[str]]:
        """The files by split, as paths or addresses."""
        return {str(split): [*paths] for split, paths in (self._builder.config.data_files or {}).items()}

    @property
    def is_read_here(self) -> bool:
        """Says whether we read its files, and not `datasets`: all that state no types, and those on this machine."""
        local = all(Path(path).is_file() for paths in self.files.values() for path in paths)
        return bool(self.files) and (self._kind in _GUESSED or (local and self._kind in READERS))

    def read(self, split: str) -> Loaded:
        """Return the rows of a split, which stand in its files, not in copies that were downloaded.

        Args:
            split: Its name.

        Raises:
            InputError: of a reader, naming such a file, and for an option that none has.
        """
        from datasets import DownloadConfig, DownloadManager

        download = DownloadConfig(
            cache_dir=self._options.get("cache_dir"),
            token=self._options.get("token"),
            storage_options=self._options.get("storage_options") or {},
            num_proc=self._options.get("num_proc"),
        )
        names = self.files[split]
        paths = DownloadManager(download_config=download).download(names)
        files = [ReadFile(Path(path), self._kind, READERS[self._kind]) for path in paths]
        options = FileOptions.of(self._given(), {self._kind})
        with _named(paths, names):
            read = read_files(files, options, self._options.get("cache_dir"))
        stand = [each._replace(path=name) for each, name in zip(read.files, names, strict=True)]
        return Loaded(plain_rows(read.rows, self._builder.info.features), stand)

    def _given(self) -> dict[str, Any]:
        """Return the options of the reader that the user or the dataset's card has set."""
        from datasets import BuilderConfig

        config, default = self._builder.config, type(self._builder.config)()
        other = {field.name for field in fields(BuilderConfig)} | {"features"}
        values = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in other}
        return {name: value for name, value in values.items() if value != getattr(default, name)}


@contextmanager
def _named(paths: Sequence[str], names: Sequence[str]) -> Iterator[None]:
    """Put the names of files in the place of their paths in what is said of them.

    Raises:
        InputError: in the place of another one.
    """
    try:
        yield
    except InputError as error:
        said = str(error)
        for path, name in zip(paths, names, strict=True):
            said = said.replace(path, name)
        raise InputError(said) from None


def loader_options() -> set[str]:
    """Return the arguments of `load_dataset` that say how its own readers go about it."""
    from datasets import load_dataset, load_dataset_builder

    known = [inspect.signature(each).parameters.keys() for each in (load_dataset, load_dataset_builder)]
    return set(known[0] - known[1])


def check_directory(directory: Path, files: Mapping[str, list[str]], options: Mapping[str, Any]) -> None:
    """Check the files that are read of a directory.

    Raises:
        InputError: where files of rows would be left out, since those beside them are of another kind, or a copy of
            a file, such as `train.jsonl.bak`, would be read beside it.
    """
    read = [path for paths in files.values() for path in map(Path, paths) if path.is_file()]
    if read and not options.keys() & _CHOOSE_FILES and not _says_its_files(directory):
        _check_copies(directory, read)
        _check_left_out(directory, read)


def _check_copies(directory: Path, read: list[Path]) -> None:
    copy = next((path for path in read if path.with_suffix("") in read), None)
    if copy is not None:
        raise InputError(
            f"{directory}: {copy.name} would be read beside {copy.stem}, whose copy it seems to be: name the files to "
            "read in data.load_options.data_files"
        )


def _says_its_files(directory: Path) -> bool:
    """Return whether a dataset card names the files of its configurations: others are left out on purpose."""
    from huggingface_hub import metadata_load

    card = directory / "README.md"
    return card.is_file() and "configs" in (metadata_load(card) or {})


def _check_left_out(directory: Path, read: list[Path]) -> None:
    """Refuse rows of another kind beside those that are read, and name files of this kind that are not."""
    kind, others = kind_of(read[0]), []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        hidden = any(part.startswith((".", "__")) for part in name.parts)
        if hidden or kind_of(path) is None or not path.is_file():
            continue
        if kind_of(path) == kind:
            others += [] if path in read else [str(name)]
        elif path.suffix not in _MAY_LIE_BESIDE:
            raise InputError(
                f"{directory}: {name} would be left out, beside {read[0].name}: name the files to read in "
                "data.load_options.data_files"
            )
    if others:
        rank_zero_info(
            f"{directory}: not read, since others bear the name of a split: {one_line(', '.join(others), 200)}; "
            "data.load_options.data_files names the files to read"
        )
