"""Code of a format: what its examples depend on beside its settings."""

from __future__ import annotations

import inspect
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.by_value import ByValue
from dpo_lightning.utils.version import __version__

_PACKAGE = __name__.partition(".")[0]
_DATA = Path(__file__).parent.parent
_READERS = ("formats/*.py", "tokenize/*.py", "column*.py", "control_tokens.py", "text_templates.py")


def format_identity(row_format: Format) -> tuple[Any, ...]:
    """Return all that decides on a format's examples, for the key of a cache.

    The format counts by value, see `by_value`: its settings, the code that runs, and what this code names in modules of
    the user's, in a script and in a notebook as well. The source of each module that defines a class of the format goes
    along as it is on disk, for what code finds by other ways; of this package the version, and its own readers.
    """
    modules = {each.__module__ for each in type(row_format).__mro__}
    own = {name.partition(".")[0] for name in modules} - {_PACKAGE} - sys.stdlib_module_names
    digest = ByValue(own, {_PACKAGE}).digest(row_format)
    sources = {name: _source(name) for name in sorted(modules)}
    return digest, row_format.gives.value, dict(row_format.columns), _own_readers(), sources, __version__


def _source(module: str) -> str | None:
    """Return the source of a module, or None where it is a script, known by a version, or has no source."""
    top = module.partition(".")[0]
    if top in (_PACKAGE, "__main__") or top in sys.stdlib_module_names or module not in sys.modules:
        return None
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):  # it was made in memory, or is compiled
        return None


@cache
def _own_readers() -> str:
    """Return the hash of this package's own readers, which may be edited under one version."""
    files = sorted(file for pattern in _READERS for file in _DATA.glob(pattern))
    return blake2b(b"".join(file.read_bytes() for file in files), digest_size=16).hexdigest()
