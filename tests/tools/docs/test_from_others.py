"""The pages of axolotl's and LLaMA-Factory's fields are what the converters do."""

from __future__ import annotations

import re

import pytest

from tools.docs.from_others import FIELDS, PAGES, Page, document


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.tool)
def test_the_page_is_up_to_date(page: Page) -> None:
    assert page.path.read_text(encoding="utf-8") == document(page), "python -m tools.docs.from_others writes it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.tool)
def test_every_field_has_a_row(page: Page) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|$", document(page), re.M)
    assert {*FIELDS[page.tool]} <= {*rows}
    assert len(rows) == sum(map(len, page.tables.values()))
