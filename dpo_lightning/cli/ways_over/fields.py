"""Fields of another tool's config: their kinds, their defaults there, and what becomes of them here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


class Fate(Enum):
    """The five things that may become of a field; the value is what the page says."""

    SAME = "the same"
    DIFFERS = "differs"
    NO_EFFECT_THERE = "no effect there"
    NO_EFFECT_HERE = "not needed here"
    REFUSED = "refused"


class Kind(Enum):
    """The values that a field takes; the value is what a message says."""

    NUMBER = "a number"
    WHOLE = "a whole number"
    TRUTH = "true or false"
    WORD = "a text"
    WORDS = "a list of texts"
    NUMBERS = "a list of numbers"
    MAPPING = "a mapping"
    ANY = "a value"


@dataclass(frozen=True)
class Field:
    """A field of another tool's config.

    Args:
        name: Its name there.
        kind: What its value is.
        default: What the tool takes where the config has none.
        fate: What becomes of it.
        here: Key or class that it is here, as a person writes it; with `direct` the path of the key itself.
        said: A sentence on what differs, why it has no effect, or what to do instead.
        direct: Whether its value is written at `here` as it is; others are read by a function together with some more.
        tells: Whether `said` is told whenever the field asks for something. Off where it depends on other fields: the
            function that reads them tells.
        choices: The words that it takes; empty for any.
        harmless: Values that ask for nothing, beside the default.
        null: Whether null is a value of its own, where the default is another.
        convert: Makes our value of theirs, where `direct`.
    """

    name: str
    kind: Kind
    default: Any = None
    fate: Fate = Fate.SAME
    here: str = ""
    said: str = ""
    direct: bool = False
    tells: bool = True
    choices: tuple[str, ...] = ()
    harmless: tuple[Any, ...] = ()
    null: bool = False
    convert: Callable[[Any], Any] | None = None

    def read(self, value: Any, place: str) -> Any:
        """Return a value as the tool understands it: numbers and truths may be texts, `1e-6` is one in YAML.

        Raises:
            InputError: for one of another kind, naming the place, and for a word that is none of the choices.
        """
        if value is None:
            if self.null or self.default is None:
                return None
            raise InputError(f"{place}: {self.name} is null: write {self.kind.value}, or leave the field out")
        if value is False and "no" in self.choices:
            value = "no"  # which YAML reads as a truth
        try:
            read = _READERS[self.kind](value)
        except (TypeError, ValueError):
            said = f"{place}: {self.name} must be {self.kind.value}, got {one_line(json.dumps(value, default=str), 60)}"
            raise InputError(said) from None
        if self.choices and read not in self.choices:
            raise InputError(f"{place}: {self.name}: {one_line(read, 60)} is none of {', '.join(self.choices)}")
        return read

    def asks(self, value: Any) -> bool:
        """Tell whether a value asks for something: it is neither the default nor a harmless one."""
        return value is not None and not any(_same(value, each) for each in (self.default, *self.harmless))


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise TypeError
    return value if isinstance(value, int) else float(value)


def _whole(value: Any) -> int:
    number = float(_number(value))
    if not number.is_integer():
        raise ValueError
    return int(number)


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else _TRUTH[value.lower()] if value.lower() in _TRUTH else _fail()


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else _fail()


def _words(value: Any) -> list[str]:
    return [_word(each) for each in value] if isinstance(value, list) else [_word(value)]


def _numbers(value: Any) -> list[int | float]:
    return [_number(each) for each in value] if isinstance(value, list) else [_number(value)]


def _mapping(value: Any) -> dict[str, Any]:
    read = json.loads(value) if isinstance(value, str) else value
    return read if isinstance(read, dict) else _fail()


def _fail() -> Any:
    raise ValueError


_READERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.NUMBER: _number,
    Kind.WHOLE: _whole,
    Kind.TRUTH: lambda value: _truth(value) if isinstance(value, bool | str) else _fail(),
    Kind.WORD: _word,
    Kind.WORDS: _words,
    Kind.NUMBERS: _numbers,
    Kind.MAPPING: _mapping,
    Kind.ANY: lambda value: value,
}


def key(name: str, kind: Kind, default: Any, here: str, said: str = "", **more: Any) -> Field:
    """Return a field that is written at one of our keys as it is; `said` tells what differs."""
    return Field(name, kind, default, Fate.DIFFERS if said else Fate.SAME, here, said, direct=True, **more)


def together(name: str, kind: Kind, default: Any, here: str, said: str = "", **more: Any) -> Field:
    """Return a field that a function reads, with others, as the key or class `here`; `said` is for the page."""
    more.setdefault("tells", False)
    return Field(name, kind, default, Fate.DIFFERS if said else Fate.SAME, here, said, **more)


def idle_there(name: str, kind: Kind, default: Any, said: str, **more: Any) -> Field:
    """Return a field that the tool takes and does not read."""
    return Field(name, kind, default, Fate.NO_EFFECT_THERE, said=said, **more)


def idle(name: str, kind: Kind, default: Any, said: str, **more: Any) -> Field:
    """Return a field of something that does not exist here, so that the run is the same without it."""
    return Field(name, kind, default, Fate.NO_EFFECT_HERE, said=said, **more)


def refused(name: str, kind: Kind, default: Any, said: str, **more: Any) -> Field:
    """Return a field without an equal here, refused where it asks for something, with the remedy."""
    return Field(name, kind, default, Fate.REFUSED, said=said, **more)


def differs(name: str, kind: Kind, default: Any, here: str, said: str, **more: Any) -> Field:
    """Return a field that is told, and has nothing to write."""
    return Field(name, kind, default, Fate.DIFFERS, here, said, **more)


def by_name(*tables: Sequence[Field]) -> dict[str, Field]:
    """Return the fields of several tables by name.

    Raises:
        ValueError: for a name that stands twice.
    """
    found: dict[str, Field] = {}
    for each in (each for table in tables for each in table):
        if each.name in found:
            raise ValueError(f"{each.name} stands twice")
        found[each.name] = each
    return found
