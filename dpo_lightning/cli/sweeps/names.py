"""Names of the directories of runs: readable, safe in every file system, and the same whenever they are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

from dpo_lightning.cli.sweeps.axes import Axis

_SHORT = {"seed_everything": "seed"}
_LONGEST_VALUE, _LONGEST_NAME = 40, 150
_UNSAFE = re.compile(r"[^A-Za-z0-9.+_-]+")
_NOISE = re.compile(r"\b(class_path|init_args)\b")


def short_keys(axes: Sequence[Axis]) -> list[str]:
    """Return for each axis the shortest end of its key that no other one has, such as `beta` and `seed`."""
    parts = [_SHORT.get(axis.name, axis.name).split(".") for axis in axes]
    return [
        next((end for end in _ends(own) if _is_own(end, place, parts)), axes[place].name)
        for place, own in enumerate(parts)
    ]


def _ends(parts: Sequence[str]) -> list[str]:
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def _is_own(end: str, place: int, all_parts: Sequence[Sequence[str]]) -> bool:
    others = (parts for at, parts in enumerate(all_parts) if at != place)
    return all(end not in _ends(parts) for parts in others)


def short_value(value: str) -> str:
    """Return a value as a name has it: what is lost of it is told apart by a few letters of its hash."""
    if value and not _UNSAFE.search(value) and len(value) <= _LONGEST_VALUE:
        return value
    name = _UNSAFE.sub("-", _NOISE.sub("", value).replace("dpo_lightning.", "")).strip("-.")
    name = name[:_LONGEST_VALUE].rstrip("-.")
    return f"{name}-{_hash(value)}".lstrip("-")


def run_name(keys: Sequence[str], values: Sequence[str]) -> str:
    """Return the name of a run, such as `beta=0.1,seed=0`.

    Args:
        keys: Short keys of the axes.
        values: A value for each.
    """
    name = ",".join(f"{key}={short_value(value)}" for key, value in zip(keys, values, strict=True))
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 8]}-{_hash(name)}"


def shown_value(value: str) -> str:
    """Return a value as a table has it."""
    return value if len(value) <= _LONGEST_VALUE else short_value(value)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=3).hexdigest()
