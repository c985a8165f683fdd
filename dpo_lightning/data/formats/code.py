"""Code of a format: what its examples depend on beside its settings."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from dpo_lightning.data.formats.base import Format
from dpo_lightning.utils.version import __version__

_PACKAGE = __name__.partition(".")[0]


def format_identity(row_format: Format) -> tuple[Any, ...]:
    """Return all that decides on a format's examples, for the key of a cache.

    The hash of an imported class is that of its name. So the source of each module that defines a class of the format
    goes along, as it is on disk, functions and constants of the module included; of this package the version. What
    such a module imports from elsewhere does not count. A class of a script or of a notebook is hashed by value.
    """
    sources = {name: _source(name) for name in sorted({each.__module__ for each in type(row_format).__mro__})}
    return row_format, row_format.gives.value, dict(row_format.columns), sources, __version__


def _source(module: str) -> str | None:
    """Return the source of a module, or None where it is hashed by value, known by a version, or has no source."""
    top = module.partition(".")[0]
    if top in (_PACKAGE, "__main__") or top in sys.stdlib_module_names or module not in sys.modules:
        return None
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):  # it was made in memory, or is compiled
        return None
