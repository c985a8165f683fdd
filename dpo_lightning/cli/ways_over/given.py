"""The config of another tool: what it says, and what the tool takes where it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_lightning.cli.ways_over.fields import Field
from dpo_lightning.cli.ways_over.tree import From


@dataclass(frozen=True)
class Given:
    """The values of a config by the names of fields.

    Args:
        fields: The fields that there are, by name.
        values: What the config says, each value as its field reads it.
        called: For a tool whose names differ from those of a function that several tools share: the function's name for
            a field -> the tool's. A shared name that the tool has no field for is looked up as it is.
        fixed: What the tool always takes of shared fields that it has not.
    """

    fields: Mapping[str, Field]
    values: Mapping[str, Any]
    called: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return the value of a field, or its default there; None for a field that the tool has not, nor fixes."""
        own = self.name(name)
        if own in self.values:
            return self.values[own]
        return self.fields[own].default if own in self.fields else self.fixed.get(own)

    def name(self, name: str) -> str:
        """Return what the tool calls a field."""
        return self.called.get(name, name)

    def says(self, name: str) -> bool:
        """Tell whether the config has the field."""
        return self.name(name) in self.values

    def asks(self, name: str) -> bool:
        """Tell whether the config has the field with a value that asks for something."""
        own = self.name(name)
        return own in self.values and self.fields[own].asks(self.values[own])

    def because(self, *names: str) -> str:
        """Return the comment that names the fields of which a line comes."""
        said = [self.name(name) for name in names if self.says(name)]
        taken = [self.name(name) for name in names if not self.says(name)]
        return "; ".join(filter(None, [", ".join(said), f"{', '.join(taken)} by default there" if taken else ""]))

    def of(self, name: str, convert: Callable[[Any], Any] | None = None) -> From:
        """Return the value of a field with the comment that names it."""
        value = self[name]
        return From(value if convert is None else convert(value), self.because(name))
