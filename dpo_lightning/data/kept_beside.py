"""Results that are computed of a dataset's rows once, and kept in a file beside theirs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced

if TYPE_CHECKING:
    import datasets


def kept_beside(rows: datasets.Dataset, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what is computed of rows, from the file of an earlier run where there is one.

    Args:
        rows: A dataset; of one in memory nothing is kept.
        name: Names what is computed, and changes with it.
        compute: Returns an array with an entry for each row.
    """
    files = rows.cache_files
    path = Path(files[0]["filename"]).with_name(f"{name}-{fingerprint(rows)}.npy") if files else None
    found = None if path is None else _read(path, len(rows))
    if found is not None:
        return found
    computed = compute()
    if path is not None:
        with suppress(OSError, InputError), replaced(path) as temporary, temporary.open("wb") as file:
            np.save(file, computed, allow_pickle=False)
    return computed


def _read(path: Path, rows: int) -> np.ndarray | None:
    """Return the array in a file, unless it is none, or one of other rows."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape[:1] == (rows,) else None
