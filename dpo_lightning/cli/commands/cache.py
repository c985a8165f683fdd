"""`dpo-lightning cache info | verify | prune`: the contents of the reference's cache."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lightning.cli.parsers.cache import parser
from dpo_lightning.errors import InputError
from dpo_lightning.reference.cache.lock import ScoringLock
from dpo_lightning.reference.cache.shards import CorruptShard, check_shard, row_count
from dpo_lightning.reference.cache.store import Key, default_cache_dir, shard_paths, stored_keys
from dpo_lightning.utils.files import remove_directory, remove_leftovers
from dpo_lightning.utils.settings import NOT_NEGATIVE
from dpo_lightning.utils.text import shown

_DAY = 24 * 3600
_SHOWN = 12  # characters of a hash, which is enough for --key


class Entry(NamedTuple):
    """A key in the cache.

    Attributes:
        directory: Where its shards are.
        key: Hash, precision and names of its reference.
        last_used: Seconds of the epoch.
    """

    directory: Path
    key: Key
    last_used: float

    @property
    def age(self) -> float:
        """Days since it was last used."""
        return (time.time() - self.last_used) / _DAY

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return _size(self.directory.iterdir())


def cache(arguments: Sequence[str]) -> None:
    """Show, verify or prune the cache; exits 1 where `verify` finds a corrupt shard, 2 on a wrong argument.

    Raises:
        InputError: for a cache, or a key, that is not there, and for `prune` without a choice.
    """
    options = parser().parse_args(arguments)
    options.cache_dir = options.cache_dir or default_cache_dir()
    directory = options.cache_dir.expanduser()
    if not directory.is_dir():
        raise InputError(f"no reference cache in {directory}: set --cache_dir")
    entries = [Entry(*stored) for stored in stored_keys(directory)]
    _ACTIONS[options.action](entries, options)


def _info(entries: list[Entry], options: argparse.Namespace) -> None:
    table = Table("key", "precision", "rows", "tokens", "MiB", "last used", "dtype", "model")
    for column in table.columns:
        column.overflow = "fold"
    for entry in sorted(entries, key=lambda entry: entry.age):
        rows, tokens = _totals(entry)
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        size = f"{entry.size / 2**20:.1f}"
        key = entry.key
        cells = key.weights[:_SHOWN], key.precision, f"{rows:,}", f"{tokens:,}", size, used, key.dtype, key.model
        table.add_row(*(Text(shown(cell)) for cell in cells))
    console = Console()
    size = _megabytes(sum(entry.size for entry in entries))
    console.print(Text(shown(f"reference cache {options.cache_dir}: {size}")))
    console.print(table)


def _totals(entry: Entry) -> tuple[int, int]:
    """Count rows and scored tokens; a file without a header counts nothing."""
    rows = tokens = 0
    for path in shard_paths(entry.directory):
        try:
            found = row_count(path)
        except CorruptShard:
            continue
        rows, tokens = rows + found[0], tokens + found[1]
    return rows, tokens


def _verify(entries: list[Entry], options: argparse.Namespace) -> None:
    checked, corrupt = 0, 0
    for entry in entries:
        checked += len(shard_paths(entry.directory))
        for path, problem in _corrupt(entry):
            corrupt += 1
            print(shown(f"corrupt: {path}: {problem}"))
    print(f"{checked} shards of {len(entries)} keys verified, {corrupt} corrupt")
    if corrupt:
        sys.exit(1)


def _corrupt(entry: Entry) -> Iterator[tuple[Path, str]]:
    for path in shard_paths(entry.directory):
        try:
            check_shard(path)
        except CorruptShard as error:
            yield path, str(error)


def _prune(entries: list[Entry], options: argparse.Namespace) -> None:
    if not (options.key or options.all or options.corrupt or options.older_than is not None):
        raise InputError("cache prune: say what: --key, --older_than, --all or --corrupt")
    if options.older_than is not None:
        NOT_NEGATIVE.check("cache prune: --older_than", options.older_than)
    if "" in options.key:
        raise InputError("cache prune: --key is empty, which every key begins with: say --all for all of them")
    freed = sum(_prune_entry(entry, _is_chosen(entry, entries, options), options) for entry in entries)
    if not options.dry_run:
        remove_leftovers(options.cache_dir.expanduser())
    print(f"{'would free' if options.dry_run else 'freed'} {_megabytes(freed)}")


def _prune_entry(entry: Entry, is_chosen: bool, options: argparse.Namespace) -> int:
    """Remove what is chosen of a key and return the bytes freed: none where a run is writing; runs wait meanwhile."""
    if not (is_chosen or options.corrupt):
        return 0
    lock = ScoringLock(entry.directory)
    if not lock.take():
        print(shown(f"kept, a run is writing there: {entry.key.name}"))
        return 0
    try:
        return _remove_key(entry, lock, options.dry_run) if is_chosen else _remove_corrupt(entry, options.dry_run)
    finally:
        lock.give_back()


def _is_chosen(entry: Entry, entries: list[Entry], options: argparse.Namespace) -> bool:
    for name in options.key:
        if not any(other.key.name.startswith(name) for other in entries):
            raise InputError(f"cache prune: no key begins with {name!r}; `dpo-lightning cache info` lists them")
    is_old = options.older_than is not None and entry.age > options.older_than
    return options.all or is_old or any(entry.key.name.startswith(name) for name in options.key)


def _remove_key(entry: Entry, lock: ScoringLock, dry_run: bool) -> int:
    size = entry.size
    print(shown(f"key {entry.key.name} ({entry.key.model}): {_megabytes(size)}"))
    if not dry_run:
        if os.name == "nt":  # which renames no directory with an open file in it
            lock.give_back()
        remove_directory(entry.directory)
    return size


def _remove_corrupt(entry: Entry, dry_run: bool) -> int:
    doomed = [path for path, _ in _corrupt(entry)]
    before = entry.size
    for path in doomed:
        print(shown(f"corrupt: {path}"))
    if dry_run:
        return _size(doomed)
    for path in doomed:
        path.unlink()
    remove_leftovers(entry.directory)
    return before - entry.size


def _size(paths: Iterator[Path] | Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


_ACTIONS: dict[str, Callable[[list[Entry], argparse.Namespace], None]] = {
    "info": _info,
    "verify": _verify,
    "prune": _prune,
}
