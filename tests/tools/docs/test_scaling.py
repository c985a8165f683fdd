"""docs/scaling.md says what the formulas and the measurements say now."""

from __future__ import annotations

from tools.docs import scaling


def test_the_document_is_up_to_date():
    assert scaling.DOCUMENT.read_text(encoding="utf-8") == scaling.document(), "run python -m tools.docs.scaling"
