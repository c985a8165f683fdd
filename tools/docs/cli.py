"""Writes docs/cli.md, and what the command's help and completion read: `python -m tools.docs.cli`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dpo_lightning.cli.commands.completion import DIRECTORY
from dpo_lightning.cli.keys import FILE, Key
from tools.docs.cli_completions import scripts
from tools.docs.cli_keys import read_keys
from tools.docs.cli_page import PAGE, page


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file with what stands in it."""
    keys = list(read_keys())
    yield FILE, _as_json(keys)
    for shell, script in scripts(keys):
        yield DIRECTORY / shell, script
    yield PAGE, page(keys)


def _as_json(keys: list[Key]) -> str:
    """Return a line for each key."""
    lines = [json.dumps({name: value for name, value in key._asdict().items() if value != ()}) for key in keys]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    for path, text in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
