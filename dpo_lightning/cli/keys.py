"""Keys of a config, as `python -m tools.docs.cli` has read them from the parser: help needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("keys.json")

REQUIRED = "required"
"""Default of a key that has none."""

MOST_USED = {
    "model": ("policy", "objective", "reference", "lora", "optimizer", "schedule", "gradient_checkpointing"),
    "data": (
        "dataset",
        "val_split",
        "format",
        "max_length",
        "max_prompt_length",
        "batch_pairs",
        "batch_tokens",
        "clean",
    ),
    "trainer": (
        "max_epochs",
        "precision",
        "devices",
        "accumulate_grad_batches",
        "val_check_interval",
        "callbacks",
        "logger",
    ),
}
"""Names that the short help of a command shows, by section."""


class Key(NamedTuple):
    """A key of a config, and a flag of the command.

    Attributes:
        name: The key, such as `data.max_length`.
        kind: The values that it takes, in words.
        default: Its default, as a config has it, or `REQUIRED`.
        text: What it is for, in a sentence.
        classes: Names of the classes that it takes, as far as they are of the package or of the Trainer's callbacks.
        settings: Names of the settings that these classes have.
    """

    name: str
    kind: str
    default: str
    text: str
    classes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The first part of its name; empty for one that concerns the process."""
        return self.name.partition(".")[0] if "." in self.name else ""


def all_keys() -> Iterator[Key]:
    """Yield every key, in the parser's order."""
    for each in json.loads(FILE.read_text(encoding="utf-8")):
        classes, settings = (tuple(each.pop(name, ())) for name in ("classes", "settings"))
        yield Key(**each, classes=classes, settings=settings)
