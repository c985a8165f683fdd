"""Names of the sets that a stage evaluates, as they stand in the names of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dpo_lightning.errors import InputError


def check_set_names(names: Iterable[Any], place: str) -> None:
    """Refuse a name that cannot stand between the slashes of `val/<name>/loss`.

    Args:
        names: The names of sets.
        place: What gives them, as the message says it.

    Raises:
        InputError: for a name that is no text, is empty, or has a slash or white space around it.
    """
    for name in names:
        if not isinstance(name, str) or not name.strip() or name != name.strip() or "/" in name:
            raise InputError(
                f"{place}: a set cannot be named {name!r}: its metrics are val/<name>/loss, so give a text without `/`"
            )


def names_of_sets(loaders: Any, count: int) -> tuple[str, ...]:
    """Name the loaders of a stage: the keys of a dict, or the places in a list.

    Args:
        loaders: One loader, or a collection of them, as the stage was given it.
        count: How many loaders there are in it.

    Returns:
        One name for each; none where there is one loader without a name.

    Raises:
        InputError: for a key that cannot be a name.
    """
    names = tuple(_names(loaders))
    if len(names) != count:  # a collection of another kind
        names = tuple(map(str, range(count)))
    return () if count == 1 and not isinstance(loaders, Mapping) else names


def _names(loaders: Any, within: str = "") -> Iterator[str]:
    if isinstance(loaders, Mapping):
        check_set_names(loaders, "the evaluation loaders")
        parts: Iterable[tuple[Any, Any]] = loaders.items()
    elif isinstance(loaders, list | tuple):
        parts = enumerate(loaders)
    else:
        yield within
        return
    for name, loader in parts:
        yield from _names(loader, f"{within}.{name}" if within else str(name))
