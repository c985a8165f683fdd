"""The table of Lightning's features and the tests of `tests/plugin` are one list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs/lightning.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\| feature|\|---", line)]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions_in(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:42])
def test_a_row_says_what_is_promised_and_names_tests_that_exist(row):
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    assert len(cells) == 3
    assert re.match(r"works|refused: \w", cells[1])
    named = NAMED.findall(cells[2])
    assert named
    assert [test for file, test in named if test not in functions_in(REPOSITORY / file)] == []


def test_every_test_of_a_feature_has_a_row():
    files = sorted((REPOSITORY / "tests/plugin").glob("test_*.py"))
    written = {(file.relative_to(REPOSITORY).as_posix(), test) for file in files for test in functions_in(file)}
    assert written - set(NAMED.findall(PAGE)) == set()
