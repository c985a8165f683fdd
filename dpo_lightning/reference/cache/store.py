"""The cache on disk: a directory for each reference and precision, with its shards in it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.reference.cache.shards import SUFFIX, CorruptShard, Shard, check_shard
from dpo_lightning.utils.files import replaced

_ABOUT = "about.json"


class Key(NamedTuple):
    """Facts that the values of a directory depend on, besides the rows.

    Attributes:
        weights: Hash of the reference's weights.
        precision: Lightning's name of the precision that they were scored in.
        model: Name of the reference, for people.
        dtype: Dtype of its weights, for people.
    """

    weights: str
    precision: str
    model: str
    dtype: str

    @property
    def name(self) -> str:
        """Name of the directory."""
        return f"{self.weights}-{self.precision}"


def default_cache_dir() -> Path:
    """Return `dpo_lightning/reference` in `$XDG_CACHE_HOME`, or in `~/.cache`: runs share it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpo_lightning" / "reference"


class Store:
    """Shards under one key; reading them all again costs their checksums, so each is read once."""

    def __init__(self, cache_dir: Path, key: Key) -> None:
        self.directory = cache_dir / key.name
        self.shards: list[Shard] = []
        self._key = key
        self._seen: set[tuple[str, int, int]] = set()

    def prepare(self) -> None:
        """Make the directory, and note that it is used; for one process of a run.

        Raises:
            InputError: when it cannot be made.
        """
        about = self.directory / _ABOUT
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                with replaced(about) as temporary:
                    temporary.write_text(json.dumps(self._key._asdict()), encoding="utf-8")
        except OSError as error:
            raise InputError(f"reference cache {self.directory}: {error.strerror}: set another cache_dir") from error
        with contextlib.suppress(PermissionError):  # somebody else's, which can be read
            os.utime(about)

    def prepare_again(self) -> None:
        """Make sure, once the lock is ours, that what was read before is still there.

        Raises:
            RunError: when it was pruned.
        """
        self.prepare()
        if not all(shard.path.exists() for shard in self.shards):
            raise RunError(f"reference cache {self.directory}: it was pruned while this run was waiting: start again")

    def scan(self) -> list[Shard]:
        """Read the shards that came since the last scan; a corrupt one is named in a warning and left out."""
        new = []
        for path in shard_paths(self.directory):
            try:
                status = path.stat()
                # A corrupt shard that is scored again comes back under its name.
                version = (path.name, status.st_ino, status.st_mtime_ns)
                if version in self._seen:
                    continue
                self._seen.add(version)
                new.append(check_shard(path))
            except FileNotFoundError:
                continue
            except CorruptShard as error:
                rank_zero_warn(
                    f"reference cache: {path} is corrupt ({error}): its rows are scored again; "
                    "`dpo-lightning cache prune --corrupt` removes it"
                )
        self.shards += new
        return new


def shard_paths(directory: Path) -> list[Path]:
    """List the shards of a key, in the order of their names."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if not path.name.startswith(".") and path.is_file())


def stored_keys(cache_dir: Path) -> Iterator[tuple[Path, Key, float]]:
    """Yield each key's directory, what it says of itself, and when it was last used, in seconds of the epoch.

    Other directories are left out: `prune` removes what this names.
    """
    for directory in sorted(path for path in cache_dir.glob("[!.]*") if path.is_dir()):
        about = directory / _ABOUT
        if not about.exists() and not shard_paths(directory):
            continue
        used = about if about.exists() else directory
        yield directory, _read_key(about), used.stat().st_mtime


def _read_key(about: Path) -> Key:
    """Read the file, or where somebody has edited or removed it, the directory's name."""
    try:
        fields = json.loads(about.read_text(encoding="utf-8"))
        return Key(*(str(fields[name]) for name in Key._fields))
    except (OSError, ValueError, KeyError, TypeError):
        weights, _, precision = about.parent.name.partition("-")
        return Key(weights, precision, "unknown", "unknown")
