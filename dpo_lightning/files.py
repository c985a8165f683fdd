"""Files that are whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_lightning.errors import InputError


def check_source(what: str, name: str) -> None:
    """Tell a directory that is not there from a hub name: the hub's own message about it is about names.

    Raises:
        InputError: when ``name`` can only be a path, and nothing is there.
    """
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not Path(name).exists():
        raise InputError(f"{what}: no such directory: {name}")


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` at the end; nothing is left on an exception.

    The caller creates a file or a directory there. An existing ``path`` stays until the new one is complete.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if path.is_dir():
            previous = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(previous)
            temporary.rename(path)
            shutil.rmtree(previous)
        else:
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
