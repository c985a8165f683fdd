"""The page of TRL's fields is what the converter does."""

from __future__ import annotations

import re

from dpo_lightning.cli.ways_over.trl.fields import CLASSES, EARLIER
from tools.docs.from_trl import DOCUMENT, document


def test_the_page_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tools.docs.from_trl writes it"


def test_every_field_has_a_row() -> None:
    named = re.findall(r"^\| `(\w+)` \|.*\|$", document().partition("## All fields")[2], re.M)
    assert named == [field.name for fields in (*CLASSES.values(), EARLIER) for field in fields]
    assert "The 174 fields of TRL" in document()
