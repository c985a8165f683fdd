"""A conversion under way: our config, what is told of it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dpo_lightning.cli.ways_over.fields import Fate
from dpo_lightning.cli.ways_over.given import Given
from dpo_lightning.cli.ways_over.tree import BESIDE, From, Tree
from dpo_lightning.utils.secrets import masked


class Told(NamedTuple):
    """A line of the table that the command prints.

    Attributes:
        fate: What becomes of the field.
        name: The field.
        value: Its value there; None is not shown.
        said: The sentence.
    """

    fate: Fate
    name: str
    value: Any
    said: str


class Draft:
    """A config of ours while it is made of another tool's.

    Args:
        given: The other tool's config.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        self.tree: dict[str, Any] = {}
        self.told: list[Told] = []
        self.refused: list[Told] = []
        self.beside: dict[str, str] = {}

    def put(self, path: str, value: Tree) -> None:
        """Write a value, or an object, at a key such as `model.optimizer`, once.

        Raises:
            ValueError: for a key that is there already, which is a fault of the conversion.
        """
        *above, last = path.split(".")
        node = self.tree
        for name in above:
            node = node.setdefault(name, {})
        if last in node:
            raise ValueError(f"{path} is written twice")
        node[last] = value

    def take(self, path: str, name: str) -> None:
        """Write the value of a field, or its default there, at a key as it is."""
        self.put(path, self.given.of(name))

    def write_beside(self, path: str, name: str, text: str, why: str) -> None:
        """Keep a text for a file beside the config, whose name begins with the config's, and write its path at a key.

        Args:
            path: The key.
            name: What stands behind the config's name, such as `chatml.jinja`.
            text: What is in the file.
            why: The comment of the key.
        """
        self.beside[name] = text
        self.put(path, From(f"{BESIDE}{name}", why))

    def has(self, path: str) -> bool:
        """Tell whether a key is written."""
        node: Any = self.tree
        for name in path.split("."):
            if isinstance(node, From) or name not in node:
                return False
            node = node[name]
        return True

    def callback(self, made: Tree) -> None:
        """Add a callback of the Trainer."""
        self.tree.setdefault("trainer", {}).setdefault("callbacks", []).append(made)

    def differs(self, name: str, said: str) -> None:
        """Tell that a field has another meaning here."""
        self.tell(Fate.DIFFERS, name, said)

    def nothing_there(self, name: str, said: str) -> None:
        """Tell that a field had no effect there, and is left out."""
        self.tell(Fate.NO_EFFECT_THERE, name, said)

    def nothing_here(self, name: str, said: str) -> None:
        """Tell that a field is left out, since nothing here needs it."""
        self.tell(Fate.NO_EFFECT_HERE, name, said)

    def refuse(self, name: str, remedy: str) -> None:
        """Refuse a field whose value has no equal here, with the remedy."""
        own = self.given.name(name)
        if own not in self.names_of(self.refused):
            self.refused.append(Told(Fate.REFUSED, own, self._shown(name), remedy))

    def tell(self, fate: Fate, name: str, said: str) -> None:
        """Tell what becomes of a field."""
        own = self.given.name(name)
        self.told.append(Told(fate, own, self._shown(name) if self.given.says(name) else None, said))

    def _shown(self, name: str) -> Any:
        """Return a value as it may be printed: a secret is masked."""
        own = self.given.name(name)
        return masked({own: self.given[name]})[own]

    @staticmethod
    def names_of(told: list[Told]) -> Iterator[str]:
        """Yield the fields of some lines."""
        return (each.name for each in told)
