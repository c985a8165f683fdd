"""Fields of one fate, named together."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind

_OFF = (False, 0, "", "no", "none")


def unread(said: str, names: str) -> tuple[Field, ...]:
    """Return fields that the tool itself does not read in a preference run, with the reason."""
    return tuple(Field(name, Kind.ANY, None, Fate.NO_EFFECT_THERE, "", said, harmless=_OFF) for name in names.split())


def unneeded(said: str, names: str, here: str = "", harmless: tuple[Any, ...] = ()) -> tuple[Field, ...]:
    """Return fields that nothing here needs, with the reason, or with what stands in their place."""
    off = (*_OFF, *harmless)
    return tuple(Field(name, Kind.ANY, None, Fate.NO_EFFECT_HERE, here, said, harmless=off) for name in names.split())


def unequal(said: str, names: str, harmless: tuple[Any, ...] = ()) -> tuple[Field, ...]:
    """Return fields whose values have no equal here, with what to do instead; those that switch nothing on pass."""
    off = (*_OFF, *harmless)
    return tuple(Field(name, Kind.ANY, None, Fate.REFUSED, "", said, harmless=off) for name in names.split())
