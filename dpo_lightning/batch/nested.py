"""The preference batch among what a loader yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dpo_lightning.batch.types import PreferenceBatch
from dpo_lightning.errors import InputError


def preference_batch_in(batch: Any) -> PreferenceBatch | None:
    """Find the one preference batch: the batch itself, or the one in the dict, list or tuple of a `CombinedLoader`.

    Returns:
        None where there is none.

    Raises:
        InputError: for two of them.
    """
    found = list(_within(batch))
    if len(found) > 1:
        raise InputError(
            f"a {type(batch).__name__} with {len(found)} preference batches: override preference_batch(batch) in your "
            "module, and return the one that is trained on"
        )
    return found[0] if found else None


def preference_batch_by(hook: Callable[[Any], PreferenceBatch | None], batch: Any) -> PreferenceBatch | None:
    """Ask a module's `preference_batch` for the preference batch in a batch; one that is one itself is not asked about.

    Raises:
        InputError: where the answer is something else.
    """
    if isinstance(batch, PreferenceBatch):
        return batch
    found = hook(batch)
    if found is not None and not isinstance(found, PreferenceBatch):
        raise InputError(f"preference_batch returned a {type(found).__name__}: return a PreferenceBatch, or None")
    return found


def _within(value: Any) -> Iterator[PreferenceBatch]:
    if isinstance(value, PreferenceBatch):  # a tuple, too
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _within(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _within(each)
