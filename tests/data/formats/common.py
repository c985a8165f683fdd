"""Small files of each format's real shape, each beside the same pairs as TRL writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_lightning import PreferenceDataModule
from tests.data.common import write
from tests.helpers.tokenizers import TEMPLATES, chat, words

Row = dict[str, Any]


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def assistant(text: str) -> Row:
    return {"role": "assistant", "content": text}


def system(text: str) -> Row:
    return {"role": "system", "content": text}


def said(role: str, text: str) -> Row:
    """A message as ShareGPT writes it."""
    return {"from": role, "value": text}


def pair(prompt: Any = "Two and two?", chosen: str = "four", rejected: str = "five") -> Row:
    """TRL's row of text."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def turns(*before: Row, chosen: str = "four", rejected: str = "five") -> Row:
    """TRL's row of messages."""
    prompt = [*before] or [user("Two and two?")]
    return {"prompt": prompt, "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}


def tokens(path: Path, rows: list[Row], **settings: Any) -> list[tuple[Any, ...]]:
    """Token ids of what the DataModule makes of a file with these rows, and their labels."""
    data = PreferenceDataModule(write(path, rows), chat(TEMPLATES["chatml"], words()), **settings)
    data.setup()
    return [(row["prompt_ids"], row["completion_ids"], row.get("labels")) for row in data.splits["train"]]


def as_json(row: Row) -> Row:
    """The row with what is no text as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
