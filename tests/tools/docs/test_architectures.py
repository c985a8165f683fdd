"""docs/architectures.md has the generator's words and a row for each case; `tests/attention` holds the figures."""

from __future__ import annotations

from tools.docs.architecture_cases import CASES
from tools.docs.architectures import DOCUMENT, INTRODUCTION


def test_the_table_has_a_row_for_each_architecture_and_no_other() -> None:
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]

    assert [row.split(" | ")[0] for row in rows[1:]] == [f"| {case.name}" for case in CASES]


def test_the_words_are_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").startswith(INTRODUCTION), "run python -m tools.docs.architectures"
